"""Masks and prompts over frames, and captions below."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.drawing.overlay import (
    Line,
    add_caption,
    display_scale,
    display_size,
    draw_overlay,
)
from samedge.prompts.plan import PromptPlan


@given(st.integers(16, 4096), st.integers(16, 4096))
def test_small_frames_are_enlarged_by_a_whole_factor(height: int, width: int) -> None:
    scale = display_scale(height, width)
    assert 1 <= scale <= 16
    assert scale == 1 or min(height, width) * (scale - 1) < 600
    assert scale == 1 or max(height, width) * scale <= 2400


@pytest.mark.parametrize("level", [0, 255])
def test_an_outline_is_seen_on_black_and_on_white(level: int) -> None:
    frame = np.full((200, 200), level, np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[50:150, 50:150] = 1
    picture = draw_overlay(frame, [mask], None, scale=3).astype(int)
    across = picture[300, 130:170]  # over the left edge of the mask
    assert np.abs(np.diff(across.sum(axis=1))).max() > 150
    assert (picture[10, 10] == level).all()  # nothing outside is touched


def test_masks_change_nothing_outside_of_them() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (100, 120, 3)).astype(np.uint8)
    mask = np.zeros((100, 120), np.uint8)
    assert (draw_overlay(frame, [mask], scale=1) == frame).all()
    before = frame.copy()
    mask[40:60, 40:60] = 1
    draw_overlay(frame, [mask], PromptPlan([(50, 50)]).resolve(100, 120), scale=1)
    assert (frame == before).all()  # the frame itself is not drawn on


@pytest.mark.parametrize("size", [(16, 16), (16, 4096), (4096, 16), (240, 320), (601, 799)])
def test_any_size_with_points_boxes_and_captions(size: tuple[int, int]) -> None:
    height, width = size
    plan = PromptPlan([(3, 3), (9, 9)], [1, 0], [(1, 1, 12, 12)])
    mask = np.ones((height, width), np.uint8)
    picture = draw_overlay(np.zeros(size, np.uint8), [mask], plan.resolve(height, width))
    scale = display_scale(height, width)
    assert picture.shape == (height * scale, width * scale, 3)
    captioned = add_caption(picture, [Line("score 0.93   area 12 345 px", "12 ms", (1, 2, 3))] * 3)
    assert captioned.shape[1:] == picture.shape[1:]
    assert (captioned[: picture.shape[0]] == picture).all()


def test_a_mask_of_specks_is_filled_but_not_outlined() -> None:
    frame = np.full((120, 160), 90, np.uint8)
    rows, columns = np.mgrid[:120, :160]
    specks = ((rows // 2 + columns // 2) % 2).astype(np.uint8)
    picture = draw_overlay(frame, [specks], scale=1)
    outside = specks == 0
    assert (picture[outside] == 90).all()  # outlines would have covered it
    assert (picture[~outside] != 90).any()


@given(st.integers(16, 4096), st.integers(16, 4096), st.floats(0.05, 20))
def test_pictures_have_the_proportions_of_the_body(height: int, width: int, aspect: float) -> None:
    tall, wide = display_size(height, width, (aspect * 0.3, 0.3))
    assert max(tall, wide) <= 4096
    true = height * aspect / width
    if abs(aspect - 1) >= 0.011 and 0.01 < true < 100:
        assert tall / wide == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("spacing", [None, (0.3, 0.3), (0.3, 0.3001), (9.0, 0.001), (0.0, 1.0)])
def test_pixels_that_are_squares_or_of_no_known_shape(spacing: tuple[float, float] | None) -> None:
    assert display_size(240, 320, spacing) == (720, 960)


def test_masks_and_prompts_follow_the_proportions() -> None:
    """Rows that are 4 mm apart, columns 1 mm: a square of 40 x 40 mm is 10 rows high."""
    frame, mask = np.zeros((50, 200), np.uint8), np.zeros((50, 200), np.uint8)
    mask[20:30, 60:100] = 1
    prompt = PromptPlan([(79.5, 24.5)]).resolve(50, 200)
    picture = draw_overlay(frame, [mask], prompt, spacing_mm=(4.0, 1.0))
    assert picture.shape == (600, 600, 3)
    rows, columns = np.nonzero(picture.max(axis=2) > 100)  # outline and click
    assert (rows.min(), rows.max()) == pytest.approx((240, 360), abs=4)
    assert (columns.min(), columns.max()) == pytest.approx((180, 300), abs=4)
    ring = (picture == 255).all(axis=2).nonzero()
    assert (ring[0].mean(), ring[1].mean()) == pytest.approx((300, 240), abs=1)
