"""Attention reshaped for TensorRT: the same numbers, in few kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from samedge.export.graphs.tensorrt_attention import (
    distance_table,
    fuse_attention,
    shape_for_gpu,
    sum_colours,
)
from samedge.runtime.openvino.tensors import GraphRunner
from tests.export.engine import VITS, encoder_feed, folded_model, geometry_of, random_stack


def read(name: str, folder: Path) -> OnnxGraph:
    path = folder / "encoder.onnx"
    encoder_graph(folded_model(name)).save(path)
    return OnnxGraph.read(path)


@pytest.mark.parametrize("name", VITS)
def test_the_same_embedding(name: str, tmp_path: Path) -> None:
    graph, folded = read(name, tmp_path), folded_model(name)
    before = GraphRunner(tmp_path / "encoder.onnx")
    count = len({n.name for n in graph.nodes if n.name.endswith(".qkv/MatMul")})
    done = fuse_attention(graph)
    depth = any(".depth" in key for key in graph.arrays)
    assert len(done) == (0 if depth else count)
    graph.save(tmp_path / "fused.onnx")
    onnx.checker.check_model(str(tmp_path / "fused.onnx"), full_check=True)
    after = GraphRunner(tmp_path / "fused.onnx")
    geometry = geometry_of(folded, 60, 80)
    frame = random_stack(folded.family, 60, 80, 1)
    feed = encoder_feed(folded.family, geometry, frame)
    expected, got = (r.run(feed)["image_embedding"] for r in (before, after))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, atol=3e-5 * np.abs(expected).max())


def test_new_values_have_new_names(tmp_path: Path) -> None:
    """Whoever compares two graphs by names (`samedge verify --locate`) compares like with like."""
    graph = read("samus", tmp_path)
    before = {value for node in graph.nodes for value in node.output}
    folded = folded_model("samus")
    feed = encoder_feed(
        folded.family, geometry_of(folded, 50, 70), random_stack(folded.family, 50, 70, 1)
    )
    one = graph.copy()
    fuse_attention(graph)
    shared = before & {value for node in graph.nodes for value in node.output}
    names = sorted(name for name in shared if name.startswith("encoder.blocks"))
    assert names
    values = []
    for number, which in enumerate((one, graph)):
        which.save(tmp_path / f"{number}.onnx", names)
        values.append(GraphRunner(tmp_path / f"{number}.onnx").run(feed))
    for name in names:
        first, second = (v[name] for v in values)
        np.testing.assert_allclose(first, second, atol=1e-4 * np.abs(first).max(), err_msg=name)


def test_both_ways_to_the_bias(tmp_path: Path) -> None:
    """As columns of the qkv product, and as a product of its own."""
    names = {}
    for limit in (0.0, 100.0):
        graph = read("samus", tmp_path)
        fuse_attention(graph, limit)
        names[limit] = {node.name for node in graph.nodes if node.op_type == "MatMul"}
        graph.save(tmp_path / f"{limit}.onnx")
    assert {n for n in names[0.0] - names[100.0] if n.endswith("attn.fused.rel/MatMul")}
    assert {n for n in names[100.0] - names[0.0] if n.endswith("attn.fused.qkv/MatMul")}
    folded = folded_model("samus")
    feed = encoder_feed(
        folded.family, geometry_of(folded, 50, 70), random_stack(folded.family, 50, 70, 1)
    )
    one, other = (
        GraphRunner(tmp_path / f"{limit}.onnx").run(feed)["image_embedding"] for limit in names
    )
    np.testing.assert_allclose(one, other, atol=3e-5 * np.abs(one).max())


def test_what_else_takes_the_queries_leaves_a_block_alone(tmp_path: Path) -> None:
    graph = read("samus", tmp_path)
    value = "encoder.blocks.0.attn.qkv/Add"
    graph.nodes.append(helper.make_node("Identity", [value], ["more"], name="more"))
    graph.outputs.append(helper.make_tensor_value_info("more", 1, None))
    assert "encoder.blocks.0.attn" not in fuse_attention(graph)
    assert value in {node.name for node in graph.nodes}


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**31))
def test_distances(n: int, channels: int, seed: int) -> None:
    """A table by positions is one by distances, and comes back from it."""
    by_distance = np.random.default_rng(seed).normal(size=(channels, 2 * n - 1))
    table = np.stack([by_distance[:, n - 1 - i : 2 * n - 1 - i] for i in range(n)])
    np.testing.assert_array_equal(distance_table(table), by_distance)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["samus", "sam", "samed-colour", "volume"])
def test_colours_as_a_sum(name: str, channels: int, tmp_path: Path) -> None:
    """Not one bit of the network's input changes."""
    graph, folded = read(name, tmp_path), folded_model(name)
    assert sum_colours(graph) == 1
    assert sum_colours(graph) == 0
    graph.save(tmp_path / "sum.onnx", ["network_input"])
    read(name, tmp_path).save(tmp_path / "product.onnx", ["network_input"])
    frame = random_stack(folded.family, 60, 80, channels)
    feed = encoder_feed(folded.family, geometry_of(folded, 60, 80), frame)
    values = [
        GraphRunner(tmp_path / f"{which}.onnx").run(feed)["network_input"]
        for which in ("sum", "product")
    ]
    np.testing.assert_array_equal(*values)


def test_what_was_done_is_told(tmp_path: Path) -> None:
    assert shape_for_gpu(read("samus", tmp_path)) == {"fused_attention": 4, "colour_as_sum": 1}
