"""Measures of masks: of shapes whose measures are known, and as scikit-image has them."""

from __future__ import annotations

import math
import os
from csv import DictReader
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.measure import find_contours, label, regionprops

from samedge.geometry.measures import measure_mask

HC18 = Path(os.environ.get("SAMEDGE_HC18", Path(__file__).parents[3] / "shared" / "hc18"))


def ellipse(
    a: float, b: float, turned: float, spacing: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """A mask of an ellipse with half axes a and b in mm, not in the middle of a pixel."""
    rows, cols = (int(2.4 * max(a, b) / step) + 5 for step in spacing)
    y, x = np.mgrid[:rows, :cols].astype(float)
    x, y = (x - cols / 2 + 0.3) * spacing[1], (y - rows / 2 - 0.2) * spacing[0]
    u = x * math.cos(turned) + y * math.sin(turned)
    v = y * math.cos(turned) - x * math.sin(turned)
    return np.asarray((u / a) ** 2 + (v / b) ** 2 <= 1, np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(20, 60),
    st.floats(0.35, 1.0),
    st.floats(0, math.pi),
    st.tuples(st.floats(0.3, 1.0), st.floats(0.3, 1.0)),
)
def test_ellipses(a: float, share: float, turned: float, spacing: tuple[float, float]) -> None:
    b = a * share
    found = measure_mask(ellipse(a, b, turned, spacing), spacing)
    assert found is not None
    h = ((a - b) / (a + b)) ** 2
    around = math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert found.unit == "mm"
    assert found.parts == 1
    assert found.area == pytest.approx(math.pi * a * b, rel=0.02)
    assert found.ellipse.major == pytest.approx(2 * a, rel=0.01)
    assert found.ellipse.minor == pytest.approx(2 * b, rel=0.02)
    assert found.ellipse.circumference == pytest.approx(around, rel=0.01)
    assert found.perimeter == pytest.approx(around, rel=0.03)
    assert found.longest.length == pytest.approx(2 * a, rel=0.03, abs=1.5 * max(spacing))
    assert found.across.length == pytest.approx(2 * b, rel=0.06, abs=2 * max(spacing))


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)),
                     elements=st.integers(0, 1)))  # fmt: skip
def test_as_scikit_image_has_them(mask: np.ndarray) -> None:
    found = measure_mask(mask)
    if not mask.any():
        assert found is None
        return
    assert found is not None
    (region,) = regionprops(np.pad(mask.astype(int), 2))
    assert found.area == region.area
    # There a pixel is a point; here it is a square, of variance 1/12 along each axis.
    for ours, theirs in (
        (found.ellipse.major, region.axis_major_length),
        (found.ellipse.minor, region.axis_minor_length),
    ):
        assert ours == pytest.approx(math.sqrt(theirs**2 + 16 / 12), abs=1e-6)
    y, x = region.centroid
    assert found.ellipse.centre == pytest.approx((x - 2, y - 2), abs=1e-6)
    outline = np.concatenate(find_contours(np.pad(mask.astype(float), 2), 0.5))
    farthest = np.linalg.norm(outline[:, None] - outline[None], axis=2).max()
    assert found.longest.length == pytest.approx(farthest, abs=1e-6)
    assert found.parts == label(mask, connectivity=2).max()


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.uint8, (9, 11), elements=st.integers(0, 1)),
    st.floats(0.2, 3.0),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_place_and_unit_change_nothing_but_the_numbers(
    mask: np.ndarray, step: float, down: int, right: int
) -> None:
    plain = measure_mask(mask)
    moved = measure_mask(np.pad(mask, ((down, 3), (right, 1))), (step, step))
    assert (plain is None) == (moved is None)
    if plain is None or moved is None:
        return
    assert moved.perimeter == pytest.approx(plain.perimeter * step)
    assert moved.area == pytest.approx(plain.area * step * step)
    assert moved.longest.length == pytest.approx(plain.longest.length * step)
    assert moved.across.length == pytest.approx(plain.across.length * step)
    assert moved.ellipse.centre == pytest.approx(
        (plain.ellipse.centre[0] + right, plain.ellipse.centre[1] + down)
    )


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.uint8, (10, 12), elements=st.integers(0, 1)),
    st.tuples(st.floats(0.3, 2.0), st.floats(0.3, 2.0)),
)
def test_diameters_are_at_a_right_angle_and_no_chord_is_longer(
    mask: np.ndarray, spacing: tuple[float, float]
) -> None:
    found = measure_mask(mask, spacing)
    if found is None:
        return
    scale = np.array(spacing[::-1])
    first, last = (np.array(end) * scale for end in found.longest.ends)
    along = (last - first) / found.longest.length
    one, other = (np.array(end) * scale for end in found.across.ends)
    assert found.longest.length == pytest.approx(float(np.linalg.norm(last - first)))
    assert found.across.length == pytest.approx(float(np.linalg.norm(other - one)))
    assert abs(float((other - one) @ along)) < 1e-9 * found.longest.length + 1e-9
    # No pair of pixels is farther apart along the way.
    y, x = np.nonzero(mask)
    points = np.stack([x, y], 1) * scale
    assert np.ptp(points @ along) <= found.longest.length + 1e-9


def test_the_diameter_across_is_the_widest_place_and_not_the_middle() -> None:
    mask = np.zeros((60, 120), np.uint8)
    mask[28:32, 5:115] = 1
    mask[10:50, 90:100] = 1
    found = measure_mask(mask)
    assert found is not None
    assert found.across.length == pytest.approx(40, abs=3)
    assert 85 < found.across.ends[0][0] < 105


def test_one_pixel_and_one_line() -> None:
    one = np.zeros((5, 5), np.uint8)
    one[2, 3] = 1
    found = measure_mask(one, (2.0, 0.5))
    assert found is not None
    assert found.ellipse.centre == (3.0, 2.0)
    assert found.area == 1.0
    assert found.longest.length == pytest.approx(2.0)
    assert found.across.length == pytest.approx(0.5)
    one[2] = 1
    line = measure_mask(one)
    assert line is not None
    assert line.longest.length == pytest.approx(5.0)


def test_a_hole_has_an_outline_and_takes_area() -> None:
    mask = ellipse(40, 40, 0)
    full = measure_mask(mask)
    hollow = measure_mask(mask - np.pad(ellipse(20, 20, 0), 24)[: mask.shape[0], : mask.shape[1]])
    assert full is not None
    assert hollow is not None
    assert hollow.perimeter == pytest.approx(full.perimeter * 1.5, rel=0.02)
    assert hollow.area == pytest.approx(full.area * 0.75, rel=0.02)


def test_a_large_mask_takes_no_long_time_and_little_memory() -> None:
    found = measure_mask(ellipse(900, 700, 0.4))
    assert found is not None
    assert found.longest.length == pytest.approx(1800, rel=0.01)


def test_json_is_plain() -> None:
    found = measure_mask(ellipse(20, 10, 0.3), (0.5, 0.5))
    assert found is not None
    value = found.to_json()
    assert value["unit"] == "mm"
    assert value["longest"]["length"] > value["across"]["length"]
    assert all(type(x) is float for end in value["longest"]["ends"] for x in end)


@pytest.mark.skipif(not HC18.is_dir(), reason="the HC18 images are not beside the repository")
def test_head_circumference_of_the_sonographers_own_outlines() -> None:
    with (HC18 / "sizes.csv").open() as file:
        rows = list(DictReader(file))[::15]
    differences = []
    for row in rows:
        mask = cv2.imread(str(HC18 / "label" / row["file"]), cv2.IMREAD_UNCHANGED)
        found = measure_mask((mask > 0).astype(np.uint8), (float(row["pixel_mm"]),) * 2)
        assert found is not None
        told = float(row["head_circumference_mm"])
        differences.append(found.ellipse.circumference / told - 1)
    assert len(differences) == 50
    # Their outline is a line of one to two pixels, and all of it belongs to the label.
    assert np.mean(np.abs(differences)) < 0.01
