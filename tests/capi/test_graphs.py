"""Graphs in a bundle: libsamedge refuses what no exporter writes, as far as it is a matter of the file.

Python also works out the type and shape of every value; libsamedge leaves that to the engine.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.bundle import Bundle
from samedge.bundle.graphs.check import check_graph
from samedge.errors import BundleError
from tests.bundle.graphs import test_check as python
from tests.bundle.graphs.test_check import outside, parsed
from tests.bundle.other_network import with_graphs
from tests.capi.bundles import BUNDLE, Inside, Refused

TINY = Path("tests/data/tiny.samedge")
MANIFEST = (TINY / "manifest.json").read_bytes()
DECODER = (TINY / "decoder.fp32.onnx").read_bytes()
_ = outside  # a fixture


@pytest.fixture(scope="module")
def inside(internals: ctypes.CDLL) -> Inside:
    return Inside(internals)


@pytest.fixture
def tiny_bundle() -> Path:
    return TINY


def refused(inside: Inside, data: bytes, words: str, graph: str = "decoder") -> None:
    with pytest.raises(Refused, match=words) as caught:
        inside.graph(MANIFEST, graph, data)
    assert caught.value.status == BUNDLE
    assert f"{graph}.fp32.onnx is no graph that samedge writes" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", [TINY, Path("samedge/data/samus-demo.samedge")])
def test_what_is_exported_passes(inside: Inside, path: Path) -> None:
    inside.bundle(path, graphs=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (python.add_attribute(t=onnx.helper.make_tensor("x", 1, [1], [0.0])), "part .number 5."),
        (python.add_attribute(text="x"), "part .number 4."),
        (python.own_domain, "not ONNX's own"),
        (python.other_opset, "opset 20"),
        (python.second_opset, "part .number 8. twice"),
        (python.a_function, "part .number 25."),
        (python.unknown_input, "nothing before it makes its input 'nobody makes this'"),
        (python.backwards, "nothing before it makes"),
        (python.made_twice, "is made twice"),
        (python.output_as_float, "says otherwise of its outputs"),
        (python.output_wider, "says otherwise of its outputs"),
        (python.no_such_output, "nothing computes its output 'score'"),
        (python.typed_weight, "part .number 4. that samedge never writes"),
        (python.short_weight, "bytes, its shape says"),
        (python.sparse_weight, "part .number 15."),
        (python.strings, "no type and shape that weights have"),
        (python.newline, "cannot be printed"),
        (python.escape, "cannot be printed"),
        (python.endless_name, "a name has 10000 bytes"),
    ],
)
def test_what_no_exporter_writes(
    inside: Inside, change: Callable[[Any], None], words: str
) -> None:
    model = parsed(DECODER)
    change(model)
    refused(inside, model.SerializeToString(), words)


def test_a_name_that_is_no_text(inside: Inside) -> None:
    for odd in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x80"):
        old = b"decoder.layers.1/Relu"
        refused(inside, DECODER.replace(old, old[: -len(odd)] + odd), "a name is no UTF-8")


def test_parts_that_stand_twice(inside: Inside) -> None:
    graph = parsed(DECODER).graph.SerializeToString()
    size = len(graph)
    varint = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    refused(inside, DECODER + b"\x3a" + varint + graph, "part .number 7. twice")


@pytest.mark.parametrize("data", [b"", b"\x00", b"not an ONNX file", b"\x08\x0a", b"\xff" * 40])
def test_other_files(inside: Inside, data: bytes) -> None:
    refused(inside, data, "no graph that samedge writes: .")


def test_a_file_of_a_million_parts_is_given_up_early(inside: Inside) -> None:
    refused(inside, b"\x72\x04\x0a\x00\x12\x00" * 3_000_000, "more parts than any graph")


def test_the_manifest_and_the_graph_agree(inside: Inside) -> None:
    refused(inside, DECODER, "says otherwise of its inputs", graph="encoder")


@given(data=st.data())
def test_same_as_python(data: Any, inside: Inside, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the bytes are: what Python takes is taken, and what it refuses for the file's sake
    is refused."""
    broken = bytearray(DECODER)
    start = data.draw(st.integers(0, 20_000))  # nodes stand in front of the weights
    for value in data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=4)):
        broken[start + value] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "decoder.fp32.onnx"
    path.write_bytes(broken[: data.draw(st.sampled_from([len(broken), start + 300]))])
    reason = None
    try:
        check_graph(path, Bundle.open(TINY).manifest.graphs["decoder"]["fp32"])
    except BundleError as error:
        reason = str(error)
    try:
        inside.graph(MANIFEST, "decoder", path.read_bytes())
    except Refused as error:
        assert error.status == BUNDLE
        assert reason is not None, str(error)
    else:
        assert reason is None or "node '" in reason or "not computed in the shape" in reason


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("location", "weights.bin", "'weights.bin'; weights outside of the graph are only taken"),
        ("location", python.MAGIC, "lies in another file"),
        ("location", "../encoder.fp32.onnx.data", "lies in another file"),
        ("location", "./encoder.fp32.onnx.data", "lies in another file"),
        ("location", "", "lies in another file"),
        ("offset", "1000000000", "its place in encoder.fp32.onnx.data is 1000000000"),
        ("offset", "999999999999999999", "its place in encoder.fp32.onnx.data is"),
        ("offset", "-1", "without a plain name, offset and length"),
        ("offset", "²", "without a plain name"),
        ("offset", "9" * 30, "without a plain name"),
        ("length", "8", "bytes, and its place"),
        ("length", "0", "bytes, and its place"),
        ("length", "", "without a plain name"),
    ],
)
def test_weights_outside(
    inside: Inside, outside: Path, key: str, value: str, words: str
) -> None:
    weights = outside.with_name(f"{outside.name}.data").read_bytes()
    inside.graph(MANIFEST, "encoder", outside.read_bytes(), weights)
    for given in (None, b"", weights[:4096]):
        with pytest.raises(Refused, match="lies in another file|its place in"):
            inside.graph(MANIFEST, "encoder", outside.read_bytes(), given)
    model = onnx.load(outside, load_external_data=False)
    tensor = next(one for one in model.graph.initializer if one.external_data)
    next(entry for entry in tensor.external_data if entry.key == key).value = value
    with pytest.raises(Refused, match=words):
        inside.graph(MANIFEST, "encoder", model.SerializeToString(), weights)


def test_copies_for_readers_of_files(
    inside: Inside, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files side by side, in a folder of one's own that goes again."""
    folder = tmp_path / "with-weights.samedge"
    shutil.copytree(TINY, folder)
    for name in (outside.name, f"{outside.name}.data"):
        shutil.copy(outside.with_name(name), folder / name)
    with_graphs(folder, {"encoder": outside.name})
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    sizes = [f"{name} {(folder / name).stat().st_size}" for name in (outside.name, f"{outside.name}.data")]
    assert inside.graph_copy(folder, "encoder") == sizes
    assert inside.graph_copy(folder, "decoder") == [f"decoder.fp32.onnx {len(DECODER)}"]
    assert not list(temporary.iterdir())
