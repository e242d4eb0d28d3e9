"""samedge/train/evaluation/metrics.py against brute force in float64."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai import metrics
from scipy import ndimage

from samedge.errors import ModelError
from samedge.train.evaluation.metrics import Scores, score, summarise
from tests.train.data.layouts import disc


def surface(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Places of the pixels of a mask that have a neighbour (of four) outside, in the unit."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask, bool)
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis)[1:-1, 1:-1]
    return np.argwhere(mask & ~inner) * np.array(spacing)


def oracle(a: np.ndarray, b: np.ndarray, spacing: tuple[float, float] = (1, 1)) -> Scores:
    """The definitions of docs/evaluation.md, all pairs of surface pixels."""
    a, b = a != 0, b != 0
    both = int((a & b).sum())
    if not a.any() and not b.any():
        return Scores(1.0, 1.0, 0.0, 0.0)
    dice, iou = 2 * both / int(a.sum() + b.sum()), both / int((a | b).sum())
    if not a.any() or not b.any():
        return Scores(dice, iou, float("nan"), float("nan"))
    gaps = surface(a, spacing)[:, None] - surface(b, spacing)[None]
    distances = np.sqrt((gaps**2).sum(-1))
    there, back = distances.min(1), distances.min(0)
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return Scores(dice, iou, float(hd95), float(np.concatenate([there, back]).mean()))


def assert_equal(got: Scores, wanted: Scores) -> None:
    for name in ("dice", "iou", "hd95", "assd"):
        expected = pytest.approx(getattr(wanted, name), rel=1e-6, abs=1e-6, nan_ok=True)
        assert getattr(got, name) == expected, name


@given(
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(0, 9999),
    st.sampled_from([0.0, 0.02, 0.3, 0.8, 1.0]),
    st.sampled_from([(1, 1), (0.2, 0.35)]),
)
def test_masks_of_noise(
    height: int, width: int, seed: int, density: float, spacing: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((2, height, width)) < [[[density]], [[0.4]]]).astype(np.uint8)
    assert_equal(score(a, b, spacing), oracle(a, b, spacing))


@given(st.integers(0, 9999))
def test_masks_with_a_shape(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(rng.standard_normal((2, 60, 70)), (0, 4, 4))
    a, b = (blurred + 0.3 * blurred[:1] > 0.05).astype(np.uint8)
    assert_equal(score(a, b), oracle(a, b))


# MONAI calls itself with an argument that it has given up.
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@given(st.integers(0, 9999))
def test_monais_own_metrics_agree(seed: int) -> None:
    blurred = ndimage.gaussian_filter(
        np.random.default_rng(seed).standard_normal((2, 40, 50)), (0, 3, 3)
    )
    a, b = (torch.from_numpy(mask)[None, None] for mask in blurred > 0)
    got = score(*(blurred > 0).astype(np.uint8))
    assert got.dice == pytest.approx(float(metrics.compute_dice(a, b)), rel=1e-6)
    assert got.iou == pytest.approx(float(metrics.compute_iou(a, b)), rel=1e-6)
    symmetric = metrics.compute_average_surface_distance(a, b, symmetric=True)
    assert got.assd == pytest.approx(float(symmetric), rel=1e-6)


def test_known_values() -> None:
    a, b = np.zeros((2, 20, 20), np.uint8)
    a[5:10, 5:10], b[5:10, 8:13] = 1, 1
    assert_equal(score(a, b), Scores(0.4, 0.25, 3.0, 1.5))
    assert score(a, b).assd == pytest.approx(oracle(a, b).assd)
    assert_equal(score(a, a), Scores(1.0, 1.0, 0.0, 0.0))


def test_empty_masks() -> None:
    empty, full = np.zeros((9, 9), np.uint8), disc(9, 9, (4, 4), 2)
    assert score(empty, empty) == Scores(1.0, 1.0, 0.0, 0.0)
    for pair in ((empty, full), (full, empty)):
        got = score(*pair)
        assert (got.dice, got.iou) == (0.0, 0.0)
        assert isnan(got.hd95)
        assert isnan(got.assd)


def test_a_mask_at_the_border_ends_there() -> None:
    a = np.zeros((12, 12), np.uint8)
    a[:6] = 1
    b = np.ones((12, 12), np.uint8)
    assert_equal(score(a, b), oracle(a, b))


def test_sizes_must_agree() -> None:
    with pytest.raises(ModelError, match=r"a mask of shape \[9, 9\] came for a label of \[9, 8\]"):
        score(np.zeros((9, 9), np.uint8), np.zeros((9, 8), np.uint8))


def test_summary() -> None:
    values = [0.9, 0.8, float("nan"), 0.7, 1.0]
    got = summarise(values)
    assert (got.count, got.missing) == (4, 1)
    assert got.mean == pytest.approx(0.85)
    assert got.std == pytest.approx(np.std([0.9, 0.8, 0.7, 1.0], ddof=1))
    assert 0.7 <= got.low < 0.85 < got.high <= 1.0
    assert summarise(values) == got
    assert (summarise([]).count, summarise([float("nan")]).missing) == (0, 1)
    assert isnan(summarise([]).mean)
    one = summarise([0.5])
    assert (one.count, one.mean) == (1, 0.5)
    assert isnan(one.std)
    assert isnan(one.low)


def test_the_interval_is_as_wide_as_the_mean_is_uncertain() -> None:
    """For many normal values a bootstrap and Student's interval agree."""
    values = np.random.default_rng(0).normal(0.8, 0.1, 400)
    got = summarise(values.tolist())
    half = 1.966 * values.std(ddof=1) / 20
    assert got.high - got.mean == pytest.approx(half, rel=0.1)
    assert got.mean - got.low == pytest.approx(half, rel=0.1)
    narrow = summarise(values.tolist(), confidence=0.5)
    assert narrow.high - narrow.low < 0.5 * (got.high - got.low)
