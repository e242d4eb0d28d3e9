"""The nodes of an ONNX file, read without the onnx package: against that package, and from junk."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from samedge.errors import BundleError
from samedge.runtime.parity.onnx_nodes import read_nodes


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_it_reads_what_onnx_reads(tiny_bundle: Path, graph: str) -> None:
    path = tiny_bundle / f"{graph}.fp32.onnx"
    expected = onnx.load(path).graph
    found = read_nodes(path)
    assert [(n.name, n.kind, n.inputs, n.outputs) for n in found.nodes] == [
        (n.name, n.op_type, tuple(n.input), tuple(n.output)) for n in expected.node
    ]
    assert found.inputs == tuple(value.name for value in expected.input)
    assert found.outputs == tuple(value.name for value in expected.output)


def test_computed_from_follows_the_values() -> None:
    nodes = [
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["w"], ["v"]),
        helper.make_node("Add", ["b", "v"], ["c"]),
    ]
    found = _read(nodes)
    assert [node.outputs for node in found.computed_from(["a"])] == [("b",), ("c",)]
    assert [node.outputs for node in found.computed_from(["nothing"])] == []


def _read(nodes: list[onnx.NodeProto]) -> object:
    import tempfile

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])

    model = helper.make_model(helper.make_graph(nodes, "g", [value("a"), value("w")], [value("c")]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.onnx"
        path.write_bytes(model.SerializeToString())
        return read_nodes(path)


@pytest.mark.parametrize(
    "data", [b"", b"no onnx file at all", b"\x3a\xff\xff\xff\xff\x0f", b"\x08"]
)
def test_junk_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"x\.onnx is no complete ONNX file"):
        read_nodes(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no complete ONNX file"):
        read_nodes(tmp_path / "x.onnx")


def _outcome(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        read_nodes(path)
    except BundleError:
        return "refused"
    return "read"


@given(st.data())
def test_damage_never_does_worse_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["a"], ["b"], name="n")],
            "g",
            [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
        )
    )
    whole = bytearray(model.SerializeToString())
    path = tmp_path_factory.mktemp("damage") / "x.onnx"
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert _outcome(path, bytes(whole[:cut])) in ("refused", "read")
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert _outcome(path, bytes(whole)) in ("refused", "read")
