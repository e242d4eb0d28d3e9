"""Rewrites of INT8 graphs compute what the graph before them computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge._openvino import ops, ov
from samedge.runtime.openvino.rewrites import dense as openvino_rewrites
from samedge.runtime.openvino.rewrites import int8 as rewrites
from samedge.runtime.openvino.weights import to_float32
from tests.runtime.openvino.rewrites.test_dense import assert_unchanged

rng = np.random.default_rng(0)
WEIGHT = rng.integers(-127, 128, (6, 9)).astype(np.int8)
SCALES = rng.uniform(0.01, 0.1, 9).astype(np.float32)
BIAS = np.concatenate([rng.standard_normal(6), np.zeros(3)]).astype(np.float32)


def quantised(bias: bool, sizes: tuple[int, ...], dtype: Any = np.float32) -> Any:
    """x [1, 5, 6] -> quantised linear layer -> parts."""

    def build() -> ov.Model:
        x = ops.parameter([1, 5, 6], np.float32)
        y = ops.convert(x, "f16") if dtype == np.float16 else x
        kind = "f16" if dtype == np.float16 else "f32"
        weight = ops.multiply(
            ops.convert(ops.constant(WEIGHT), kind), ops.constant(SCALES.astype(dtype))
        )
        y = ops.matmul(y, weight, False, False)
        if bias:
            y = ops.add(y, ops.constant(BIAS.astype(dtype)))
        parts = ops.variadic_split(y, ops.constant(-1), ops.constant(np.array(sizes)))
        results = [ops.convert(part, "f32") for part in parts.outputs()]
        return ov.Model(results, [x])

    return build


X = rng.standard_normal((1, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(3, 3, 3), (2, 7)])
def test_split_quantised(bias: bool, sizes: tuple[int, ...]) -> None:
    model = assert_unchanged(quantised(bias, sizes), X, rewrites.split_quantised, 1)
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert "VariadicSplit" not in kinds
    assert kinds.count("MatMul") == len(sizes)
    weights = [n for n in model.get_ops() if n.get_type_name() == "Constant"
               and n.get_element_type() == ov.Type.i8]  # fmt: skip
    columns = np.concatenate([w.get_data() for w in weights], axis=1)
    assert sorted(columns.T.tolist()) == sorted(WEIGHT.T.tolist())
    adds = kinds.count("Add")
    assert adds == (2 if bias else 0)  # the bias of the last three columns is zero


def test_split_of_an_activation_is_left_alone() -> None:
    def build() -> ov.Model:
        x = ops.parameter([1, 5, 6], np.float32)
        parts = ops.variadic_split(x, ops.constant(-1), ops.constant(np.array([2, 4])))
        return ov.Model([ops.relu(part) for part in parts.outputs()], [x])

    assert_unchanged(build, X, rewrites.split_quantised, 0)


def test_float_weights_are_left_alone() -> None:
    def build() -> ov.Model:
        x = ops.parameter([1, 5, 6], np.float32)
        y = ops.matmul(x, ops.constant(WEIGHT.astype(np.float32)), False, False)
        parts = ops.variadic_split(y, ops.constant(-1), ops.constant(np.array([4, 5])))
        return ov.Model([ops.relu(part) for part in parts.outputs()], [x])

    assert_unchanged(build, X, rewrites.split_quantised, 0)


@pytest.mark.parametrize("shape", [(1, 2, 4, 4, 3), (9, 2, 3, 5, 4)])
def test_relative_positions(shape: tuple[int, ...]) -> None:
    table = rng.standard_normal((shape[2], shape[4], 7)).astype(np.float32)

    def build() -> ov.Model:
        x = ops.parameter(list(shape), np.float32)
        return ov.Model([ops.matmul(x, ops.constant(table), False, False)], [x])

    x = rng.standard_normal(shape).astype(np.float32)
    model = assert_unchanged(build, x, rewrites.relative_positions, 1)
    (product,) = (node for node in model.get_ops() if node.get_type_name() == "MatMul")
    assert len(product.get_output_shape(0)) == 3


@pytest.mark.parametrize("order", [(0, 1, 3, 2), (0, 2, 3, 1)])
def test_untransposed_keys(order: tuple[int, ...]) -> None:
    def build() -> ov.Model:
        x = ops.parameter([1, 2, 5, 3] if order[1] == 1 else [1, 5, 2, 3], np.float32)
        plain = (0, 1, 2, 3) if order[1] == 1 else (0, 2, 1, 3)
        q = ops.transpose(x, ops.constant(np.array(plain)))
        k = ops.transpose(x, ops.constant(np.array(order)))
        return ov.Model([ops.matmul(q, k, False, False)], [x])

    shape = (1, 2, 5, 3) if order[1] == 1 else (1, 5, 2, 3)
    x = rng.standard_normal(shape).astype(np.float32)
    model = assert_unchanged(build, x, rewrites.untransposed_keys, 1)
    (product,) = (node for node in model.get_ops() if node.get_type_name() == "MatMul")
    assert product.get_attributes()["transpose_b"]


def test_other_transposes_are_left_alone() -> None:
    def build() -> ov.Model:
        x = ops.parameter([2, 2, 3, 3], np.float32)
        k = ops.transpose(x, ops.constant(np.array([1, 0, 3, 2])))
        return ov.Model([ops.matmul(x, k, False, False)], [x])

    assert_unchanged(build, np.ones((2, 2, 3, 3), np.float32), rewrites.untransposed_keys, 0)


def test_a_half_graph_is_split_as_well() -> None:
    """Typed in float16, as bundles hold it; read, and rewritten."""
    model = quantised(True, (3, 6), np.float16)()
    to_float32(model)
    assert rewrites.split_quantised(model) == 1
    model.validate_nodes_and_infer_types()
    kinds = {out.get_element_type() for node in model.get_ops() for out in node.outputs()}
    assert ov.Type.f16 not in kinds
    half = SCALES.astype(np.float16).astype(np.float32)
    want = X @ (WEIGHT * half) + BIAS.astype(np.float16).astype(np.float32)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got = np.concatenate([np.array(v) for v in compiled([X]).values()], axis=-1)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_steps_of_int8_take_no_product_away() -> None:
    steps = openvino_rewrites.steps("int8")
    assert openvino_rewrites.winograd not in steps
    assert openvino_rewrites.linear_as_convolution not in steps
    assert rewrites.split_quantised in steps


@pytest.mark.parametrize("shape", [(1, 2, 3, 4, 5), (4, 1, 2, 2, 3)])
def test_bias_as_channels(shape: tuple[int, ...]) -> None:
    """windows, heads, height, width, channels."""
    b, h, m, n, d = shape

    def build() -> ov.Model:
        x = ops.parameter([b, h, m * n, d + m + n], np.float32)
        sizes = ops.constant(np.array([d, m, n]))
        q, rows, cols = ops.variadic_split(x, ops.constant(-1), sizes).outputs()
        grid = [ops.constant(np.array([b, h, m, n, size])) for size in (m, n)]
        up = ops.unsqueeze(ops.reshape(rows, grid[0], False), ops.constant(np.array([-1])))
        along = ops.unsqueeze(ops.reshape(cols, grid[1], False), ops.constant(np.array([-2])))
        flat = ops.constant(np.array([b, h, m * n, m * n]))
        bias = ops.reshape(ops.add(up, along), flat, False)
        scores = ops.add(ops.matmul(q, ops.relu(q), False, True), bias)
        return ov.Model([ops.softmax(scores, -1)], [x])

    x = rng.standard_normal((b, h, m * n, d + m + n)).astype(np.float32)
    model = assert_unchanged(build, x, rewrites.bias_as_channels, 1)
    (product,) = (node for node in model.get_ops() if node.get_type_name() == "MatMul")
    assert product.input_value(0).get_shape()[-1] == d + m + n
    assert "Add" not in {node.get_type_name() for node in model.get_ops()}


def test_another_bias_is_left_alone() -> None:
    def build() -> ov.Model:
        x = ops.parameter([1, 2, 4, 3], np.float32)
        bias = ops.constant(rng.standard_normal((1, 2, 4, 4)).astype(np.float32))
        return ov.Model([ops.add(ops.matmul(x, x, False, True), bias)], [x])

    state = rng.bit_generator.state
    x = np.ones((1, 2, 4, 3), np.float32)

    def same() -> ov.Model:
        rng.bit_generator.state = state
        return build()

    assert_unchanged(same, x, rewrites.bias_as_channels, 0)


def norm(axis: int = 1, eps: float = 1e-2, other: bool = False, keep: bool = True) -> Any:
    """x [2, 5, 3, 4] -> x / sqrt(mean of squares + eps), with a scale."""

    def build() -> ov.Model:
        x = ops.parameter([2, 5, 3, 4], np.float32)
        y = ops.relu(x) if other else x
        mean = ops.reduce_mean(ops.multiply(y, x), ops.constant(np.array([axis])), keep)
        mean = mean if keep else ops.unsqueeze(mean, ops.constant(np.array(1)))
        total = ops.add(mean, ops.constant(np.array([eps], np.float32)))
        scale = np.arange(1, 6, dtype=np.float32).reshape(1, 5, 1, 1)
        y = ops.multiply(ops.divide(x, ops.sqrt(total)), ops.constant(scale))
        return ov.Model([y], [x])

    return build


IMAGE = rng.standard_normal((2, 5, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize("size", [1.0, 1e-3, 0.0])
def test_channel_norms(eps: float, size: float) -> None:
    """eps counts as it did, also where everything is small, and in the dark."""
    model = assert_unchanged(norm(eps=eps), IMAGE * np.float32(size), rewrites.channel_norms, 1)
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert "NormalizeL2" in kinds
    assert "ReduceMean" not in kinds


@pytest.mark.parametrize("change", [{"axis": 3}, {"other": True, "eps": 10.0}, {"keep": False}])
def test_other_norms_are_left_alone(change: dict[str, Any]) -> None:
    assert_unchanged(norm(**change), IMAGE, rewrites.channel_norms, 0)
