"""Bundles of earlier versions: their graphs get today's form, and their masks stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import samedge
from samedge.bundle import Bundle
from samedge.bundle.attention_sizes import ATTENTION, attention_from_text
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from samedge.export.graphs.update import update_file, update_model
from samedge.export.half.graph import to_half
from samedge.fold import layers as fl
from tests.export.earlier import earlier_bundle, earlier_model
from tests.export.engine import VITS, folded_model

BUILD = {"encoder": encoder_graph, "decoder": decoder_graph}


def by_node(model: onnx.ModelProto) -> dict[str, bytes]:
    return {node.name: node.SerializeToString() for node in model.graph.node}


@pytest.mark.parametrize("name", ["samus", "samed", "volume"])
@pytest.mark.parametrize("graph", sorted(BUILD))
def test_what_was_written_before_becomes_what_is_written_now(name: str, graph: str) -> None:
    today = BUILD[graph](folded_model(name)).model()
    before = earlier_model(today)
    assert before.graph.node != today.graph.node or before.metadata_props != today.metadata_props
    updated = onnx.ModelProto()
    updated.CopyFrom(before)
    assert update_model(updated)
    assert by_node(updated) == by_node(today)
    assert updated.graph.output == today.graph.output
    assert updated.graph.initializer == before.graph.initializer
    assert list(updated.metadata_props) == list(today.metadata_props)
    onnx.checker.check_model(updated, full_check=True)
    assert not update_model(updated)
    assert not update_model(today)


@pytest.mark.parametrize("name", ["samus", "samed", "structures"])
def test_uint8_results_are_named_by_what_makes_them(name: str) -> None:
    graph = decoder_graph(folded_model(name)).model().graph
    results = {
        v.name for v in graph.output if v.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    }
    casts = {node.output[0] for node in graph.node if node.op_type == "Cast"}
    assert "masks" in results
    assert results <= casts


@pytest.mark.parametrize("name", VITS)
def test_sizes_of_attention_are_those_of_the_model(name: str) -> None:
    folded = folded_model(name)
    (entry,) = encoder_graph(folded).model().metadata_props
    assert entry.key == ATTENTION
    found = attention_from_text(entry.value)
    layers = {
        path: layer
        for path, layer in folded.named_modules()
        if isinstance(layer, fl.RelativeAttention)
    }
    assert list(found) == list(layers)
    for path, layer in layers.items():
        s = found[path]
        assert (s.b, s.n, s.h, s.w) == (
            folded.family.slices, folded.variant.grid, layer.heads, layer.window
        )  # fmt: skip
        assert s.dim == layer.qkv.weight.shape[0]


def test_graphs_that_are_derived_keep_the_sizes(tiny_bundle: Path, tmp_path: Path) -> None:
    old = earlier_bundle(tiny_bundle, tmp_path / "old.samedge")
    for path in (tiny_bundle, old.root):
        graph = OnnxGraph.read(path / "encoder.fp32.onnx")
        assert len(attention_from_text(graph.metadata[ATTENTION])) == 4
        to_half(graph).save(tmp_path / "half.onnx")
        assert OnnxGraph.read(tmp_path / "half.onnx").metadata == graph.metadata


def test_weights_beside_the_graph_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    model = earlier_model(encoder_graph(folded_model("samus")).model())
    onnx.save(model, path, save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    expected = onnx.load(path).graph.initializer
    data = (tmp_path / "a.onnx.data").read_bytes()
    assert update_file(path)
    assert (tmp_path / "a.onnx.data").read_bytes() == data
    arrays = OnnxGraph.read(path).arrays
    for tensor in expected:
        np.testing.assert_array_equal(arrays[tensor.name], onnx.numpy_helper.to_array(tensor))


def test_a_bundle_of_before_runs_and_is_brought_up_to_date(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    old = earlier_bundle(tiny_bundle, tmp_path / "old.samedge")
    new = samedge.export(old, tmp_path / "new.samedge").bundle
    today = Bundle.open(tiny_bundle)
    for name in BUILD:
        graph = onnx.load(new.graph(name, "fp32"))
        assert by_node(graph) == by_node(onnx.load(today.graph(name, "fp32")))
    test = next(iter(old.selftest()))
    masks = []
    for bundle in (old, new, today):
        with samedge.load(bundle, "openvino", "fp32", threads=1) as session:
            masks.append(session.segment(test.frame, points=[(30.0, 40.0)]).masks)
    assert masks[0].any()
    np.testing.assert_array_equal(masks[1], masks[0])
    np.testing.assert_array_equal(masks[2], masks[0])
