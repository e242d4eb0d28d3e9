"""bfloat16 weights: rounding, and that nothing temporary stays behind."""

from __future__ import annotations

import gc
import math

import numpy as np

from samedge._openvino import ops, ov
from samedge.runtime.openvino.compile import core
from samedge.runtime.openvino.weights import halve_weights, to_bfloat16, to_float32


def back(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_rounding_is_to_nearest_ties_to_even() -> None:
    step = np.float32(2**-7)  # bfloat16 has 8 significant bits: neighbours of 1 are 2**-7 apart
    values = np.array([1, 1 + step / 2, 1 + step, 1 + 1.5 * step, -1 - step / 2], np.float32)
    expected = np.array([1, 1, 1 + step, 1 + 2 * step, -1], np.float32)
    np.testing.assert_array_equal(back(to_bfloat16(values)), expected)


def test_error_is_at_most_half_a_step() -> None:
    values = np.random.default_rng(0).standard_normal(10_000).astype(np.float32)
    error = np.abs(back(to_bfloat16(values)) - values)
    assert (error <= np.abs(values) * 2**-8).all()


def test_only_large_matrices_are_stored_in_half() -> None:
    random = np.random.default_rng(1)
    weight = random.standard_normal((256, 320)).astype(np.float32)
    bias = random.standard_normal((1, 320)).astype(np.float32)
    x = ops.parameter([4, 256], np.float32)
    model = ov.Model([ops.add(ops.matmul(x, weight, False, False), bias)], [x], "linear")
    assert halve_weights(model) == 1
    del weight
    gc.collect()
    weight = np.random.default_rng(1).standard_normal((256, 320)).astype(np.float32)
    frame = random.standard_normal((4, 256)).astype(np.float32)
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    result = core().compile_model(model, "CPU", config)(frame)[0]
    np.testing.assert_allclose(result, frame @ back(to_bfloat16(weight)) + bias, atol=1e-3)


def typed_half(weight: np.ndarray) -> ov.Model:
    """x in float32 -> product, bias and GELU in float16 -> float32."""
    x = ops.parameter([4, weight.shape[0]], np.float32, name="x")
    half = ops.convert(x, "f16")
    half.output(0).get_tensor().set_names({"x/half"})
    constant = ops.constant(weight.astype(np.float16))
    y = ops.matmul(half, constant, False, False)
    y = ops.add(y, ops.constant(np.full((1, weight.shape[1]), 0.5, np.float16)))
    y = ops.gelu(y, "ERF")
    y.output(0).get_tensor().set_names({"gelu"})
    out = ops.convert(y, "f32")
    out.output(0).get_tensor().set_names({"out"})
    return ov.Model([ops.result(out)], [x], "half")


def test_a_graph_typed_in_half_becomes_float32() -> None:
    random = np.random.default_rng(2)
    weight = random.standard_normal((32, 16)).astype(np.float16)
    x = random.standard_normal((4, 32)).astype(np.float32)
    model = typed_half(weight)
    assert to_float32(model) == 2
    kinds = {node.get_output_element_type(0) for node in model.get_ordered_ops()}
    assert kinds == {ov.Type.f32}
    assert model.output("out").get_element_type() == ov.Type.f32
    # Only what a result hangs on is left of the conversions.
    converts = [n for n in model.get_ordered_ops() if n.get_type_name() == "Convert"]
    assert len(converts) == 1
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    result = core().compile_model(model, "CPU", config)(x)[0]
    y = x.astype(np.float64) @ weight.astype(np.float64) + 0.5
    expected = y * 0.5 * (1 + np.vectorize(math.erf)(y / np.sqrt(2)))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_int8_weights_stay_int8_whatever_their_scales_are_typed_in() -> None:
    weight = ops.constant(np.arange(-6, 6, dtype=np.int8).reshape(3, 4))
    scale = ops.constant(np.full((1, 4), 0.25, np.float16))
    dequantised = ops.multiply(ops.convert(weight, "f16"), scale)
    x = ops.parameter([2, 3], np.float32, name="x")
    product = ops.matmul(ops.convert(x, "f16"), dequantised, False, False)
    model = ov.Model([ops.convert(product, "f32")], [x], "int8")
    assert to_float32(model) == 1
    kept = [n for n in model.get_ordered_ops() if n.get_type_name() == "Constant"]
    assert {n.get_element_type() for n in kept} == {ov.Type.i8, ov.Type.f32}


def test_a_float32_graph_is_left_alone() -> None:
    x = ops.parameter([2, 3], np.float32)
    converted = ops.convert(ops.convert(x, "i32"), "f32")
    model = ov.Model([converted], [x], "plain")
    before = [n.get_type_name() for n in model.get_ordered_ops()]
    assert to_float32(model) == 0
    assert [n.get_type_name() for n in model.get_ordered_ops()] == before


def test_float16_storage_keeps_what_it_cannot_hold() -> None:
    random = np.random.default_rng(3)
    small = random.standard_normal((256, 256)).astype(np.float32)
    large = small.copy()
    large[3, 3] = 1e6
    x = ops.parameter([4, 256], np.float32)
    y = ops.matmul(ops.matmul(x, small, False, False), large, False, False)
    model = ov.Model([y], [x], "two")
    assert halve_weights(model, "f16") == 1
    frame = random.standard_normal((4, 256)).astype(np.float32)
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    result = core().compile_model(model, "CPU", config)(frame)[0]
    expected = frame @ small.astype(np.float16).astype(np.float32) @ large
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1.0)
