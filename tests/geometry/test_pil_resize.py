"""The two-plane resize is PIL's, bit for bit, and no sum leaves float32's exact integers."""

from __future__ import annotations

import dataclasses

import numpy as np
import PIL
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from samedge.errors import FrameError, NotSupportedError
from samedge.families import SAM, SAMUS, Family
from samedge.geometry import (
    EXACT_LIMIT,
    FrameGeometry,
    frame_geometry,
    pil_coefficients,
    resize_exact,
    split_planes,
)

PILLOW_MAJOR = int(PIL.__version__.split(".")[0])
sides = st.integers(16, 700)
# Dark, bright and alternating images drive the sums to their extremes; noise finds the ties.
patterns = st.sampled_from(["noise", "binary", "white", "stripes", "ramp"])


def image(pattern: str, height: int, width: int, channels: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (height, width, channels) if channels > 1 else (height, width)
    if pattern == "white":
        return np.full(shape, 255, np.uint8)
    if pattern == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if pattern == "binary":
        return rng.integers(0, 2, shape, dtype=np.uint8) * np.uint8(255)
    y, x = np.indices((height, width))
    plane = 255 * ((x + y) % 2) if pattern == "stripes" else (3 * x + 5 * y) % 256
    plane = plane.astype(np.uint8)
    return (
        plane
        if channels == 1
        else np.stack([plane, 255 - plane, plane.T.copy().reshape(height, width)], axis=2)
    )


def pil_resize(frame: np.ndarray, geometry: FrameGeometry) -> np.ndarray:
    """Crop and resize by PIL; where versions differ in the order of the passes, as version 13."""
    x0, y0, x1, y1 = geometry.crop
    height, width = geometry.valid
    picture = Image.fromarray(frame).crop((x0, y0, x1, y1))
    if PILLOW_MAJOR < 13:  # always starts with the horizontal pass
        between = (x1 - x0, height) if geometry.rows_first else (width, y1 - y0)
        picture = picture.resize(between, Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def assert_exact(frame: np.ndarray, geometry: FrameGeometry) -> None:
    result = resize_exact(frame, geometry)
    height, width = geometry.valid
    np.testing.assert_array_equal(result[:height, :width], pil_resize(frame, geometry))
    assert not result[height:].any()
    assert not result[:, width:].any()


@st.composite
def crops(draw: st.DrawFn, height: int, width: int) -> tuple[int, int, int, int] | None:
    if draw(st.booleans()):
        return None
    x0, y0 = draw(st.integers(0, width - 16)), draw(st.integers(0, height - 16))
    return x0, y0, draw(st.integers(x0 + 16, width)), draw(st.integers(y0 + 16, height))


@settings(deadline=None, max_examples=150)
@given(st.data(), sides, sides, patterns, st.integers(0, 2**31))
def test_equals_pil(data: st.DataObject, height: int, width: int, pattern: str, seed: int) -> None:
    family = data.draw(st.sampled_from([SAM, SAMUS]))
    size = data.draw(st.sampled_from([64, 128, 256, 336]))
    channels = data.draw(st.sampled_from([1, 3]))
    crop = data.draw(crops(height, width))
    frame = image(pattern, height, width, channels, seed)
    assert_exact(frame, frame_geometry(family, height, width, crop, size))


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
    assert_exact(frame, frame_geometry(family, height, width, input_size=input_size))


@pytest.mark.parametrize("family", [SAM, SAMUS])
def test_identity_resize_leaves_the_frame(family: Family) -> None:
    side = family.input_size
    frame = image("noise", side, side, 3, seed=1)
    np.testing.assert_array_equal(resize_exact(frame, frame_geometry(family, side, side)), frame)


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
    ours = resize_exact(frame, frame_geometry(SAMUS, height, width))
    turned = resize_exact(np.ascontiguousarray(frame.T), frame_geometry(SAMUS, width, height)).T
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
        resize_exact(np.zeros((120, 100), np.uint8), geometry)
    with pytest.raises(FrameError, match="float64"):
        resize_exact(np.zeros((100, 120)), geometry)  # type: ignore[arg-type]


def test_unknown_rounding_is_named() -> None:
    family = dataclasses.replace(SAMUS, interpolation="none")
    with pytest.raises(NotSupportedError, match="'none'"):
        frame_geometry(family, 100, 100)
