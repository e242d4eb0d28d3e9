"""The two-plane resize is PIL's, bit for bit, and no sum leaves float32's exact integers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from samedge.errors import FrameError, NotSupportedError
from samedge.families import MEDSAM, SAM, SAMED, SAMUS, Family
from samedge.geometry.filters import EXACT_LIMIT, pil_coefficients, split_planes
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.geometry.network_input import resize_frame
from tests.geometry.frames import crops, image, patterns, sides

PILLOW_MAJOR = int(PIL.__version__.split(".")[0])


def pil_resize(frame: np.ndarray, geometry: FrameGeometry) -> np.ndarray:
    """Crop and resize by PIL; where versions differ in the order of the passes, as version 13."""
    x0, y0, x1, y1 = geometry.crop
    height, width = geometry.valid
    picture = Image.fromarray(frame).crop((x0, y0, x1, y1))
    if PILLOW_MAJOR < 13:  # always starts with the horizontal pass
        between = (x1 - x0, height) if geometry.rows_first else (width, y1 - y0)
        picture = picture.resize(between, Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def assert_exact(frame: np.ndarray, geometry: FrameGeometry, family: Family) -> None:
    result = resize_frame(frame, geometry, family)
    height, width = geometry.valid
    np.testing.assert_array_equal(result[:height, :width], pil_resize(frame, geometry))
    assert not result[height:].any()
    assert not result[:, width:].any()


@settings(deadline=None, max_examples=150)
@given(st.data(), sides, sides, patterns, st.integers(0, 2**31))
def test_equals_pil(data: st.DataObject, height: int, width: int, pattern: str, seed: int) -> None:
    family = data.draw(st.sampled_from([SAM, SAMUS]))
    size = data.draw(st.sampled_from([64, 128, 256, 336]))
    channels = data.draw(st.sampled_from([1, 3]))
    crop = data.draw(crops(height, width))
    frame = image(pattern, height, width, channels, seed)
    assert_exact(frame, frame_geometry(family, height, width, crop, size), family)


@pytest.mark.parametrize(
    ("family", "height", "width", "input_size"),
    [
        (SAMUS, 4096, 4096, None),
        (SAMUS, 16, 4096, None),
        (SAM, 4096, 16, None),
        (SAM, 4096, 4096, None),
        (SAM, 3001, 4095, 256),
        (SAMUS, 4096, 4093, 64),
    ],
)
def test_equals_pil_at_the_largest_sizes(
    family: Family, height: int, width: int, input_size: int | None
) -> None:
    frame = image("noise", height, width, 1, seed=height + width)
    assert_exact(frame, frame_geometry(family, height, width, input_size=input_size), family)


@pytest.mark.parametrize("family", [SAM, SAMUS])
def test_identity_resize_leaves_the_frame(family: Family) -> None:
    side = family.input_size
    frame = image("noise", side, side, 3, seed=1)
    same = resize_frame(frame, frame_geometry(family, side, side), family)
    np.testing.assert_array_equal(same, frame)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.integers(0, 2**31))
@example(480, 640, 0)
@example(500, 200, 0)
def test_pillows_own_order_of_passes(height: int, width: int, seed: int) -> None:
    """`Image.resize` in one call: Pillow 13 starts with the vertical pass on tall frames.

    The frame turned by a transposition then gives the same numbers; and the two orders are at
    most one grey level apart.
    """
    frame = image("noise", height, width, 1, seed)
    ours = resize_frame(frame, frame_geometry(SAMUS, height, width), SAMUS)
    other = frame_geometry(SAMUS, width, height)
    turned = resize_frame(np.ascontiguousarray(frame.T), other, SAMUS).T
    pil = np.asarray(Image.fromarray(frame).resize((256, 256), Image.Resampling.BILINEAR))
    vertical_first = height > 256 and height - 256 > 2 * (width - 256)
    if not vertical_first or np.array_equal(ours, pil):  # the latter: Pillow up to 12
        np.testing.assert_array_equal(ours, pil)
    else:
        np.testing.assert_array_equal(turned, pil)
    assert np.abs(ours.astype(int) - turned.astype(int)).max() <= 1


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 512), st.integers(1, 1024))
def test_planes_hold_the_coefficients(out: int, size: int) -> None:
    coefficients = pil_coefficients(out, size)
    try:
        high, low = split_planes(coefficients).astype(np.int64)
    except FrameError:
        assert size > 31 * out
        return
    np.testing.assert_array_equal(2**11 * high + low, coefficients)
    assert high.min() >= 0
    assert high.max() <= 2**11
    assert np.abs(low).max() <= 2**10
    taps = (coefficients > 0).sum(axis=1).max()
    assert np.abs(coefficients.sum(axis=1) - 2**22).max() <= taps / 2


@pytest.mark.parametrize(
    ("out", "size"), [(256, 4096), (1024, 4096), (128, 4096), (64, 4096), (1, 40), (1024, 16)]
)
def test_no_sum_reaches_the_limit_of_float32(out: int, size: int) -> None:
    """Every subset of terms, so every order of addition and every way to split it over threads."""
    high, low = split_planes(pil_coefficients(out, size)).astype(np.int64)
    above, below = np.maximum(low, 0).sum(axis=1) * 255, np.maximum(-low, 0).sum(axis=1) * 255
    assert max(above.max(), below.max()) < EXACT_LIMIT
    carry = max(above.max(), below.max()) // 2**11 + 1
    assert high.sum(axis=1).max() * 255 + carry + 2**10 < EXACT_LIMIT


def test_shrinking_too_far_is_refused() -> None:
    with pytest.raises(FrameError, match="shrinks too far"):
        split_planes(pil_coefficients(8, 4096))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.data())
def test_box_is_pils_box(out: int, size: int, data: st.DataObject) -> None:
    eighths = data.draw(st.integers(0, 8 * size - 1))
    start, stop = eighths / 8, data.draw(st.integers(eighths + 1, 8 * size)) / 8
    line = image("noise", 1, size, 1, seed=size)
    sums = line.astype(np.int64) @ pil_coefficients(out, size, (start, stop)).T
    expected = Image.fromarray(line).resize(
        (out, 1), Image.Resampling.BILINEAR, box=(start, 0, stop, 1)
    )
    np.testing.assert_array_equal((sums + 2**21) >> 22, np.asarray(expected))


def test_frame_that_does_not_fit_the_geometry() -> None:
    geometry = frame_geometry(SAMUS, 100, 120)
    with pytest.raises(FrameError, match=r"\[120, 100\]"):
        resize_frame(np.zeros((120, 100), np.uint8), geometry, SAMUS)
    with pytest.raises(FrameError, match="float64"):
        resize_frame(np.zeros((100, 120)), geometry, SAMUS)
    with pytest.raises(FrameError, match="uint16"):
        resize_frame(np.zeros((100, 120), np.uint16), geometry, SAMUS)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        (SAMUS, {"interpolation": "none"}, "'none'"),
        (SAMUS, {"via": 200}, "via 200 px"),
        (MEDSAM, {"via": 200}, "'cubic', via 200 px"),
        (MEDSAM, {"resize": "longest_side"}, "'longest_side' with the interpolation 'cubic'"),
        (SAMED, {"resize": "longest_side"}, "'longest_side'.*via 224 px"),
    ],
)
def test_rules_that_do_not_exist_are_named(
    family: Family, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(NotSupportedError, match=words):
        frame_geometry(dataclasses.replace(family, **changes), 100, 100)
