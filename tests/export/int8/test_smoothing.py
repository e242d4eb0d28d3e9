"""Smoothing changes nothing but rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samedge.export.int8.activations import Activation, histogram
from samedge.export.int8.quantisable import quantisable_layers
from samedge.export.int8.smoothing import (
    choose_exponent,
    groups,
    smooth,
    smoothing_scales,
    weight_peaks,
)
from tests.export.int8.cases import demo_encoder, outputs, tiny_input, two_linears


@given(st.integers(0, 1000), st.floats(0.1, 1.0))
def test_the_graph_computes_the_same(seed: int, exponent: float) -> None:
    graph, x = two_linears(seed), tiny_input(seed)
    before = outputs(graph, x, ("n",))
    (group,) = groups(graph, quantisable_layers(graph))
    peaks = np.abs(before[1]).max(axis=(0, 1, 2)).astype(np.float64)
    scales = smoothing_scales(peaks, weight_peaks(graph, group), exponent)
    smooth(graph, group, scales)
    after = outputs(graph, x, ("n",))
    np.testing.assert_allclose(after[0], before[0], atol=1e-5 * np.abs(before[0]).max())
    np.testing.assert_allclose(after[1] * scales, before[1], rtol=1e-4, atol=1e-5)


@given(
    hnp.arrays(np.float64, 6, elements=st.floats(1e-3, 1e3)),
    hnp.arrays(np.float64, (6, 4), elements=st.floats(-10, 10)),
    hnp.arrays(np.float64, (5, 6), elements=st.floats(-10, 10)),
)
def test_the_algebra_in_float64(s: np.ndarray, w: np.ndarray, x: np.ndarray) -> None:
    np.testing.assert_allclose((x / s) @ (s[:, None] * w), x @ w, rtol=1e-12, atol=1e-10)


def test_factors_are_around_one_and_bounded() -> None:
    scales = smoothing_scales(np.array([0.0, 1.0, 1e30]), np.array([1.0, 0.0, 1.0]), 0.5)
    assert np.isfinite(scales).all()
    assert scales.max() <= 1e4
    assert scales.min() >= 1e-4


def test_groups_of_a_trained_model() -> None:
    """norm1 of blocks 2 and 5 also feeds an addition (the cross branch), so it must not change."""
    graph = demo_encoder()
    names = {group.name for group in groups(graph, quantisable_layers(graph))}
    assert names == {
        *(f"encoder.blocks.{i}.norm2" for i in range(6)),
        *(f"encoder.blocks.{i}.norm1" for i in (0, 1, 3, 4)),
    }


def test_a_value_with_another_taker_is_left_alone() -> None:
    graph = two_linears()
    next(node for node in graph.nodes if node.name == "sum").input[0] = "n"
    assert not groups(graph, quantisable_layers(graph))


def test_a_shared_weight_is_left_alone() -> None:
    graph = two_linears()
    next(node for node in graph.nodes if node.name == "b/MatMul").input[1] = "a.weight"
    assert not groups(graph, quantisable_layers(graph))


@pytest.mark.parametrize("outlier", [1.0, 300.0])
def test_the_exponent_is_chosen_by_the_error(outlier: float) -> None:
    graph = two_linears()
    (group,) = groups(graph, quantisable_layers(graph))
    tokens = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    tokens[:, 3] *= outlier
    for layer in group.layers:
        graph.arrays[layer.weight][3] /= outlier
    peaks = np.abs(tokens).max(axis=0).astype(np.float64)
    statistics = Activation(peaks, histogram(tokens), tokens, tokens.size)
    exponent, error, without = choose_exponent(graph, group, statistics)
    assert error <= without
    if outlier > 1:
        assert exponent is not None
        assert error < without / 2
