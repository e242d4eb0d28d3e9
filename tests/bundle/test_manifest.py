"""The manifest's check, by examples and by random mutations."""

from __future__ import annotations

import copy
import json
import math
import zipfile
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.bundle import MANIFEST, Bundle
from samedge.bundle.manifest import Manifest
from samedge.bundle.parsing import manifest_from_json
from samedge.bundle.sealing import dump_manifest, parse_manifest, seal
from samedge.errors import BundleError
from samedge.families import Family

ROOT = Path(__file__).parents[2]
BUNDLES = sorted([*ROOT.glob("samedge/data/*.samedge"), *ROOT.glob("tests/data/*.samedge")])


@pytest.fixture
def full(bundle: Bundle) -> dict[str, Any]:
    return copy.deepcopy(dict(bundle.manifest.as_mapping()))


def test_text_is_stable(full: dict[str, Any]) -> None:
    data = seal(full)
    assert dump_manifest(parse_manifest(data)) == data
    assert list(parse_manifest(data).as_mapping())[-1] == "digest"


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.name)
def test_what_is_read_from_an_earlier_bundle_is_written_again(path: Path) -> None:
    data = _text(path)
    manifest = parse_manifest(data)
    before, after = json.loads(data), json.loads(dump_manifest(manifest))
    assert before == manifest.as_mapping()
    del before["digest"], after["digest"]  # which stands for the order of the keys as well
    before["family"] = Family.completed(before["family"])
    assert after == before


def _text(path: Path) -> bytes:
    if path.is_dir():
        return (path / MANIFEST).read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(MANIFEST)


def test_what_is_read_is_typed(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.family == bundle.family
    assert manifest.variant.input_size == 64
    assert manifest.graphs["decoder"]["fp32"].outputs[0].shape == ("N", 1)
    assert manifest.parity[0].dice == 1.0
    assert math.isnan(manifest.parity[0].margin)  # which this bundle does not have
    with pytest.raises(FrozenInstanceError):
        manifest.title = "another"  # type: ignore[misc]


def test_unknown_keys_are_left_alone(full: dict[str, Any]) -> None:
    full["calibration"] = {"frames": 64}
    full["colour"] = {"of": "the cart"}
    full["variant"]["colour"] = "grey"
    again = parse_manifest(seal(full))
    assert again.calibration == {"frames": 64}
    seen = again.as_mapping()
    assert seen["colour"] == {"of": "the cart"}
    assert seen["variant"]["colour"] == "grey"
    with pytest.raises(TypeError):
        seen["title"] = "another"  # type: ignore[index]


def test_a_changed_copy_is_seen_as_it_is(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert replace(manifest, title="another").as_mapping()["title"] == "another"
    half = manifest.with_graph("encoder", "fp16", manifest.graphs["encoder"]["fp32"])
    assert list(half.as_mapping()["graphs"]["encoder"]) == ["fp32", "fp16"]
    assert list(half.without_graph("encoder", "fp32").graphs["encoder"]) == ["fp16"]
    assert list(manifest.graphs["encoder"]) == ["fp32"]


def test_a_seal_that_looks_like_the_seal(full: dict[str, Any]) -> None:
    """A value that looks like the digest's own place does not confuse it."""
    full["tools"]["digest"] = "0" * 64
    full["fold_report"]["digest"] = "0" * 64
    data = seal(full)
    assert parse_manifest(data).tools["digest"] == "0" * 64


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("schema", 2, "install a newer samedge"),
        ("schema", 0, "schema 0, expected 1"),
        ("schema", "1", "schema '1'"),
        ("schema", True, "schema True"),
        ("schema", None, "no 'schema'"),
        ("samedge", 3, "'samedge' is 3"),
        ("title", "two\nlines", "printable"),
        ("title", "\x1b[31mred", "printable"),
        ("title", "", "printable"),
        ("family", None, "no 'family'"),
        ("family.name", None, r"no 'family\.name'"),
        ("family.input_size", "256", r"family\.input_size"),
        ("family.input_size", 0, r"family\.input_size"),
        ("family.input_size", True, r"family\.input_size"),
        ("family.value_scale", 0, "positive"),
        ("family.mean", [1, 2], "one number per channel"),
        ("family.std", [0.0], "positive"),
        ("family.std", [float("1e400")], "not valid JSON|one number|JSON"),
        ("family.resize", "shear", "one of stretch"),
        ("family.prompts", ["voice"], "point, box or mask"),
        ("family.multi_masks", [1.5], "mask numbers"),
        ("family.extra", 1, "unknown fields: extra"),
        ("family.threshold", None, "threshold"),
        ("variant.grid", -1, r"variant\.grid"),
        ("graphs.decoder", None, r"no 'graphs\.decoder'"),
        ("graphs.encoder", {}, "at least one precision"),
        ("graphs.encoder.fp32.file", "other.onnx", "listed in 'files'"),
        ("graphs.encoder.fp32.sha256", "0" * 64, "the hash given in 'files'"),
        ("graphs.encoder.fp32.inputs", {}, "a list"),
        ("graphs.encoder.fp32.inputs", [{"name": "x", "dtype": "f", "shape": [1.5]}], "shape"),
        ("graphs.encoder.FP 32", {}, "precision's name"),
        ("files", [], "'files' is"),
        ("files.x", {"sha256": "0" * 63, "bytes": 1}, "64 hexadecimal"),
        ("files.x", {"sha256": "0" * 64, "bytes": -1}, "bytes"),
        ("files.x", {"sha256": "0" * 64, "bytes": 1.0}, "bytes"),
        ("files.x", 5, r"'files\.x' is 5"),
        ("source.sha256", ["xyz"], "64 hexadecimal"),
        ("source.sha256", "0" * 64, "a list"),
        ("tools.numpy", 2, r"tools\.numpy"),
        ("fold_report", "fine", "fold_report"),
        ("parity", [{"backend": "openvino", "precision": "fp32"}], "true or false"),
        ("parity", [3], r"parity\[0\]"),
        ("intended_use", None, "intended_use"),
    ],
)
def test_wrong_values_are_named(full: dict[str, Any], path: str, value: Any, words: str) -> None:
    *folders, key = path.split(".") if path.count(".") < 3 else _split(path)
    node = full
    for folder in folders:
        node = node[folder]
    if value is None:
        del node[key]
    else:
        node[key] = value
    with pytest.raises(BundleError, match=words):
        parse_manifest(seal(full))


def _split(path: str) -> list[str]:
    return path.split(".", 3)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "C:\\x",
        "a\\b",
        ".hidden",
        "a/.hidden",
        "",
        "a//b",
        "a/",
        ".",
        "..",
        "a/b/c/d/e",
        "ä",
        "new\nline",
        "x" * 101,
        "nul\0",
    ],
)
def test_unsafe_names(full: dict[str, Any], name: str) -> None:
    full["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    with pytest.raises(BundleError, match="unsafe file name"):
        manifest_from_json(full)


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "MANIFEST.json", "engines/x", "Encoder.FP32.onnx", "decoder.fp32.onnx/x"],
)
def test_names_that_collide(full: dict[str, Any], name: str) -> None:
    full["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    with pytest.raises(BundleError, match=r"collides|below another file"):
        manifest_from_json(full)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"[]",
        b"3",
        b"null",
        b'{"schema": 1',
        b'{"schema": 1, "schema": 1}',
        b'{"schema": NaN}',
        b'{"schema": 1, "title": "\\ud800"}',
        b'{"schema": 1, "x": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"schema": 1, "x": ' + b"[" * 100000 + b"]" * 100000 + b"}",
        b'{"schema": ' + b"9" * 5000 + b"}",
        b'{"schema": 1}',
        "{}".encode("utf-16"),
        b"\xff\xfe\x00",
    ],
)
def test_texts_that_are_no_manifest(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(data)


def test_values_without_json(full: dict[str, Any]) -> None:
    for value in (float("nan"), float("inf"), object(), {1, 2}):
        with pytest.raises(BundleError, match="cannot be written as JSON"):
            seal({**full, "extra": value})


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from _places(item, (*path, key))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["../x", "fp32", "encoder", 10**400, -1, "stretch", []]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.data())
def test_mutations_are_fine_or_a_bundle_error(full: dict[str, Any], data: st.DataObject) -> None:
    mutant = copy.deepcopy(full)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(_places(mutant), key=str)))
        node = mutant
        for key in path[:-1]:
            node = node[key]
        if data.draw(st.booleans()):
            node[path[-1]] = data.draw(JSON)
        elif isinstance(node, dict):
            del node[path[-1]]
            if data.draw(st.booleans()):
                node[data.draw(st.text())] = data.draw(JSON)
        else:
            node.pop(path[-1])
    try:
        read: Manifest = parse_manifest(seal(mutant))
    except BundleError as error:
        str(error).encode()
        return
    document = read.as_mapping()
    json.dumps(dict(document))
    assert read.family.to_json() == document["family"]
    # What was understood can be written, and is understood again.
    assert parse_manifest(dump_manifest(read)) == read


@settings(max_examples=300)
@given(st.data())
def test_one_changed_byte_is_always_noticed(full: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(seal(full))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError):
        parse_manifest(bytes(text))
