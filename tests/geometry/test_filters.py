"""One axis at a time: the matrices against scikit-image, scipy and torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize

from samedge.geometry.filters import (
    CUBIC_BITS,
    CUBIC_CENTRE,
    CUBIC_PART,
    CUBIC_SLACK,
    EXACT_LIMIT,
    _decay,
    antialias_matrix,
    cubic_matrix,
    nearest_matrix,
    spline_product,
    split_cubic,
    zoom_matrix,
)

lengths = st.integers(2, 700)
seeds = st.integers(0, 2**31)
EXTREMES = [(1024, 4096), (1024, 16), (64, 4096), (16, 4096), (512, 511), (511, 512), (16, 16)]
UNIT = 2.0**-24  # largest relative error of one float32 operation


def line(size: int, seed: int) -> np.ndarray:
    """Grey levels as float64 [size, 5]: one axis to resize, another to leave alone."""
    return np.random.default_rng(seed).integers(0, 256, (size, 5)).astype(np.float64)


def close(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


def check_cubic(out: int, size: int, seed: int) -> None:
    x = line(size, seed)
    options = {"order": 3, "preserve_range": True, "anti_aliasing": True, "clip": False}
    matrix = cubic_matrix(out, size)
    close(matrix @ x, resize(x, (out, 5), **options))
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-12)


@settings(max_examples=100)
@given(lengths, lengths, seeds)
def test_cubic_is_scikit_images(out: int, size: int, seed: int) -> None:
    check_cubic(out, size, seed)


def zoomed(x: np.ndarray, out: int, order: int) -> np.ndarray:
    return ndimage.zoom(x, (out / len(x), 1), order=order)


@settings(max_examples=150)
@given(lengths, lengths, seeds)
@example(28, 72, 0)  # the last sample is lost
@example(224, 230, 0)
def test_zoom_is_scipys(out: int, size: int, seed: int) -> None:
    x = line(size, seed)
    close(zoom_matrix(out, size) @ x, zoomed(x, out, order=3))
    close(nearest_matrix(out, size) @ x, zoomed(x, out, order=0))


@settings(max_examples=40)
@given(lengths, lengths, lengths, seeds)
@example(512, 224, 230, 0)  # what is lost on the way blurs into its neighbours
def test_zoom_by_way_of_another_size(out: int, via: int, size: int, seed: int) -> None:
    x = line(size, seed)
    matrix = zoom_matrix(out, via) @ zoom_matrix(via, size)
    close(matrix @ x, zoomed(zoomed(x, via, order=3), out, order=3))


@pytest.mark.parametrize("out", [28, 224])
def test_scipy_loses_the_last_sample_where_its_position_is_outside(out: int) -> None:
    """Every size up to 1024 px, so that it is scipy's rule and not a few cases of it."""
    found = 0
    for size in range(2, 1025):
        white = zoomed(np.ones((size, 1)), out, order=3)[:, 0]
        lost = np.abs(white) < 0.5
        np.testing.assert_array_equal(~zoom_matrix(out, size).any(axis=1), lost)
        np.testing.assert_array_equal(~nearest_matrix(out, size).any(axis=1), lost)
        assert not lost[:-1].any()
        found += lost[-1]
    assert found


@settings(max_examples=100)
@given(lengths, lengths, seeds)
def test_antialias_is_torchs(out: int, size: int, seed: int) -> None:
    x = line(size, seed)
    expected = F.interpolate(
        torch.from_numpy(x)[None, None], (out, 5), mode="bilinear", antialias=True
    )
    close(antialias_matrix(out, size) @ x, expected[0, 0].numpy())


@pytest.mark.parametrize(("out", "size"), EXTREMES)
def test_at_the_largest_sizes(out: int, size: int) -> None:
    check_cubic(out, size, seed=1)
    x = line(size, seed=1)
    close(zoom_matrix(out, size) @ x, zoomed(x, out, order=3))


@pytest.mark.parametrize("matrix", [cubic_matrix, zoom_matrix, antialias_matrix, nearest_matrix])
def test_equal_sizes_are_the_identity(matrix) -> None:
    np.testing.assert_array_equal(matrix(77, 77), np.eye(77))


@settings(max_examples=100)
@given(st.integers(16, 1024), st.integers(16, 4096))
def test_every_sample_counts_in_a_cubic_resize(out: int, size: int) -> None:
    """So the crop can be read off the planes: nothing in it has coefficients of zero only."""
    assume(out * size < 2**20)
    assert split_cubic(cubic_matrix(out, size)).any(axis=(0, 1)).all()


@settings(max_examples=100)
@given(st.integers(16, 1024), st.integers(16, 4096))
@example(1024, 4096)
@example(16, 4096)
def test_large_cubic_sums_are_exact(out: int, size: int) -> None:
    """Whatever the order of addition: no subset of terms leaves float32's exact integers."""
    assume(out * size < 2**23)
    high = np.abs(split_cubic(cubic_matrix(out, size))[0].astype(np.float64))
    np.testing.assert_array_equal(high, np.rint(high * 2**CUBIC_BITS) / 2**CUBIC_BITS)
    weight = high.sum(axis=1).max()
    first = CUBIC_CENTRE * weight  # largest value after the first pass, high plane
    whole = first + 1.0
    assert first * 2**CUBIC_BITS < EXACT_LIMIT
    assert whole * weight * 2**CUBIC_BITS < EXACT_LIMIT
    assert 0.5 * weight * 2**CUBIC_BITS * CUBIC_PART < EXACT_LIMIT


@dataclass(frozen=True)
class Axis:
    """What the error of a sum along one axis depends on."""

    terms: int  # coefficients that are not zero
    weight: float  # largest sum of absolute coefficients of a row
    low: float  # the same of the low plane


def axis(size: int) -> Axis:
    matrix = cubic_matrix(1024, size)
    low = np.abs(split_cubic(matrix)[1].astype(np.float64))
    terms, weight = np.count_nonzero(low, axis=1).max(), np.abs(matrix).sum(axis=1).max()
    return Axis(int(terms), float(weight), float(low.sum(axis=1).max()))


def error_bound(rows: Axis, cols: Axis) -> float:
    """Largest error before the last `floor`; the terms of docs/geometry.md."""
    first = (cols.terms + 1) * UNIT * CUBIC_CENTRE * cols.low
    value, rest = CUBIC_CENTRE * cols.weight, 1 / CUBIC_PART
    second = (rows.terms + 3) * UNIT * (value * rows.low + rows.weight * rest)
    return rows.weight * first + second + 2 * UNIT


def test_all_rounding_of_a_cubic_resize_stays_near_the_slack() -> None:
    """For the network that has it, and frames of all kinds of sizes."""
    sizes = (16, 17, 64, 333, 500, 768, 1000, 1023, 1025, 1080, 1536, 2048, 3000, 4095, 4096)
    axes = [axis(size) for size in sizes]
    bound = max(error_bound(rows, cols) for rows in axes for cols in axes)
    assert bound < 4 * CUBIC_SLACK  # the worst case; what occurs is below the slack itself


@settings(max_examples=50)
@given(st.sampled_from([64, 512]), st.sampled_from([14, 224]), st.integers(16, 4096), seeds)
def test_a_product_of_splines_in_any_order(out: int, via: int, size: int, seed: int) -> None:
    """BLAS's own product, but with bits that the order of its sums does not change."""
    left, right = zoom_matrix(out, via), zoom_matrix(via, size)
    product = spline_product(left, right)
    np.testing.assert_allclose(product, left @ right, rtol=0, atol=1e-11)
    order = np.random.default_rng(seed).permutation(via)
    np.testing.assert_array_equal(spline_product(left[:, order], right[order]), product)


def test_decay_is_the_exponential() -> None:
    x = np.linspace(0, 32, 10001)
    np.testing.assert_allclose(_decay(x), np.exp(-x), rtol=2e-13, atol=0)
