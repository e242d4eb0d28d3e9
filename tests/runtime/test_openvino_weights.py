"""bfloat16 weights: rounding, and that nothing temporary stays behind."""

from __future__ import annotations

import gc

import numpy as np
import openvino as ov
import openvino.opset13 as ops

from samedge.runtime.openvino_compile import core
from samedge.runtime.openvino_weights import halve_weights, to_bfloat16


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
