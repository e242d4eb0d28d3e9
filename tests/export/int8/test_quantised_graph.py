"""Which layers become INT8, and that Q/DQ say what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samedge._openvino import ov
from samedge.export.half.graph import to_half
from samedge.export.int8.quantisable import multiplications, quantisable_layers
from samedge.export.int8.quantised_graph import quantise_weight, quantised_graph, weight_scales
from tests.export.engine import MODELS
from tests.export.int8.cases import demo_encoder, encoder_of, outputs, tiny_input, two_linears


def test_layers_of_a_trained_model() -> None:
    names = [layer.name for layer in quantisable_layers(demo_encoder())]
    assert len(names) == len(set(names)) == 41
    assert {"encoder.patch_embed", "encoder.neck.lin", "encoder.cnn.convs.0"} <= set(names)
    assert {"encoder.blocks.2.cross.kv", "encoder.blocks.0.attn.qkv"} <= set(names)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_no_attention_product_no_table_no_resize(name: str, tmp_path: Path) -> None:
    graph = encoder_of(name, tmp_path)
    layers = quantisable_layers(graph)
    assert layers
    for layer in layers:
        weight = graph.arrays[layer.weight]
        assert weight.ndim == (4 if layer.convolution else 2)
        assert not layer.name.endswith(("rel_h", "rel_w", "resize"))
        assert not layer.name.startswith(("preprocess", "const"))
    norms = {node.name for node in graph.nodes if node.op_type in ("Conv", "MatMul")}
    assert {layer.node for layer in layers} < norms  # the products of attention are left


def test_multiplications() -> None:
    graph = two_linears()
    sizes = {"network_input": 3 * 16, "n": 8 * 16}
    counts = multiplications(graph, quantisable_layers(graph), sizes)
    assert counts == {"c": 3 * 8 * 16, "a": 8 * 6 * 16, "b": 8 * 6 * 16}


def test_a_stride_counts() -> None:
    graph = demo_encoder()
    layers = [x for x in quantisable_layers(graph) if x.name == "encoder.patch_embed"]
    counts = multiplications(graph, layers, {"network_input": 256 * 256})
    assert counts["encoder.patch_embed"] == 240 * 256 * 16 * 16


@given(
    hnp.arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)), st.sampled_from([0, 1])
)
def test_a_weight_is_off_by_half_a_step_at_most(weight: np.ndarray, axis: int) -> None:
    scales = weight_scales(weight, axis)
    steps = quantise_weight(weight, axis, scales)
    shape = [-1 if i == axis else 1 for i in range(2)]
    assert steps.dtype == np.int8
    assert steps.min() >= -127
    error = np.abs(steps * scales.reshape(shape).astype(np.float64) - weight)
    assert (error <= scales.reshape(shape) * 0.5001 + 1e-9).all()


def test_numbers() -> None:
    """Against the formula, written out."""
    graph, x = two_linears(), tiny_input()
    scales = {"c": 0.02, "a": 0.3, "b": 0.3}
    result = quantised_graph(graph, quantisable_layers(graph), scales)
    onnx.checker.check_model(result.model(), full_check=True)
    got = outputs(result, x)[0]

    def rounded(values: np.ndarray, scale: float) -> np.ndarray:
        return np.clip(np.rint(values / scale), -128, 127) * scale

    arrays = {}
    for key, axis in (("c.weight", 0), ("a.weight", 1), ("b.weight", 1)):
        s = weight_scales(graph.arrays[key], axis)
        shape = [-1 if i == axis else 1 for i in range(graph.arrays[key].ndim)]
        arrays[key] = quantise_weight(graph.arrays[key], axis, s) * s.reshape(shape)
    t = np.einsum("bchw,oc->bhwo", rounded(x, 0.02), arrays["c.weight"][..., 0, 0])
    n = (t - t.mean(-1, keepdims=True)) / np.sqrt(t.var(-1, keepdims=True) + 1e-5)
    n = rounded(n * graph.arrays["n.weight"] + graph.arrays["n.bias"], 0.3)
    want = n @ arrays["a.weight"] + n @ arrays["b.weight"]
    assert np.mean(np.abs(got - want) > 1e-3) < 0.05  # a tie may fall to the other side
    assert np.abs(got - outputs(graph, x)[0]).max() > 1e-3


def test_what_two_layers_take_is_quantised_once_and_names_stay() -> None:
    graph = two_linears()
    before = [node.name for node in graph.nodes]
    result = quantised_graph(graph, quantisable_layers(graph), {"c": 1.0, "a": 1.0, "b": 1.0})
    kinds = [node.op_type for node in result.nodes]
    assert kinds.count("QuantizeLinear") == 2
    assert kinds.count("DequantizeLinear") == 2 + 3
    assert [node.name for node in graph.nodes] == before  # the argument is as it was
    assert graph.arrays["a.weight"].dtype == np.float32
    assert set(before) <= {node.name for node in result.nodes}
    assert result.arrays["a.weight"].dtype == np.int8
    assert result.arrays["n.bias"].dtype == np.float32


def test_layers_that_are_left_out_stay_as_they_are() -> None:
    graph = two_linears()
    layers = [layer for layer in quantisable_layers(graph) if layer.name != "b"]
    result = quantised_graph(graph, layers, {"c": 1.0, "a": 1.0})
    assert result.arrays["b.weight"] is graph.arrays["b.weight"]
    b = next(node for node in result.nodes if node.name == "b/MatMul")
    assert list(b.input) == ["n", "b.weight"]


def test_half_scales_are_rounded_up() -> None:
    """Rounded down, the largest weight of a channel would be cut off at 127."""
    half = to_half(two_linears(), {"encoder.network_input"})
    scales = {"c": 0.0123456, "a": 0.345678, "b": 0.345678}
    result = quantised_graph(half, quantisable_layers(half), scales)
    onnx.checker.check_model(result.model(), full_check=True)
    stored = result.arrays["n.scale"]
    assert stored.dtype == np.float16
    assert 0.345678 <= float(stored) < 0.3462
    for key, axis in (("c.weight", 0), ("a.weight", 1)):
        wide = weight_scales(half.arrays[key], axis)
        assert (result.arrays[f"{key}.scale"].astype(np.float64) >= wide).all()


def test_a_channel_of_zeros() -> None:
    weight = np.zeros((3, 2), np.float32)
    scales = weight_scales(weight, 1)
    assert (scales > 0).all()
    assert not quantise_weight(weight, 1, scales).any()


@pytest.mark.parametrize("half", [False, True])
def test_openvino_takes_int8_kernels(half: bool, tmp_path: Path) -> None:
    """Else Q/DQ would only be rounding: slower and worse."""
    graph = demo_encoder()
    names = [layer.name for layer in quantisable_layers(graph)]
    base = to_half(graph, {"encoder.network_input"}) if half else graph
    result = quantised_graph(base, quantisable_layers(base), dict.fromkeys(names, 0.05))
    result.save(tmp_path / "a.onnx")
    compiled = ov.Core().compile_model(str(tmp_path / "a.onnx"), "CPU")
    found = {"FullyConnected": 0, "Convolution": 0}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {key: _text(value) for key, value in node.get_rt_info().items()}
        if info.get("layerType") in found and info["runtimePrecision"] in ("i8", "u8"):
            found[info["layerType"]] += 1
    assert found["FullyConnected"] >= 30
    assert found["Convolution"] >= 8


def _text(value: object) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)
