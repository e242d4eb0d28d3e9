"""Boxes, areas and outlines of masks against numpy and OpenCV."""

from __future__ import annotations

import ctypes
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.families import SAMUS
from tests.capi.inside import Inside

Outlines = list[tuple[np.ndarray[Any, Any], bool]]


@pytest.fixture(scope="module")
def inside(internals: ctypes.CDLL) -> Inside:
    return Inside(internals, SAMUS)


def normal(outlines: Outlines) -> list[tuple[bool, tuple[tuple[int, int], ...]]]:
    """The same outlines for the same cycles of points, wherever they begin: sorted, each from the
    place that makes it smallest."""
    cycles = []
    for points, hole in outlines:
        pairs = [(int(x), int(y)) for x, y in points]
        first = min(pairs)
        starts = [index for index, pair in enumerate(pairs) if pair == first]
        cycles.append((hole, tuple(min(pairs[at:] + pairs[:at] for at in starts))))
    return sorted(cycles)


def opencvs(mask: np.ndarray[Any, Any]) -> Outlines:
    found, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = [] if tree is None else tree[0][:, 3]
    return [(c.reshape(-1, 2), parent >= 0) for c, parent in zip(found, parents, strict=True)]


def check(inside: Inside, mask: np.ndarray[Any, Any]) -> Outlines:
    mask = np.ascontiguousarray(mask, np.uint8)
    found = inside.outlines(mask)
    assert normal(found) == normal(opencvs(mask))
    starts = [(int(points[0][1]), int(points[0][0])) for points, _ in found]
    assert starts == sorted(starts)  # row by row
    y, x = np.nonzero(mask)
    box = [x.min(), y.min(), x.max() + 1, y.max() + 1] if x.size else [0, 0, 0, 0]
    assert inside.measure(mask) == (box, x.size)
    return found


def blobs(height: int, width: int, seed: int) -> np.ndarray[Any, Any]:
    """Smooth shapes with holes and islands."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1 + seed % 5)
    return (smooth > np.quantile(smooth, 0.3 + 0.1 * (seed % 5))).astype(np.uint8)


@settings(max_examples=300)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**31), st.floats(0.01, 0.99))
def test_noise(inside: Inside, height: int, width: int, seed: int, share: float) -> None:
    check(inside, np.random.default_rng(seed).random((height, width)) < share)


@settings(max_examples=100)
@given(st.integers(16, 150), st.integers(16, 150), st.integers(0, 2**31))
def test_blobs(inside: Inside, height: int, width: int, seed: int) -> None:
    check(inside, blobs(height, width, seed))


def test_all_masks_of_3_by_4(inside: Inside) -> None:
    for number in range(1 << 12):
        check(inside, np.array([number >> bit & 1 for bit in range(12)]).reshape(3, 4))


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((20, 30)),
        np.ones((20, 30)),
        np.pad(np.zeros((18, 28)), 1, constant_values=1),
        np.eye(25),
        np.indices((21, 22)).sum(0) % 2,
        np.ones((1, 600)),
        np.ones((600, 1)),
        np.ones((17, 4096)),  # a byte of a sum must not overflow
        255 * np.ones((30, 41)),
    ],
)
def test_shapes(inside: Inside, mask: np.ndarray[Any, Any]) -> None:
    check(inside, mask)


def test_a_ring(inside: Inside) -> None:
    mask = np.zeros((9, 12), np.uint8)
    mask[2:7, 3:9] = 1
    mask[4, 5:7] = 0
    (outer, outer_hole), (hole, is_hole) = check(inside, mask)
    assert (outer_hole, is_hole) == (False, True)
    assert outer[0].tolist() == [3, 2]
    assert outer[1].tolist() == [3, 3]  # down first: counter-clockwise on the screen
    assert hole[0].tolist() == [4, 4]


def test_one_px(inside: Inside) -> None:
    mask = np.zeros((5, 5), np.uint8)
    mask[4, 4] = 200
    assert [points.tolist() for points, _ in check(inside, mask)] == [[[4, 4]]]
