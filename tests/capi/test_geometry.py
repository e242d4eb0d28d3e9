"""Geometry in C++ against Python's: the same bits, for every family and any size."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samedge.errors import FrameError, NotSupportedError
from samedge.families import FAMILIES, LITEMEDSAM, Family
from samedge.geometry.frame_geometry import MAX_SIDE, MIN_SIDE, checked_crop, geometry_of_crop
from samedge.geometry.network_input import encoder_inputs
from tests.capi.inside import Inside

MATRICES = ("rows", "cols", "valid_rows", "valid_cols", "mask_rows", "mask_cols")
sides = st.one_of(st.integers(MIN_SIDE, 700), st.integers(MIN_SIDE, MAX_SIDE))
# Of the family's own, and of small models'.
shares = st.sampled_from([1, 1, 2, 4, 8])


RECORDS = {**FAMILIES, "stretched-area": replace(LITEMEDSAM, resize="stretch")}


@pytest.fixture(scope="module", params=RECORDS.values(), ids=RECORDS)
def pair(request: pytest.FixtureRequest, internals: ctypes.CDLL) -> tuple[Family, Inside]:
    return request.param, Inside(internals, request.param)


def same_geometry(
    family: Family, inside: Inside, size: tuple[int, int], crop: tuple[int, ...] | None, share: int
) -> None:
    """Both accept, with equal bits, or both refuse with the same words."""
    side = family.input_size // share
    low_res = side // family.stride * 4
    try:
        whole = checked_crop(crop, *size)
        expected = geometry_of_crop(family, *size, whole, side, low_res)
    except FrameError as error:
        with pytest.raises(FrameError, match=re.escape(str(error))):
            inside.geometry(*size, crop, side, low_res)
        return
    valid, rows_first, planes = inside.geometry(*size, crop, side, low_res)
    assert (valid, rows_first) == (expected.valid, expected.rows_first)
    assert planes == len(expected.rows)
    for name in MATRICES:
        np.testing.assert_array_equal(inside.matrix(name), getattr(expected, name).ravel(), name)


@settings(max_examples=60)
@given(sides, sides, shares)
@example(480, 640, 1)
@example(MAX_SIDE, MIN_SIDE, 1)
@example(MAX_SIDE, MAX_SIDE, 16)  # PIL's filter would not be exact in one of them
@example(MIN_SIDE, MIN_SIDE, 1)
@example(1024, 1023, 1)
@example(1001, 2048, 1)  # half a px is rounded up
@example(384, 512, 1)  # OpenCV's area resize of whole factors
@example(768, 1024, 1)
@example(150, 200, 1)
@example(23, MAX_SIDE, 1)
@example(15, 640, 1)
@example(480, MAX_SIDE + 1, 1)
def test_matrices(pair: tuple[Family, Inside], height: int, width: int, share: int) -> None:
    same_geometry(*pair, (height, width), None, share)


@settings(max_examples=40)
@given(sides, sides, shares, st.data())
def test_crops(
    pair: tuple[Family, Inside], height: int, width: int, share: int, data: st.DataObject
) -> None:
    x0, y0 = data.draw(st.integers(-1, width)), data.draw(st.integers(-1, height))
    crop = (x0, y0, data.draw(st.integers(x0, width + 1)), data.draw(st.integers(y0, height + 1)))
    if any(crop):  # all zeros are the whole frame in C
        same_geometry(*pair, (height, width), crop, share)


@pytest.mark.parametrize("size", [(480, 640), (640, 100), (33, 57)])
def test_encoder_inputs(pair: tuple[Family, Inside], size: tuple[int, int]) -> None:
    family, inside = pair
    low_res = family.input_size // family.stride * 4
    geometry = geometry_of_crop(family, *size, (0, 0, *size[::-1]), family.input_size, low_res)
    inside.geometry(*size, None, family.input_size, low_res)
    for channels, depth in [(1, 8), (3, 8), (1, 16), (3, 16), (2, 8), (1, 12)]:
        try:
            expected, _ = encoder_inputs(family, geometry, channels, depth)
        except FrameError:
            with pytest.raises(FrameError):
                inside.inputs(channels, depth)
            continue
        found = inside.inputs(channels, depth)
        assert set(found) == set(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize(
    "odd",
    [
        {"resize": "longest_side"},
        {"via": 100},
        {"interpolation": "pil", "via": 100},
        {"interpolation": "area", "via": 100},
    ],
)
def test_unknown_resize_rules_are_refused(internals: ctypes.CDLL, odd: dict[str, object]) -> None:
    family = replace(FAMILIES["medsam"], **odd)
    with pytest.raises(NotSupportedError):
        geometry_of_crop(family, 480, 640, (0, 0, 640, 480), 1024, 256)
    with pytest.raises(NotSupportedError):
        Inside(internals, family).geometry(480, 640, None, 1024, 256)
