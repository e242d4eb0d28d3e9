"""What OpenVINO tells of a graph's values: against the onnx package, and from junk."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from samedge.bundle.graph_names import NETWORK_INPUT
from samedge.errors import BundleError
from samedge.runtime.openvino.tensors import read_values


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_it_tells_what_the_file_has(tiny_bundle: Path, graph: str) -> None:
    path = tiny_bundle / f"{graph}.fp32.onnx"
    file, found = onnx.load(path).graph, read_values(path)
    assert set(found.inputs) == {value.name for value in file.input}
    assert set(found.outputs) == {value.name for value in file.output}
    sources = [NETWORK_INPUT] if graph == "encoder" else list(found.inputs)
    expected: dict[str, tuple[str, set[str]]] = {}
    for node in file.node:
        inputs = {value for value in node.input if value in expected or value in sources}
        if inputs and NETWORK_INPUT not in node.output:
            expected |= dict.fromkeys(node.output, (node.op_type, inputs))
    values = found.computed_from(sources)
    given = {value.name: value for value in values}
    assert set(given) == set(expected)
    for name, (operation, inputs) in expected.items():
        if name not in found.outputs:  # whose names do not say the operation
            assert given[name].operation == operation
        assert {v for v in given[name].inputs if v in expected or v in sources} == inputs
    place = {value.name: at for at, value in enumerate(values)}
    for value in values:
        assert all(place.get(name, -1) < place[value.name] for name in value.inputs)


def test_computed_from_follows_the_values(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["w"], ["v"]),
        helper.make_node("Add", ["b", "v"], ["c"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "awc"]
    path = tmp_path / "x.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:2], ends[2:]), ir_version=10,
                                opset_imports=[helper.make_opsetid("", 20)]), path)  # fmt: skip
    found = read_values(path)
    assert [value.name for value in found.computed_from(["a"])] == ["b", "c"]
    assert found.computed_from(["nothing"]) == []


@pytest.mark.parametrize(
    "data", [b"", b"no onnx file at all", b"\x3a\xff\xff\xff\xff\x0f", b"\x08"]
)
def test_junk_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"OpenVINO cannot read x\.onnx"):
        read_values(path)
