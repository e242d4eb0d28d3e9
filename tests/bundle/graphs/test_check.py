"""What an engine is never shown: graphs that no exporter of samedge writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from samedge.bundle import Bundle
from samedge.bundle.graphs.check import check_graph
from samedge.errors import BundleError
from samedge.export.graphs import file as onnx_file
from samedge.export.graphs.model import OnnxGraph

GRAPHS = ("encoder", "decoder")
# Nodes whose operator alone was changed, for which OpenVINO 2026.4 ended the process.
CRASHES = [
    ("decoder", "decoder.layers.1/Relu", "Pad"),
    ("decoder", "decoder.layers.1/Relu", "Conv"),
    ("decoder", "decoder.prompt/Cast", "Conv"),
    ("decoder", "decoder.head/Gelu", "Pad"),
    ("decoder", "decoder.scores", "Conv"),
    ("encoder", "encoder.blocks.1.attn/Softmax", "Conv"),
    ("encoder", "encoder.cnn.convs.0.norm/Sqrt", "Pad"),
    ("encoder", "preprocess.rows_first/Cast", "Conv"),
]


@pytest.fixture(scope="module")
def models(tiny_bundle: Path) -> dict[str, bytes]:
    return {name: (tiny_bundle / f"{name}.fp32.onnx").read_bytes() for name in GRAPHS}


def parsed(data: bytes) -> Any:
    model = onnx.ModelProto()
    model.ParseFromString(data)
    return model


def node(model: Any, name: str) -> Any:
    return next(one for one in model.graph.node if one.name == name)


def weight(model: Any, name: str) -> Any:
    return next(one for one in model.graph.initializer if one.name == name)


def refused(folder: Path, data: bytes, words: str) -> None:
    path = folder / "graph.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=words) as caught:
        check_graph(path)
    assert "graph.onnx is no graph that samedge writes" in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_is_exported_passes(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    for name, key, entry in bundle.manifest.entries():
        check_graph(bundle.graph(name, key), entry)


@pytest.mark.parametrize(("graph", "name", "operator"), CRASHES)
def test_a_retyped_node(
    tmp_path: Path, models: dict[str, bytes], graph: str, name: str, operator: str
) -> None:
    model = parsed(models[graph])
    node(model, name).op_type = operator
    refused(tmp_path, model.SerializeToString(), f"node '{name}' \\({operator}\\)")


def add_attribute(**attributes: Any) -> Callable[[Any], None]:
    made = helper.make_node("Relu", [], [], **attributes).attribute
    return lambda model: node(model, "decoder.layers.1/Relu").attribute.extend(made)


def operator(name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        node(model, "decoder.layers.1/Relu").op_type = name

    return change


def own_domain(model: Any) -> None:
    model.graph.node[0].domain = "com.example"


def other_opset(model: Any) -> None:
    model.opset_import[0].version = 21


def second_opset(model: Any) -> None:
    model.opset_import.add(domain="com.example", version=1)


def a_function(model: Any) -> None:
    model.functions.add(name="f", domain="d")


def too_few_inputs(model: Any) -> None:
    node(model, "decoder.layers.1.to_image/Softmax").input.pop()


def unknown_input(model: Any) -> None:
    node(model, "decoder.layers.1/Relu").input[0] = "nobody makes this"


def backwards(model: Any) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


def made_twice(model: Any) -> None:
    model.graph.node.append(model.graph.node[3])


def output_as_float(model: Any) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT


def output_wider(model: Any) -> None:
    model.graph.output[2].type.tensor_type.shape.dim[2].dim_value = 33


def no_such_output(model: Any) -> None:
    model.graph.output[1].name = "score"


def typed_weight(model: Any) -> None:
    found = weight(model, "decoder.tokens")
    values = np.frombuffer(found.raw_data, "<f4")
    found.ClearField("raw_data")
    found.float_data.extend(values)


def short_weight(model: Any) -> None:
    found = weight(model, "decoder.tokens")
    found.raw_data = found.raw_data[:-4]


def sparse_weight(model: Any) -> None:
    model.graph.sparse_initializer.add()


def strings(model: Any) -> None:
    weight(model, "decoder.tokens").data_type = TensorProto.STRING


def newline(model: Any) -> None:
    model.graph.node[0].name = "fine\nsamedge: the bundle is fine"


def escape(model: Any) -> None:
    model.graph.initializer[0].name = "\x1b[2K"


def endless_name(model: Any) -> None:
    model.graph.node[0].name = "x" * 10_000


def huge(model: Any) -> None:
    """An Expand to more than any machine holds."""
    sizes = weight(model, "const/token_shape")
    sizes.raw_data = np.full(2, 1 << 40, "<i8").tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (operator("Loop"), "no operator that samedge's graphs have"),
        (operator("Gelù"), "no operator"),
        (operator(""), "no operator"),
        (add_attribute(axis=1), "the attribute 'axis', which samedge never writes"),
        (add_attribute(t=helper.make_tensor("x", 1, [1], [0.0])), "part .number 5."),
        (add_attribute(text="x"), "part .number 4."),
        (own_domain, "not ONNX's own"),
        (other_opset, "opset 20"),
        (second_opset, "part .number 8. twice"),
        (a_function, "part .number 25."),
        (too_few_inputs, "takes 0 inputs, expected 1"),
        (unknown_input, "nothing before it makes its input 'nobody makes this'"),
        (backwards, "nothing before it makes"),
        (made_twice, "is made twice"),
        (output_as_float, "its output 'masks' is not computed in the shape"),
        (output_wider, "its output 'low_res_logits' is not computed"),
        (no_such_output, "nothing computes its output 'score'"),
        (typed_weight, "part .number 4. that samedge never writes"),
        (short_weight, "bytes, its shape says"),
        (sparse_weight, "part .number 15."),
        (strings, "no type and shape that weights have"),
        (newline, "cannot be printed"),
        (escape, "cannot be printed"),
        (endless_name, "a name has 10000 bytes"),
        (huge, "elements|do not go together"),
    ],
)
def test_what_no_exporter_writes(
    tmp_path: Path, models: dict[str, bytes], change: Callable[[Any], None], words: str
) -> None:
    model = parsed(models["decoder"])
    change(model)
    refused(tmp_path, model.SerializeToString(), words)


def test_a_name_that_is_no_text(tmp_path: Path, models: dict[str, bytes]) -> None:
    data = models["decoder"].replace(b"decoder.layers.1/Relu", b"decoder.layers.1/Rel\xff")
    refused(tmp_path, data, "a name is no UTF-8")


def test_parts_that_stand_twice(tmp_path: Path, models: dict[str, bytes]) -> None:
    """Readers that merge them and readers that take the last one would see different graphs."""
    graph = parsed(models["decoder"]).graph.SerializeToString()
    size = len(graph)
    varint = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    assert size < 1 << 21
    refused(tmp_path, models["decoder"] + b"\x3a" + varint + graph, "part .number 7. twice")


@pytest.mark.parametrize("data", [b"", b"\x00", b"not an ONNX file", b"\x08\x0a", b"\xff" * 40])
def test_other_files(tmp_path: Path, data: bytes) -> None:
    refused(tmp_path, data, "no graph that samedge writes: .")


def test_a_file_of_a_million_parts_is_given_up_early(tmp_path: Path) -> None:
    refused(tmp_path, b"\x72\x04\x0a\x00\x12\x00" * 3_000_000, "more parts than any graph")


def test_the_manifest_and_the_graph_agree(tiny_bundle: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    path = tiny_bundle / "decoder.fp32.onnx"
    with pytest.raises(BundleError, match=r"says otherwise of its inputs \(.*point_coords"):
        check_graph(path, manifest.graphs["encoder"]["fp32"])


@given(data=st.data())
def test_damage_is_a_message(
    data: Any, models: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the bytes are, they pass or there is a BundleError."""
    broken = bytearray(models["decoder"])
    start = data.draw(st.integers(0, 20_000))  # nodes stand in front of the weights
    for value in data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=4)):
        broken[start + value] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "broken.onnx"
    path.write_bytes(broken[: data.draw(st.sampled_from([len(broken), start + 300]))])
    with suppress(BundleError):
        check_graph(path)


@pytest.fixture
def outside(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A graph whose weights lie beside it."""
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", 0)
    monkeypatch.setattr(onnx_file, "_OUTSIDE_FROM", 4096)
    path = tmp_path / "encoder.fp32.onnx"
    OnnxGraph.read(tiny_bundle / path.name).save(path)
    assert path.with_name("encoder.fp32.onnx.data").stat().st_size > 100_000
    return path


MAGIC = "*/_ORT_MEM_ADDR_/*"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("location", "weights.bin", "'weights.bin'; weights outside of the graph are only taken"),
        ("location", MAGIC, "lies in another file"),
        ("location", "/etc/hostname", "lies in another file"),
        ("location", "../encoder.fp32.onnx.data", "lies in another file"),
        ("location", "./encoder.fp32.onnx.data", "lies in another file"),
        ("location", "encoder.fp32.onnx", "lies in another file"),
        ("location", "", "lies in another file"),
        ("offset", "1000000000", "its place in encoder.fp32.onnx.data is 1000000000"),
        ("offset", "-1", "without a plain name, offset and length"),
        ("offset", "0x10", "without a plain name"),
        ("offset", "²", "without a plain name"),
        ("offset", "9" * 30, "without a plain name"),
        ("length", "8", "bytes, and its place"),
        ("length", "0", "bytes, and its place"),
        ("length", "", "without a plain name"),
    ],
)
def test_weights_outside(outside: Path, key: str, value: str, words: str) -> None:
    check_graph(outside)
    (outside.parent / "weights.bin").write_bytes(bytes(1 << 20))  # it would fit
    model = onnx.load(outside, load_external_data=False)
    tensor = next(one for one in model.graph.initializer if one.external_data)
    next(entry for entry in tensor.external_data if entry.key == key).value = value
    outside.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=words):
        check_graph(outside)


@pytest.mark.parametrize("kept", [0, 4096])
def test_weights_that_are_cut_off_or_missing(outside: Path, kept: int) -> None:
    data = outside.with_name(f"{outside.name}.data")
    data.write_bytes(data.read_bytes()[:kept])
    with pytest.raises(BundleError, match="its place in"):
        check_graph(outside)
    data.unlink()
    with pytest.raises(BundleError, match="lies in another file"):
        check_graph(outside)


def test_a_place_with_more_to_say(outside: Path) -> None:
    model = onnx.load(outside, load_external_data=False)
    tensor = next(one for one in model.graph.initializer if one.external_data)
    tensor.external_data.add(key="checksum", value="x")
    outside.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="without a plain name"):
        check_graph(outside)
