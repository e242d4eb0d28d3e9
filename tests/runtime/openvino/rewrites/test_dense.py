"""Every rewrite computes what the model before it computed, and leaves alone what it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge._openvino import ops, ov
from samedge.runtime.openvino.rewrites import dense as rewrites

CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def run(model: ov.Model, x: Any) -> list[Any]:
    compiled = ov.Core().compile_model(model, "CPU", CONFIG)
    return [np.array(value) for value in compiled([x]).values()]


def assert_unchanged(build: Any, x: Any, rewrite: Any, expected: int) -> ov.Model:
    before = run(build(), x)
    model = build()
    assert rewrite(model) == expected
    model.validate_nodes_and_infer_types()
    for got, want in zip(run(model, x), before, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5 * max(1.0, np.abs(want).max()))
    return model


def convolution(channels: int, outputs: int, side: int, stride: int = 1, size: int = 3) -> Any:
    rng = np.random.default_rng(channels + outputs + side)
    kernel = rng.standard_normal((outputs, channels, size, size)).astype(np.float32)
    kernel /= np.sqrt(channels * size * size)

    def build() -> ov.Model:
        x = ops.parameter([1, channels, side, side], np.float32)
        pads = [size // 2] * 2
        y = ops.convolution(x, ops.constant(kernel), [stride] * 2, pads, pads, [1, 1])
        return ov.Model([y], [x])

    return build


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 9), st.sampled_from([256, 260]), st.sampled_from([256, 300]))
def test_winograd(tiles: int, channels: int, outputs: int) -> None:
    side = 2 * tiles
    x = np.random.default_rng(side).standard_normal((1, channels, side, side)).astype(np.float32)
    model = assert_unchanged(convolution(channels, outputs, side), x, rewrites.winograd, 1)
    assert "Convolution" not in {node.get_type_name() for node in model.get_ops()}


@pytest.mark.parametrize(
    ("channels", "outputs", "side", "stride", "size"),
    [(64, 256, 8, 1, 3), (256, 64, 8, 1, 3), (256, 256, 7, 1, 3), (256, 256, 8, 2, 3),
     (256, 256, 8, 1, 1)],
)  # fmt: skip
def test_winograd_leaves_other_convolutions(
    channels: int, outputs: int, side: int, stride: int, size: int
) -> None:
    x = np.ones((1, channels, side, side), np.float32)
    assert_unchanged(convolution(channels, outputs, side, stride, size), x, rewrites.winograd, 0)


def test_a_wrong_transform_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = rewrites._INPUT.copy()
    broken[2, 1] = 1
    monkeypatch.setattr(rewrites, "_INPUT", broken)
    x = np.random.default_rng(0).standard_normal((1, 256, 8, 8)).astype(np.float32)
    with pytest.raises(AssertionError):
        assert_unchanged(convolution(256, 256, 8), x, rewrites.winograd, 1)


def linear(widths: list[int], bias: bool, gelu: bool, tokens: int, batch: int = 1) -> Any:
    rng = np.random.default_rng(sum(widths))
    inner = 128
    weight = (rng.standard_normal((inner, sum(widths))) / np.sqrt(inner)).astype(np.float32)
    offset = rng.standard_normal(sum(widths)).astype(np.float32)
    offset[-widths[-1] :] = 0  # as a folded value's bias is

    def build() -> ov.Model:
        x = ops.parameter([batch, tokens, inner], np.float32)
        y = ops.matmul(x, ops.constant(weight), False, False)
        if bias:
            y = ops.add(y, ops.constant(offset))
        if gelu:
            y = ops.gelu(y, "erf")
        if len(widths) == 1:
            return ov.Model([y], [x])
        axis = ops.constant(np.array(-1, np.int64))
        parts = ops.variadic_split(y, axis, ops.constant(np.array(widths, np.int64)))
        return ov.Model([ops.relu(out) for out in parts.outputs()], [x])

    return build


def tokens_of(count: int, batch: int = 1) -> Any:
    random = np.random.default_rng(count)
    return random.standard_normal((batch, count, 128)).astype(np.float32)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [[128, 128, 128], [64, 192]])
def test_split_linear(widths: list[int], bias: bool) -> None:
    model = assert_unchanged(
        linear(widths, bias, False, 16), tokens_of(16), rewrites.split_linear, 1
    )
    assert "VariadicSplit" not in {node.get_type_name() for node in model.get_ops()}


def test_split_of_something_else_stays() -> None:
    assert_unchanged(linear([64, 64], True, True, 9), tokens_of(9), rewrites.split_linear, 0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("count", [16, 15, 1])
def test_linear_as_convolution(count: int, gelu: bool, bias: bool) -> None:
    model = assert_unchanged(
        linear([160], bias, gelu, count), tokens_of(count), rewrites.linear_as_convolution, 1
    )
    assert "MatMul" not in {node.get_type_name() for node in model.get_ops()}


@pytest.mark.parametrize(
    ("rewrite", "widths"),
    [(rewrites.linear_as_convolution, [160]), (rewrites.split_linear, [128, 32])],
)
def test_stacks_of_slices(rewrite: Any, widths: list[int]) -> None:
    """Several images of tokens at once, as in models of volumes."""
    assert_unchanged(linear(widths, True, len(widths) == 1, 9, 3), tokens_of(9, 3), rewrite, 1)


def test_narrow_matrices_stay() -> None:
    assert_unchanged(linear([64], True, False, 9), tokens_of(9), rewrites.linear_as_convolution, 0)


def test_bf16_keeps_matrix_products() -> None:
    model = rewrites.optimise(linear([160], True, True, 16)(), "bf16")
    assert "MatMul" in {node.get_type_name() for node in model.get_ops()}
    model = rewrites.optimise(linear([160], True, True, 16)(), "fp32")
    assert "MatMul" not in {node.get_type_name() for node in model.get_ops()}
