"""Manifests: libsamedge accepts what Python accepts, and reads the same in it."""

from __future__ import annotations

import copy
import ctypes
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from samedge.bundle.manifest import Manifest
from samedge.bundle.sealing import dump_manifest, parse_manifest, seal
from samedge.errors import BundleError
from samedge.families import FAMILIES, INTERPOLATIONS, Family
from samedge.files import limits
from tests.bundle.manifests import small_manifest
from tests.capi.bundles import BUNDLE, Inside, Refused

TINY = Path("tests/data/tiny.samedge/manifest.json")
ELEMENTS = {"uint8": 0, "int32": 1, "int64": 2, "float16": 3, "float32": 4}


@pytest.fixture(scope="module")
def inside(internals: ctypes.CDLL) -> Inside:
    return Inside(internals)


@pytest.fixture
def tiny() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(TINY.read_text())
    return document


def read_as_python_does(manifest: Manifest) -> dict[str, Any]:
    """What `Inside.manifest` gives, from Python's own."""

    def tensors(entries: Any) -> list[Any]:
        return [
            [e.name, ELEMENTS[e.dtype], [s if isinstance(s, int) else -1 for s in e.shape]]
            for e in entries
        ]

    variant = manifest.variant  # a width that no network has says nothing
    record = manifest.calibration or {}
    graphs: dict[str, Any] = {}
    for graph, key, entry in manifest.entries():
        graphs.setdefault(graph, {})[key] = {
            "file": entry.file,
            "sha256": entry.sha256,
            "inputs": tensors(entry.inputs),
            "outputs": tensors(entry.outputs),
        }
    return {
        "title": manifest.title,
        "family": family_as_native(manifest.family),
        "variant": [
            variant.vit, variant.input_size, variant.grid, variant.low_res, variant.channels,
            variant.prompt_dim if 0 <= variant.prompt_dim < 2**31 else 0,
        ],
        "graphs": graphs,
        "files": {name: [entry.sha256, entry.bytes] for name, entry in manifest.files.items()},
        "questions": list(manifest.source.questions),
        "parity": [[row.backend, row.precision, row.passed] for row in manifest.parity],
        "calibration_source": record.get("source") or "",
        "looks": {name: list(pair) for name, pair in record.get("looks", {}).items()},
    }  # fmt: skip


def family_as_native(family: Family) -> dict[str, Any]:
    """Fields of the C++ struct."""
    record = asdict(family)
    resize, normalisation = record.pop("resize"), record.pop("normalisation")
    values, mask_interpolation = record.pop("mask_values"), record.pop("mask_interpolation")
    prompts = record.pop("prompts")
    return {
        **{key: list(v) if isinstance(v, tuple) else v for key, v in record.items()},
        "min_max": normalisation == "min_max",
        "longest_side": resize == "longest_side",
        "interpolation": INTERPOLATIONS.index(record["interpolation"]),
        "takes": [name in prompts for name in ("point", "box", "mask")],
        "always_pad": record["pad_point"] == "always",
        "probability": values == "probability",
        "nearest": mask_interpolation == "nearest",
        "rounded": family.rounded,
        "padded": family.padded,
    }


def without(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


def sealed(text: str) -> bytes:
    """Text with a place for the digest, with its right digest."""
    zeroed = re.sub(
        r'"digest": "[0-9a-f]{64}"(?!.*"digest": ")',
        '"digest": "' + "0" * 64 + '"',
        text,
        flags=re.S,
    )
    digest = hashlib.sha256(zeroed.encode()).hexdigest()
    head, mark, tail = zeroed.rpartition('"digest": "' + "0" * 64)
    return f"{head}{mark[:-64]}{digest}{tail}".encode()


def agree(inside: Inside, data: bytes) -> bool:
    """Whether both accept a manifest; they have to agree, and to read the same."""
    wanted, reason = None, ""
    try:
        wanted = parse_manifest(data)
    except BundleError as error:
        reason = str(error)
    if wanted is None:
        with pytest.raises(Refused, match="export") as refused:
            inside.manifest(data)
        assert refused.value.status == BUNDLE, str(refused.value)
        assert "export" in reason
        return False
    found = inside.manifest(data)
    expected = read_as_python_does(wanted)
    found["family"], expected["family"] = (
        without(side["family"], "pad_point") for side in (found, expected)
    )
    assert found == expected
    return True


def test_tiny_and_demo(inside: Inside) -> None:
    assert agree(inside, TINY.read_bytes())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_families(inside: Inside, family: Family) -> None:
    manifest = small_manifest(family=family)
    document = manifest.to_json()
    for graph in document["graphs"].values():
        for entry in graph.values():
            entry["sha256"] = "1" * 64
            document["files"][entry["file"]] = {"sha256": "1" * 64, "bytes": 7}
    document["samedge"] = "0.1.0"
    assert agree(inside, seal(document))
    assert not agree(inside, dump_manifest(manifest))  # nothing lists its graphs


# --- One value at a time is dropped, or takes another's place.

Path_ = tuple[Any, ...]
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, -1, 255, 256, 1.0, 0.5, -0.0, 1e12, 1e13, 1e300, 2**31, 2**48,
    2**48 + 1, 2**63, 2**64, 10**19, 10**30, 10**400, -(10**25), "", " ", "x", "point", "box",
    "pil", "a\nb", "a\u200bb", "é",
    "\u00a0", "x" * 100, "x" * 101, "x" * 2000, "x" * 2001, "0f" * 32, "0F" * 32, [], {}, [1],
    [1.0], ["x"], [True], [None], [[]],
    ["point"], ["point", "point"], ["point", "oval"], [1.0, 2.0, 3.0], [1.0, 2.0], [0], [-1.0],
    [256], [3] * 65, ["c"] * 257, ["a", "b"],
    {"x": 1}, {"x": "y"}, [{}], [{"name": "n", "dtype": "float32", "shape": []}],
)  # fmt: skip


def places(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Where all values of a document stand."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*at, index))


def holder(document: Any, at: Path_) -> Any:
    for part in at[:-1]:
        document = document[part]
    return document


def too_much_for_the_engines(document: Any) -> bool:
    """What Python refuses only when it looks at the graph itself: types and sizes that no tensor
    of samedge's graphs has."""
    try:
        entries = [
            e for graph in ("encoder", "decoder") for e in document["graphs"][graph].values()
        ]
        tensors = [t for e in entries for t in (*e["inputs"], *e["outputs"])]
        return any(
            t["dtype"] not in ELEMENTS
            or len(t["shape"]) > limits.GRAPH_AXES.most
            or any(type(s) is int and s >= 2**31 for s in t["shape"])
            for t in tensors
        )
    except (KeyError, TypeError, AttributeError):
        return False


def compare_all(inside: Inside, documents: Iterator[dict[str, Any]]) -> tuple[int, int]:
    accepted = refused = 0
    for document in documents:
        if too_much_for_the_engines(document):
            with pytest.raises(Refused):
                inside.manifest(seal(document))
        elif agree(inside, seal(document)):
            accepted += 1
        else:
            refused += 1
    return accepted, refused


def test_every_value_dropped(inside: Inside, tiny: dict[str, Any]) -> None:
    def documents() -> Iterator[dict[str, Any]]:
        for at in places(tiny):
            changed = copy.deepcopy(tiny)
            del holder(changed, at)[at[-1]]
            yield changed

    accepted, refused = compare_all(inside, documents())
    assert accepted > 50
    assert refused > 50


def test_every_value_replaced(inside: Inside, tiny: dict[str, Any]) -> None:
    looked_at = {**tiny, "fold_report": {}}  # nobody reads what is in it

    every = (
        1 if settings.get_current_profile_name() == "thorough" else 7
    )  # all of them take a minute

    def documents() -> Iterator[dict[str, Any]]:
        for index, at in enumerate(places(looked_at)):
            for odd in ODD[index % every :: every]:
                changed = copy.deepcopy(looked_at)
                holder(changed, at)[at[-1]] = odd
                yield changed

    accepted, refused = compare_all(inside, documents())
    assert accepted > 100
    assert refused > 100


def test_every_object_extended(inside: Inside, tiny: dict[str, Any]) -> None:
    def documents() -> Iterator[dict[str, Any]]:
        for at in ((), *places(tiny)):
            for key, value in (("more", 1), ("fp9", "x"), ("é\u200b", {})):
                changed = copy.deepcopy(tiny)
                found = holder(changed, (*at, ""))
                if isinstance(found, dict):
                    found[key] = value
                elif isinstance(found, list):
                    found.append(value)
                else:
                    break
                yield changed

    compare_all(inside, documents())


NAMES = (
    "a", "a/b/c/d", "a/b/c/d/e", "/a", "a/", "a//b", "../a", "a/../b", "./a", ".a", "a/.b", "a\\b",
    "C:a", "a b",
    "a\u00e9", "", "-a", "_a", "+a", "a" * 100, "a" * 101, "a/" + "b" * 101, "manifest.json",
    "MANIFEST.json",
    "engines/x", "Engines/x", "engines", "x/engines", "encoder.fp32.onnx/x", "ENCODER.fp32.onnx",
    "selftest",
    "selftest/../x", "a\0b", "a\n", "a.", "a..b", "con", "a:b", "~", "a/b\u2028",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(inside: Inside, tiny: dict[str, Any], name: str) -> None:
    if name == "encoder.fp32.onnx":
        return
    tiny["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    agree(inside, seal(tiny))


def test_calibrations(inside: Inside, tiny: dict[str, Any]) -> None:
    looks = {"mean": [1, 2.5], "colour": [0.0, 0.25]}
    tiny["calibration"] = {"source": "frames of my own", "looks": looks}
    assert agree(inside, seal(tiny))
    tiny["calibration"] = {"source": "self-test"}
    assert agree(inside, seal(tiny))
    tiny["calibration"] = {"source": 5, "looks": {"mean": "x", "colour": [1]}}
    said = inside.manifest(seal(tiny))
    assert said["calibration_source"] not in ("", "self-test")
    assert said["looks"] == {}


# --- The text.


def texts(tiny: dict[str, Any]) -> Iterator[str]:
    """Manifests whose text is odd; the digest in them is right."""
    text = seal({**tiny, "more": "MARK"}).decode()
    for value in (
        "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "1E5", "1e+5", "01", "-01",
        "1.", ".5", "+1", "-", "1e", "0x1", "1_0",
        "1" * 18, "1" * 19, "9" * 20, "-" + "9" * 20, "1" * 400, "1" * 4300, "-" + "1" * 4300,
        "1" * 4301, "-" + "1" * 4301, "0" * 30,
        "1" * 4301 + ".5", "1" * 4301 + "e-4300", "1" * 30 + "x", "tru", "TRUE", "nul", "'x'",
        '"\t"', '"\x7f"', '"\x1f"', '"\\x"',
        '"\\u12"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\ud83dx"', '"\\u0000"',
        '"\\/"', '"\\\\u"', "// c\n1",
        "/* c */ 1", "[1,]", "[,1]", "[1 2]", '{"a":1,}', '{"a" 1}', "{1:2}", '{"a":1,"a":1}',
        '{"a":1,"\\u0061":1}', '[{"b":{"a":1,"b":2,"a":3}}]',
        '"unterminated', "[", "]", "{", "}", "", '"\u2028"', '"\ufeff"', "\ufeff1", "\u00a01",
        "\x0b1", "\x0c1",
        "[" * 31 + "]" * 31, "[" * 30 + "1" + "]" * 30, "[" * 31 + "1" + "]" * 31,
        "[" * 32 + "]" * 32, "[" * 1000 + "]" * 1000,
        "[" * 100_000, '{"a":' * 31 + "{}" + "}" * 31, "[" + "1," * 199_000 + "1]",
        "[" + "1," * 200_000 + "1]",
    ):  # fmt: skip
        yield text.replace('"MARK"', value)
    yield "\ufeff" + text
    yield " \n\t\r" + text + " \n"
    yield text + "\0"
    yield text + "\0garbage"
    yield text + "x"
    yield text.replace('"MARK"', "1\0")
    yield text.replace('"schema"', '"\\u0073chema"')
    for other in (
        "[]",
        "null",
        "1",
        '"x"',
        "",
        "{}",
        "{",
        '{"schema": 1}',
        "{" + '"x": 1,' * 9 + "}",
    ):
        yield other
        yield other[:-1] + ' "digest": "' + "0" * 64 + '"' + other[-1:]


def test_odd_texts(inside: Inside, tiny: dict[str, Any]) -> None:
    found = [agree(inside, sealed(text)) for text in texts(tiny)]
    assert found.count(True) > 10
    assert found.count(False) > 50


def test_bytes_that_are_no_utf8(inside: Inside, tiny: dict[str, Any]) -> None:
    data = sealed(seal({**tiny, "more": "MARK"}).decode())
    for odd in (b"\x80", b"\xc0\x80", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80", b"\xff"):  # fmt: skip
        assert not agree(inside, data.replace(b"MARK", odd))


def test_digests(inside: Inside, tiny: dict[str, Any]) -> None:
    data = seal(tiny)
    assert agree(inside, data)
    for at in range(0, len(data), 97):
        changed = bytearray(data)
        changed[at] ^= 1
        assert not agree(inside, bytes(changed))
    text = data.decode()
    found = re.findall(r'"digest": "([0-9a-f]{64})"', text)[-1]
    for other in (found.upper(), found[:-1], found + "0", "0" * 64, "", found[::-1]):
        assert not agree(inside, text.replace(found, other).encode())
    assert not agree(inside, text.replace('"digest": ', '"digest":').encode())
    # One inside of another record is not the manifest's; the last one is.
    assert agree(inside, seal({"more": {"digest": "ab" * 32}, **tiny}))
    assert agree(
        inside, seal({"more": [{"digest": "0" * 64}, '"digest": "' + "0" * 64 + '"'], **tiny})
    )


def test_every_cut(inside: Inside) -> None:
    data = TINY.read_bytes()
    for end in range(0, len(data) - 1, 53):
        assert not agree(inside, data[:end])


def test_sizes(inside: Inside, tiny: dict[str, Any]) -> None:
    """More than 4 MB are not looked at, as by whoever opens a bundle in Python."""
    with pytest.raises(Refused, match="too large"):
        inside.manifest(seal({**tiny, "more": "x" * limits.MANIFEST_BYTES.most}))


def test_newer_schema_says_so(inside: Inside, tiny: dict[str, Any]) -> None:
    for schema in (2, 10**17):
        with pytest.raises(Refused, match="install a newer"):
            inside.manifest(seal({**tiny, "schema": schema}))


def test_messages_show_no_foreign_bytes(inside: Inside, tiny: dict[str, Any]) -> None:
    tiny["title"] = "\x1b[31m" + "x" * 5000
    with pytest.raises(Refused) as refused:
        inside.manifest(seal(tiny))
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_limits_are_pythons(inside: Inside) -> None:
    for name, most in inside.limits().items():
        assert getattr(limits, name).most == most, name


def test_same_characters_are_printable(inside: Inside) -> None:
    """The table in printable.cpp is `str.isprintable` of Unicode 14: newer Pythons know more
    characters. It is made by

        ranges of `chr(point).isprintable()` over all code points
    """
    differ = [
        point for point in range(0x110000) if chr(point).isprintable() != inside.is_printable(point)
    ]
    if unicodedata.unidata_version == "14.0.0":
        assert not differ
    assert all(
        unicodedata.category(chr(point)) != "Cn" for point in differ if chr(point).isprintable()
    )
    assert len(differ) < 6000
