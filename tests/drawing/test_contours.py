"""Masks drawn at video rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.drawing.colours import PALETTE
from samedge.drawing.contours import outline, tint

COLOUR = PALETTE[0]


def blank() -> np.ndarray:
    return np.full((60, 80, 3), 100, np.uint8)


@given(st.integers(0, 60), st.integers(0, 80), st.integers(0, 60), st.integers(0, 80))
def test_a_tint_changes_the_inside_alone(top: int, left: int, bottom: int, right: int) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[top:bottom, left:right] = 3
    picture = blank()
    tint(picture, mask, COLOUR)
    inside = mask != 0
    assert (picture[~inside] == 100).all()
    expected = 100 * 0.74 + np.array(COLOUR) * 0.26
    assert np.abs(picture[inside] - expected).max(initial=0) <= 1


@pytest.mark.parametrize("line", [1, 3])
def test_a_dashed_line_has_gaps(line: int) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 10:70] = 1
    whole, dashed = blank(), blank()
    outline(whole, mask, COLOUR, line)
    outline(dashed, mask, COLOUR, line, dashed=True)
    drawn = [(picture != 100).any(axis=2) for picture in (whole, dashed)]
    assert 0.4 * drawn[0].sum() < drawn[1].sum() < 0.85 * drawn[0].sum()
    assert not (drawn[1] & ~drawn[0]).any()
    assert np.abs(whole[30, 10].astype(int) - COLOUR).max() < 50
    assert not drawn[0][20:40, 20:60].any()


@pytest.mark.parametrize("dashed", [False, True])
def test_masks_that_are_no_areas(dashed: bool) -> None:
    """Nothing, a single pixel, everything, and a hole."""
    picture = blank()
    outline(picture, np.zeros((60, 80), np.uint8), COLOUR, 1, dashed)
    tint(picture, np.zeros((60, 80), np.uint8), COLOUR)
    assert (picture == 100).all()
    for corner in ((0, 0), (59, 79), (30, 40)):
        mask = np.zeros((60, 80), np.uint8)
        mask[corner] = 1
        outline(picture, mask, COLOUR, 2, dashed)
        assert (picture[corner] != 100).any()
    ring = np.ones((60, 80), np.uint8)
    ring[20:40, 20:60] = 0
    picture = blank()
    outline(picture, ring, COLOUR, 1, dashed)
    assert (picture[19, 20:60] != 100).any()
