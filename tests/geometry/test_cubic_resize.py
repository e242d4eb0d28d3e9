"""The cubic resize is scikit-image's cut off to uint8, but where that is a matter of rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from samedge.families import MEDSAM
from samedge.geometry.filters import CUBIC_CENTRE, cubic_matrix, split_cubic
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import resize_frame
from tests.geometry.frames import crops, image, patterns, seeds, sides

NEAR = 1e-6  # grey levels from a whole number, where rounding decides what is cut off


def skimage_levels(frame: np.ndarray, size: int) -> np.ndarray:
    """float64, before the cut to uint8."""
    options = {"order": 3, "preserve_range": True, "anti_aliasing": True}
    return np.asarray(resize(frame, (size, size), **options))


def check(frame: np.ndarray, size: int, crop: tuple[int, int, int, int] | None = None) -> None:
    geometry = frame_geometry(MEDSAM, *frame.shape[:2], crop, size)
    got = resize_frame(frame, geometry, MEDSAM)
    assert got.dtype == np.uint8
    x0, y0, x1, y1 = geometry.crop
    levels = skimage_levels(frame[y0:y1, x0:x1], size)
    difference = np.abs(got.astype(int) - levels.astype(np.uint8))
    assert difference.max() <= 1
    assert not difference[np.abs(levels - np.rint(levels)) > NEAR].any()


@settings(max_examples=120)
@given(st.data(), sides, sides, st.sampled_from([1, 3]), patterns, seeds)
def test_equals_scikit_image(data, height, width, channels, pattern, seed) -> None:
    size = data.draw(st.sampled_from([64, 128, 256, 250]))
    crop = data.draw(crops(height, width))
    check(image(pattern, height, width, channels, seed), size, crop)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(333, 500, 1024), (16, 4096, 64), (4096, 16, 256), (1500, 1023, 1024), (2500, 2047, 32)],
)
@pytest.mark.parametrize("pattern", ["noise", "binary"])
def test_equals_scikit_image_at_large_sizes(height, width, size, pattern) -> None:
    check(image(pattern, height, width, 1, seed=height), size)


@settings(max_examples=40)
@given(sides, sides, st.integers(0, 255))
@example(3000, 40, 1)
@example(4096, 4096, 254)
def test_flat_stays_flat(height: int, width: int, level: int) -> None:
    """scikit-image makes 36 of some areas of 37: the sum of its weights is 1 up to rounding."""
    frame = np.full((height, width), level, np.uint8)
    geometry = frame_geometry(MEDSAM, height, width, input_size=64)
    assert (resize_frame(frame, geometry, MEDSAM) == level).all()


@pytest.mark.parametrize(("height", "width"), [(333, 500), (480, 640), (1080, 1920), (16, 4096)])
@pytest.mark.parametrize("level", [1, 37, 100, 128, 200, 254])
def test_a_flat_area_stays_flat(height: int, width: int, level: int) -> None:
    """Where the image's extremes do not help: they are in a corner."""
    frame = np.full((height, width), level, np.uint8)
    frame[0, 0], frame[0, 1] = 0, 255
    geometry = frame_geometry(MEDSAM, height, width)
    assert (resize_frame(frame, geometry, MEDSAM)[:, 512:] == level).all()


def test_a_ramp_stays_a_ramp() -> None:
    """Half way between two levels that differ by 2 lies a whole one."""
    ramp = np.broadcast_to(np.arange(0, 240, 2, dtype=np.uint8), (16, 120)).copy()
    geometry = frame_geometry(MEDSAM, 16, 120, input_size=360)  # 3 samples per pixel
    middle = resize_frame(ramp, geometry, MEDSAM)[8, 100:-100]
    np.testing.assert_array_equal(middle, (np.arange(100, 260) - 1) * 2 // 3)


def test_nothing_leaves_the_extremes_of_the_crop() -> None:
    """A cubic filter overshoots; what is outside the crop does not make room for that."""
    frame = np.full((60, 80, 3), 100, np.uint8)
    frame[:, 40:] = 150
    frame[:5], frame[:, :10], frame[30, 30, 1] = 0, 255, 90
    crop = (10, 5, 80, 60)
    got = resize_frame(frame, frame_geometry(MEDSAM, 60, 80, crop, 128), MEDSAM)
    assert (got.min(), got.max()) == (90, 150)
    check(frame, 128, crop)
    check(frame, 128)


@settings(max_examples=30)
@given(st.integers(16, 900), st.integers(16, 300), st.booleans(), seeds)
def test_first_pass_is_exact_at_its_extremes(size, out, bright, seed) -> None:
    """Frames that drive the sum of one row as far as it goes, against float64."""
    matrix = cubic_matrix(out, size)
    row = matrix[np.random.default_rng(seed).integers(out)]
    line = np.where((row > 0) == bright, 255, 0) - CUBIC_CENTRE
    high = split_cubic(matrix)[0]
    exact = high.astype(np.float64) @ line
    np.testing.assert_array_equal(high @ line.astype(np.float32), exact)


@settings(max_examples=20)
@given(sides, sides, seeds)
def test_worst_frames(height: int, width: int, seed: int) -> None:
    """Black and white by the sign of one output's weights: the largest sums of both passes."""
    rng, size = np.random.default_rng(seed), 64
    rows = cubic_matrix(size, height)[rng.integers(size)]
    cols = cubic_matrix(size, width)[rng.integers(size)]
    frame = np.where(np.outer(rows, cols) > 0, 255, 0).astype(np.uint8)
    check(frame, size)
    check(255 - frame, size)
