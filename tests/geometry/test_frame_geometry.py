"""Sizes, crops, padding and coordinates of `FrameGeometry`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.errors import FrameError
from samedge.families import FAMILIES, SAM, SAMUS
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import resize_frame

families = st.sampled_from(sorted(FAMILIES.values(), key=lambda f: f.name))
sides = st.integers(16, 700)


def test_shapes_and_flags() -> None:
    geometry = frame_geometry(SAM, 480, 640)
    assert geometry.rows.shape == (2, 1024, 480)
    assert geometry.cols.shape == (2, 1024, 640)
    assert geometry.mask_rows.shape == (480, 256)
    assert geometry.mask_cols.shape == (640, 256)
    assert geometry.valid == (768, 1024)
    assert (geometry.input_size, geometry.low_res) == (1024, 256)
    for name in ("rows", "cols", "valid_rows", "valid_cols", "mask_rows", "mask_cols"):
        array = getattr(geometry, name)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert not array.flags.writeable


@pytest.mark.parametrize("family", list(FAMILIES.values()), ids=list(FAMILIES))
def test_planes_of_every_family(family) -> None:
    geometry = frame_geometry(family, 90, 50, input_size=64)
    planes = {"pil": 2, "cubic": 2, "area": 2, "zoom": 1, "bilinear": 1}[family.interpolation]
    assert geometry.rows.shape == (planes, 64, 90)
    assert geometry.cols.shape == (planes, 64, 50)
    assert not geometry.rows_first or family.interpolation == "pil"


def test_same_size_is_built_once() -> None:
    first = frame_geometry(SAMUS, 100, 130, crop=(0, 0, 64, 64))
    assert frame_geometry(SAMUS, np.int64(100), 130, crop=[0, 0, 64, np.uint8(64)]) is first


def test_low_res_follows_the_token_grid() -> None:
    assert frame_geometry(SAM, 300, 300).low_res == 256
    assert frame_geometry(SAMUS, 300, 300).low_res == 128
    assert frame_geometry(SAMUS, 300, 300, input_size=64).low_res == 32
    assert frame_geometry(SAMUS, 300, 300, low_res=16).mask_rows.shape == (300, 16)


@settings(deadline=None, max_examples=50)
@given(families, sides, sides)
def test_padding_is_zero_and_marked(family, height, width) -> None:
    geometry = frame_geometry(family, height, width, input_size=128)
    valid_h, valid_w = geometry.valid
    np.testing.assert_array_equal(geometry.valid_rows, np.arange(128) < valid_h)
    np.testing.assert_array_equal(geometry.valid_cols, np.arange(128) < valid_w)
    assert not geometry.rows[:, valid_h:].any()
    assert not geometry.cols[:, valid_w:].any()
    # scipy's zoom may lose its last sample; see tests/geometry/test_filters.py
    filled = [m[0].any(axis=1) for m in (geometry.rows, geometry.cols)]
    for seen, valid in zip(filled, (valid_h, valid_w), strict=True):
        assert seen[: valid - (family.interpolation == "zoom")].all()
    white = resize_frame(np.full((height, width), 255, np.uint8), geometry, family)
    np.testing.assert_allclose(white, 255.0 * np.outer(*filled), rtol=0, atol=1e-3)


@settings(deadline=None, max_examples=50)
@given(families, sides, sides)
def test_valid_size_follows_resize_longest_side(family, height, width) -> None:
    geometry = frame_geometry(family, height, width, input_size=256)
    if family.resize == "stretch":
        assert geometry.valid == (256, 256)
        return
    scale = 256 / max(height, width)
    assert geometry.valid == (int(height * scale + 0.5), int(width * scale + 0.5))
    assert max(geometry.valid) == 256


@settings(deadline=None, max_examples=50)
@given(st.data(), sides, sides, st.integers(0, 2**31))
def test_outside_the_crop_nothing_counts(data, height, width, seed) -> None:
    x0 = data.draw(st.integers(0, width - 16))
    y0 = data.draw(st.integers(0, height - 16))
    x1 = data.draw(st.integers(x0 + 16, width))
    y1 = data.draw(st.integers(y0 + 16, height))
    family = data.draw(families)
    geometry = frame_geometry(family, height, width, (x0, y0, x1, y1), input_size=64)
    outside_y = np.setdiff1d(np.arange(height), np.arange(y0, y1))
    outside_x = np.setdiff1d(np.arange(width), np.arange(x0, x1))
    assert not geometry.rows[:, :, outside_y].any()
    assert not geometry.cols[:, :, outside_x].any()
    assert not geometry.mask_rows[outside_y].any()
    assert not geometry.mask_cols[outside_x].any()
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    alone = frame_geometry(family, y1 - y0, x1 - x0, input_size=64)
    got = resize_frame(frame, geometry, family)
    expected = resize_frame(frame[y0:y1, x0:x1], alone, family)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0 if family.rounded else 1e-3)


@settings(deadline=None, max_examples=80)
@given(st.data(), families, sides, sides)
def test_coordinates_go_there_and_back(data, family, height, width) -> None:
    x0 = data.draw(st.integers(0, width - 16))
    y0 = data.draw(st.integers(0, height - 16))
    geometry = frame_geometry(family, height, width, (x0, y0, width, height), input_size=256)
    floats = st.floats(0, 1, allow_nan=False)
    at = np.array(data.draw(st.lists(st.tuples(floats, floats), min_size=1, max_size=5)))
    points = at * [width - x0, height - y0] + [x0, y0]
    network = geometry.to_network(points)
    assert network.dtype == np.float32
    assert network.shape == points.shape
    assert network.min() >= 0
    assert network[..., 0].max() <= geometry.valid[1]
    assert network[..., 1].max() <= geometry.valid[0]
    # float32 keeps 24 bits of a coordinate below 256 px: 1.5e-5 px, times the scale back.
    scale = max((width - x0) / geometry.valid[1], (height - y0) / geometry.valid[0])
    np.testing.assert_allclose(geometry.to_frame(network), points, rtol=0, atol=3e-5 * scale)


def test_coordinates_are_segment_anythings() -> None:
    """`ResizeLongestSide.apply_coords`: rounded sizes, float64, then float32."""
    geometry = frame_geometry(SAM, 333, 500)
    points = np.array([[0.0, 0.0], [499.0, 332.0], [123.25, 77.5]])
    expected = (points * [1024 / 500, 682 / 333]).astype(np.float32)
    assert geometry.valid == (682, 1024)
    np.testing.assert_array_equal(geometry.to_network(points), expected)
    boxes = geometry.to_network(points[:2].reshape(1, 2, 2))
    np.testing.assert_array_equal(boxes.reshape(2, 2), expected[:2])


def test_crop_origin_is_taken_off_first() -> None:
    geometry = frame_geometry(SAMUS, 480, 640, crop=(64, 32, 192, 160))
    np.testing.assert_array_equal(geometry.to_network([64, 32]), [0, 0])
    np.testing.assert_array_equal(geometry.to_network([192, 160]), [256, 256])
    np.testing.assert_array_equal(geometry.to_frame([128, 128]), [128, 96])


@pytest.mark.parametrize(
    ("height", "width", "words"),
    [
        (15, 100, "height is 15 px"),
        (100, 4097, "width is 4097 px"),
        (0, 100, "height is 0 px"),
        (-3, 100, "enlarge"),
        (100, 5000, "shrink"),
        (100.5, 100, "whole number"),
        ("a", 100, "whole number"),
        (None, 100, "whole number"),
    ],
)
def test_bad_frame_sizes(height, width, words) -> None:
    with pytest.raises(FrameError, match=words):
        frame_geometry(SAMUS, height, width)


@pytest.mark.parametrize(
    ("crop", "words"),
    [
        ((0, 0, 101, 50), "not inside the frame of 100 x 80"),
        ((0, 0, 50, 81), "not inside"),
        ((-1, 0, 50, 50), "not inside"),
        ((50, 0, 50, 50), "empty"),
        ((60, 60, 20, 20), "empty"),
        ((0, 0, 15, 50), "15 x 50 px"),
        ((0, 0, 50, 15), "at least 16 x 16"),
        ((0, 0, 50), "x0, y0, x1, y1"),
        ((0, 0, 50, 50, 50), "x0, y0, x1, y1"),
        ((0, 0, 50.5, 50), "whole px"),
        ("abcd", "whole px"),
        (7, "whole px"),
    ],
)
def test_bad_crops(crop, words) -> None:
    with pytest.raises(FrameError, match=words):
        frame_geometry(SAMUS, 80, 100, crop)


def test_frame_whose_short_side_would_vanish() -> None:
    with pytest.raises(FrameError, match="short side would vanish"):
        frame_geometry(SAM, 16, 4096, input_size=64)
    assert frame_geometry(SAM, 16, 4096).valid == (4, 1024)
