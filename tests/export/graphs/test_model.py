"""A bundle's graphs taken apart and put together again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from samedge.bundle import Bundle
from samedge.errors import BundleError
from samedge.export.graphs import file as onnx_file
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from tests.export.engine import folded_model

DEMO = Path(__file__).parents[3] / "samedge" / "data" / "samus-demo.samedge"


def test_written_as_read(tmp_path: Path) -> None:
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    encoder_graph(folded_model("samus")).save(first)
    OnnxGraph.read(first).save(second)
    assert first.read_bytes() == second.read_bytes()


def test_weights_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "EXTERNAL_ABOVE", 1000)
    monkeypatch.setattr(onnx_file, "_OUTSIDE_FROM", 1000)
    path = tmp_path / "a.onnx"
    encoder_graph(folded_model("samus")).save(path)
    graph = OnnxGraph.read(path)
    assert any(isinstance(array, np.memmap) for array in graph.arrays.values())
    other = tmp_path / "other"
    other.mkdir()
    graph.save(other / "a.onnx")
    assert (other / "a.onnx.data").read_bytes() == (tmp_path / "a.onnx.data").read_bytes()


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_weights_stored_in_16_bits_are_float32(name: str) -> None:
    path = Bundle.open(DEMO).graph(name, "fp32")
    assert any(t.data_type == onnx.TensorProto.FLOAT16 for t in onnx.load(path).graph.initializer)
    graph = OnnxGraph.read(path)
    assert {str(array.dtype) for array in graph.arrays.values()} <= {"float32", "int64"}
    onnx.checker.check_model(graph.model(), full_check=True)


def test_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(BundleError, match=r"a\.onnx is no ONNX file"):
        OnnxGraph.read(path)


def test_prune_drops_what_nobody_takes() -> None:
    graph = OnnxGraph.read(Bundle.open(DEMO).graph("encoder", "fp32"))
    before = len(graph.nodes), len(graph.arrays)
    graph.prune()
    assert (len(graph.nodes), len(graph.arrays)) == before
    graph.outputs[0].name = "network_input"
    graph.prune()
    assert len(graph.nodes) < 40
    assert not any(name.startswith("encoder.") for name in graph.arrays)
