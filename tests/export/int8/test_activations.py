"""What is measured on calibration frames is what flows there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import FrameError
from samedge.export.int8 import activations as module
from samedge.export.int8.activations import (
    Activation,
    activation_scale,
    activations,
    best_cut,
    histogram,
    magnitudes,
    pack,
    smoothed,
    square_error,
    unpack,
)
from samedge.export.int8.encoder_runs import EncoderModel
from samedge.export.int8.quantisable import quantisable_layers
from samedge.export.int8.sensitivity import sensitivity
from tests.export.int8.cases import Inputs, outputs, tiny_input, two_linears

FRAMES = Inputs([tiny_input(seed) for seed in range(3)])


@given(st.floats(2.0**-20, 2.0**20, width=32))
def test_a_bin_is_three_percent_wide(value: float) -> None:
    (index,) = np.flatnonzero(histogram(np.array([value, -value], np.float32)))
    assert abs(magnitudes()[index] / value - 1) < 0.032


def measured() -> dict[str, Activation]:
    graph = two_linears()
    with EncoderModel(graph) as encoder:
        return activations(encoder, quantisable_layers(graph), FRAMES, 1)


def test_peaks_and_places() -> None:
    found = measured()
    assert list(found) == ["network_input", "n"]
    values = np.concatenate([outputs(two_linears(), x, ("n",))[1] for x in FRAMES])
    np.testing.assert_allclose(found["n"].peaks, np.abs(values).max(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found["n"].tokens, values.reshape(-1, 8), rtol=1e-4, atol=1e-5)
    assert found["n"].size == 16 * 8
    assert found["n"].histogram.sum() == values.size
    frames = np.concatenate(FRAMES)
    np.testing.assert_allclose(
        found["network_input"].peaks, np.abs(frames).max(axis=(0, 2, 3)), rtol=1e-6
    )
    assert found["network_input"].tokens.shape == (0, 3)


def test_in_pieces_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured()
    monkeypatch.setattr(module, "_CHUNK", 1)
    for name, part in measured().items():
        np.testing.assert_array_equal(part.peaks, whole[name].peaks)
        np.testing.assert_array_equal(part.histogram, whole[name].histogram)


def test_kept_as_it_was() -> None:
    found = measured()
    again = unpack(pack(found))
    assert list(again) == list(found)
    for name, one in found.items():
        for field in ("peaks", "histogram", "tokens", "size"):
            np.testing.assert_array_equal(getattr(again[name], field), getattr(one, field))


def test_a_frame_that_makes_nan_is_named() -> None:
    graph = two_linears()
    bad = Inputs([*FRAMES, np.full((1, 3, 4, 4), np.nan, np.float32)])
    with EncoderModel(graph) as encoder, pytest.raises(FrameError, match="frame 3 makes the input"):
        activations(encoder, quantisable_layers(graph), bad, 1)


@given(st.integers(0, 100), st.sampled_from([1.0, 0.8, 0.5, 0.3]))
def test_the_error_of_a_cut_is_the_real_one(seed: int, cut: float) -> None:
    values = np.random.default_rng(seed).laplace(size=20000).astype(np.float32)
    limit = cut * float(np.abs(values).max())
    step = limit / 127
    real = np.mean((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2.0)
    assert abs(square_error(histogram(values), limit) / real - 1) < 0.15


def test_rare_outliers_are_cut_off() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(200000).astype(np.float32)
    assert best_cut(histogram(values), float(np.abs(values).max())) > 0.5
    values[0] = 60.0
    assert best_cut(histogram(values), 60.0) <= 0.5


def test_smoothed_statistics() -> None:
    found = measured()["n"]
    result = smoothed(found, np.full(8, 2.0))
    np.testing.assert_allclose(result.peaks, found.peaks / 2)
    assert activation_scale(result)[0] == pytest.approx(activation_scale(found)[0] / 2, rel=0.1)


def test_nothing_but_zeros_has_a_scale() -> None:
    none = np.zeros((0, 1), np.float32)
    empty = Activation(np.zeros(1), histogram(np.zeros(9, np.float32)), none, 9)
    assert activation_scale(empty)[0] > 0


def test_sensitivity_is_that_of_the_layer_alone() -> None:
    """As the real INT8 graph of that one layer has it; and the model is as it was afterwards."""
    from samedge.export.int8.quantised_graph import quantised_graph

    graph = two_linears()
    layers = quantisable_layers(graph)
    scales = {"c": 0.05, "a": 0.5, "b": 0.5}
    with EncoderModel(graph) as encoder:
        errors = sensitivity(encoder, layers, scales, FRAMES, 1)
        assert sensitivity(encoder, layers, scales, FRAMES, 1) == errors
    for layer in layers:
        one = quantised_graph(graph, [layer], scales)
        pairs = [(outputs(one, x)[0], outputs(graph, x)[0]) for x in FRAMES]
        square = sum(float(np.mean((a - b) ** 2)) for a, b in pairs)
        power = sum(float(np.mean(b**2)) for _, b in pairs)
        assert errors[layer.name] == pytest.approx(np.sqrt(square / power), rel=0.05)


def test_a_network_without_numbers() -> None:
    graph = two_linears()
    graph.arrays["n.weight"] = graph.arrays["n.weight"] * np.float32(np.nan)
    scales = dict.fromkeys("abc", 0.1)
    with EncoderModel(graph) as encoder, pytest.raises(FrameError, match="NaN"):
        sensitivity(encoder, quantisable_layers(graph), scales, FRAMES, 1)
