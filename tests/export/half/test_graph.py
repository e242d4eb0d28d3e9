"""Half-precision graphs: types, islands, and numbers as a GPU would make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator

import samedge
from samedge.bench.engines import network_part
from samedge.bundle import Bundle
from samedge.errors import ModelError, ParityError
from samedge.export import deriving
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.decoder import decoder_graph
from samedge.export.graphs.encoder import encoder_graph
from samedge.export.graphs.model import OnnxGraph
from samedge.export.half.emulation import emulated
from samedge.export.half.graph import HALF_MAX, float_nodes, half_values, number_values, to_half
from samedge.export.half.overflow import HEADROOM, Probe, float32_nodes, with_probes
from samedge.runtime.openvino.tensors import GraphRunner
from tests.export.engine import MODELS, folded_model

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def graph_of(builder: Any, name: str, folder: Path) -> OnnxGraph:
    path = folder / "full.onnx"
    builder(folded_model(name)).save(path)
    return OnnxGraph.read(path)


def types(graph: OnnxGraph) -> dict[str, int]:
    """ONNX's own opinion on the type of every value; it refuses what is not strongly typed."""
    model = shape_inference.infer_shapes(graph.model(), check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}


@pytest.mark.parametrize("builder", [encoder_graph, decoder_graph])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_has_a_strongly_typed_twin(name: str, builder: Any, tmp_path: Path) -> None:
    full = graph_of(builder, name, tmp_path)
    half = to_half(full)
    found = types(half)
    assert [v.name for v in half.outputs] == [v.name for v in full.outputs]
    for port in (*half.inputs, *half.outputs):
        assert port.type.tensor_type.elem_type != HALF
    halves = {value for value, kind in found.items() if kind == HALF}
    assert halves == half_values(half) & set(found)
    assert {node.name for node in full.nodes} <= {node.name for node in half.nodes}
    for node in half.nodes:
        if node.op_type in ("MatMul", "Conv") and node.name not in float_nodes(full):
            assert found[node.output[0]] == HALF, node.name
        if node.op_type != "Cast" and node.name.startswith(("preprocess", "postprocess")):
            assert found.get(node.output[0]) != HALF, node.name


def test_islands(tmp_path: Path) -> None:
    found = types(to_half(graph_of(encoder_graph, "samus", tmp_path)))
    squares = [v for v in found if v.startswith("encoder.neck.norm/")]
    assert squares
    assert {found[v] for v in squares if "to_float" not in v} == {FLOAT}
    assert found["network_input"] == FLOAT
    assert found["encoder.blocks.0.attn/Softmax"] == HALF
    found = types(to_half(graph_of(decoder_graph, "samus", tmp_path)))
    assert found["decoder.prompt.phase/MatMul"] == FLOAT
    assert found["decoder.head/MatMul"] == FLOAT  # what makes the logits
    assert found["decoder.head.up1/MatMul"] == HALF


def test_layer_norm_computes_in_float32(tmp_path: Path) -> None:
    """Half in and out; `stash_type` 1 (the default) says that mean and variance are float32."""
    half = to_half(graph_of(encoder_graph, "samus", tmp_path))
    norms = [node for node in half.nodes if node.op_type == "LayerNormalization"]
    assert norms
    assert all(a.i == 1 for node in norms for a in node.attribute if a.name == "stash_type")


def test_nodes_to_keep_are_kept(tmp_path: Path) -> None:
    full = graph_of(encoder_graph, "samus", tmp_path)
    kept = "encoder.blocks.1.mlp.lin1/MatMul"
    half = to_half(full, {kept})
    assert types(half)[kept] == FLOAT
    assert half.arrays["encoder.blocks.1.mlp.lin1.weight"].dtype == np.float32
    assert types(half)["encoder.blocks.1.mlp.lin2/MatMul"] == HALF


def test_a_weight_in_both_types(tmp_path: Path) -> None:
    g = GraphBuilder("shared")
    x = g.input("x", "float32", (2, 4))
    weight = g.weight("w", np.eye(4, dtype=np.float32))
    a, b = g.matmul(x, weight, "first"), g.matmul(x, weight, "second")
    g.output(g.add(a, b, "sum"), "y", "float32", (2, 4))
    path = tmp_path / "g.onnx"
    g.save(path)
    half = to_half(OnnxGraph.read(path), {"first/MatMul"})
    types(half)
    assert sorted(str(half.arrays[k].dtype) for k in half.arrays if k.startswith("w")) == [
        "float16",
        "float32",
    ]


def test_weights_beyond_half(tmp_path: Path) -> None:
    full = graph_of(encoder_graph, "samus", tmp_path)
    key = "encoder.blocks.0.mlp.lin1.weight"
    full.arrays[key] = full.arrays[key] + np.float32(1e5)
    with pytest.raises(ModelError, match=r"encoder\.blocks\.0\.mlp\.lin1\.weight has values up to"):
        to_half(full)
    to_half(full, {"encoder.blocks.0.mlp.lin1/MatMul"})


# Emulation ---------------------------------------------------------------------------------------


def one_node(kind: str, folder: Path) -> OnnxGraph:
    g = GraphBuilder("one")
    x = g.input("x", "float32", ("n",))
    g.output(str(g.op(kind, [x], "node")), "y", "float32", ("n",))
    path = folder / "one.onnx"
    g.save(path)
    return OnnxGraph.read(path)


@given(
    st.lists(
        st.floats(-60000, 60000, width=32).filter(lambda x: x == 0 or abs(x) > 1e-4),
        min_size=1,
        max_size=50,
    )
)
def test_rounding_is_that_of_float16(tmp_path_factory: Any, values: list[float]) -> None:
    runner = ROUNDER.get(tmp_path_factory)
    x = np.array(values, np.float32)
    expected = x.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(runner.run({"x": x})["y"], expected)


class _Rounder:
    """The emulation of a graph that does nothing, compiled once."""

    def __init__(self) -> None:
        self._runner: GraphRunner | None = None

    def get(self, factory: Any) -> GraphRunner:
        if self._runner is None:
            folder = factory.mktemp("rounder")
            half = to_half(one_node("Relu", folder))
            # Relu of x and of -x: all numbers, whatever their sign
            graph = emulated(half)
            for node in graph.nodes:
                if node.op_type == "Relu":
                    node.op_type = "Identity"
            graph.save(folder / "emulated.onnx")
            self._runner = GraphRunner(folder / "emulated.onnx", threads=1)
        return self._runner


ROUNDER = _Rounder()


@pytest.mark.parametrize("name", ["samus", "sam", "msa"])
def test_emulation_is_each_node_rounded(name: str, tmp_path: Path) -> None:
    """The oracle: onnx's reference implementation of each node in float32, its result rounded."""
    full = graph_of(encoder_graph, name, tmp_path)
    variant = folded_model(name).variant
    shape = (1, variant.channels, variant.input_size, variant.input_size)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    full = network_part(full, variant.input_size, variant.channels)
    half = to_half(full)
    expected = node_by_node(half, {"network_input": x})["image_embedding"]
    emulated(half).save(tmp_path / "emulated.onnx")
    got = GraphRunner(tmp_path / "emulated.onnx").run({"network_input": x})["image_embedding"]
    full.save(tmp_path / "full.onnx")
    exact = GraphRunner(tmp_path / "full.onnx").run({"network_input": x})["image_embedding"]
    assert rms(expected - exact) > 1e-4  # rounding shows
    assert rms(got - exact) == pytest.approx(rms(expected - exact), rel=0.3)
    # additions in another order round some values to the other side
    assert rms(got - expected) < 1.1 * rms(expected - exact)


def rms(x: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def node_by_node(half: OnnxGraph, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """All values of a half graph, half ones as float32 numbers."""
    rounded = half_values(half)
    known = {k: _wide(a) for k, a in half.arrays.items()} | values
    for node in half.nodes:
        if node.op_type == "Cast":
            results = [known[node.input[0]]]
        else:
            inputs = [helper.make_tensor_value_info(n, 0, None) for n in dict.fromkeys(node.input)]
            outputs = [helper.make_tensor_value_info(n, 0, None) for n in node.output]
            graph = helper.make_graph([node], "one", inputs, outputs)
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", half.opset)])
            feed = {n: known[n] for n in node.input}
            results = ReferenceEvaluator(model).run(None, feed)
        for value, result in zip(node.output, results, strict=True):
            known[value] = _wide(result.astype(np.float16)) if value in rounded else result
    return known


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array


# The overflow probe ------------------------------------------------------------------------------


def test_probe_sees_every_value(tmp_path: Path) -> None:
    g = GraphBuilder("probed")
    x = g.input("x", "float32", (3,))
    y = g.mul(x, g.const(np.float32(1000), "thousand"), "big")
    y = g.reshape(y, (3, 1), "moved")
    g.output(str(g.op("Sigmoid", [y], "small")), "y", "float32", (3, 1))
    path = tmp_path / "g.onnx"
    g.save(path)
    graph = OnnxGraph.read(path)
    with_probes(graph).save(tmp_path / "probed.onnx")
    probe, runner = Probe(), GraphRunner(tmp_path / "probed.onnx")
    for values in ([1, -20, 3], [0, 2, 3]):
        probe.watch("g", runner.run({"x": np.array(values, np.float32)}))
    assert probe.largest == {
        "g": {"big/Mul": 20000.0, "small/Sigmoid": pytest.approx(1.0, abs=0.1)}
    }
    assert list(probe.too_large("g")) == ["big/Mul"]
    # what makes the large value, what moves it and what takes it
    assert float32_nodes(graph, probe.too_large("g")) == {
        "big/Mul",
        "moved/Reshape",
        "small/Sigmoid",
    }
    assert HALF_MAX / HEADROOM < 20000


def test_probe_refuses_what_is_not_finite() -> None:
    with pytest.raises(ModelError, match="node a/Div gives values that are not finite"):
        Probe().watch("g", {"probe/a/Div": np.array([np.nan], np.float32)})


def test_numbers_are_told_from_indices(tmp_path: Path) -> None:
    graph = graph_of(decoder_graph, "samed", tmp_path)
    numbers = number_values(graph)
    assert "decoder.head/MatMul" in numbers
    assert not [v for v in numbers if v.endswith(("/Greater", "/ArgMax", "/Shape"))]


# Through samedge.export --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["samus", "autosamus", "sam", "medsam", "samed", "volume"])
def test_bundles_with_both(name: str, tmp_path: Path) -> None:
    bundle = samedge.export(folded_model(name), tmp_path / "a.samedge", ("fp32", "fp16")).bundle
    for entry in bundle.manifest.graphs.values():
        assert list(entry) == ["fp32", "fp16"]
        assert entry["fp32"].tensors == entry["fp16"].tensors
    row = next(r for r in bundle.manifest.parity if r.backend == deriving.EMULATION)
    assert row.passed
    assert row.margin > 1
    assert row.max_logit_error > 0
    overflow = bundle.manifest.overflow
    assert overflow is not None
    assert set(overflow["largest"]) == {"encoder", "decoder"}
    assert overflow["float32_nodes"] == {"encoder": [], "decoder": []}
    assert overflow["frames"] >= 1


def test_large_values_stay_in_float32(tmp_path: Path) -> None:
    """A value near the end of the half range: its nodes are named, and the gate still passes."""
    source = samedge.export(folded_model("samus"), tmp_path / "a.samedge").bundle
    path = tmp_path / "a.samedge" / "encoder.fp32.onnx"
    graph = OnnxGraph.read(path)
    # the same function: lin1's columns times 2^20 would overflow, were they not undone before GELU
    at = next(i for i, n in enumerate(graph.nodes) if n.name == "encoder.blocks.0.mlp/Gelu")
    scale = np.float32(2.0**20)
    graph.arrays["up"], graph.arrays["down"] = np.array(scale), np.array(1 / scale)
    value = graph.nodes[at].input[0]
    up = helper.make_node("Mul", [value, "up"], ["a/up"], name="a/up")
    down = helper.make_node("Mul", ["a/up", "down"], ["a/down"], name="a/down")
    graph.nodes[at].input[0] = "a/down"
    graph.nodes[at:at] = [up, down]
    changed = _with_encoder(source, graph, tmp_path / "b.samedge")
    bundle = samedge.export(changed, tmp_path / "c.samedge", ("fp16",)).bundle
    overflow = bundle.manifest.overflow
    assert overflow is not None
    kept = overflow["float32_nodes"]["encoder"]
    assert kept == ["a/down", "a/up"]
    assert next(iter(overflow["largest"]["encoder"])) == "a/up"
    assert types(OnnxGraph.read(bundle.graph("encoder", "fp16")))["a/up"] == FLOAT


def _with_encoder(source: Bundle, graph: OnnxGraph, path: Path) -> Bundle:
    """The bundle with another encoder, properly sealed."""
    from samedge.bundle import BundleWriter

    with BundleWriter(path) as writer:
        graph.save(writer.new_file("encoder.fp32.onnx"))
        writer.add_file("decoder.fp32.onnx", source.graph("decoder", "fp32"))
        for test in source.selftest():
            writer.add_selftest(test)
        return writer.commit(source.manifest)


def test_a_failed_gate_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(*arguments: Any) -> OnnxGraph:
        half = to_half(*arguments)
        for key, array in half.arrays.items():
            if key.endswith("qkv.weight"):
                half.arrays[key] = array * np.float16(1.5)
        return half

    monkeypatch.setattr(deriving, "to_half", worse)
    with pytest.raises(ParityError, match="parity failed: in half precision") as caught:
        samedge.export(folded_model("samus"), tmp_path / "a.samedge", ("fp32", "fp16"))
    assert caught.value.exit_code == 5
    assert not list(tmp_path.iterdir())
