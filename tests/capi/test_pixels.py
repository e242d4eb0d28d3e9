"""Frames in every format: the encoder's copy, what is refused, and how they look."""

from __future__ import annotations

import ctypes
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.capi import structs as s
from samedge.capi.session import frame_struct
from samedge.errors import BundleError, FrameError
from samedge.families import MSA_3D, SAMED, SAMUS
from samedge.runtime.frame_look import CalibrationLooks, look_of
from tests.capi.frames import FORMATS, Given, random_frame
from tests.capi.inside import Inside

sides = st.integers(8, 100).map(lambda half: 2 * half)
RANGES = {"mean": 20, "spread": 15, "black": 0.2, "edges": 0.2, "colour": 10}
WORDS = {
    "mean": "brightness",
    "spread": "contrast",
    "black": "share of black",
    "edges": "texture",
    "colour": "colour",
}


@pytest.fixture(scope="module")
def deep(internals: ctypes.CDLL) -> Inside:
    """Of a family that takes 16-bit frames."""
    return Inside(internals, SAMED)


def as_bytes(frame: np.ndarray[Any, Any], transposed: bool) -> np.ndarray[Any, Any]:
    """What the encoder gets of a frame, flat; 16-bit levels with the lower byte first."""
    turned = frame.swapaxes(-2, -1) if frame.ndim == 2 else frame.swapaxes(0, 1)
    chosen = np.ascontiguousarray(turned if transposed else frame)
    return chosen.astype(chosen.dtype.newbyteorder("<")).view(np.uint8).ravel()


@settings(max_examples=150)
@given(st.sampled_from(FORMATS), sides, sides, st.integers(0, 20), st.booleans(), st.booleans())
def test_the_copy_is_the_frame(
    deep: Inside, pixel_format: str, height: int, width: int, gap: int, odd: bool, transposed: bool
) -> None:
    if odd and pixel_format != "nv12":
        height, width = height + 1, width + 1
    frame = random_frame(pixel_format, height, width, gap, seed=height + width)
    found = deep.pixels(frame.struct, transposed)
    np.testing.assert_array_equal(found, as_bytes(frame.expected, transposed))


def test_every_colour_of_nv12(deep: Inside) -> None:
    """All 2**24 of them: four lumas for each of 2**16 chromas, 64 times."""
    chroma = np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(256, 512)
    luma = np.empty((512, 512), np.uint8)
    for first in range(0, 256, 4):
        luma[0::2, 0::2], luma[0::2, 1::2] = first, first + 1
        luma[1::2, 0::2], luma[1::2, 1::2] = first + 2, first + 3
        frame = np.concatenate([luma, chroma])
        expected = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12)
        found = deep.pixels(frame_struct(frame, pixel_format="nv12"))
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_nv12_with_planes_apart(deep: Inside) -> None:
    random = np.random.default_rng(1)
    luma = random.integers(0, 256, (34, 70), dtype=np.uint8)
    chroma = random.integers(0, 256, (17, 90), dtype=np.uint8)
    struct = s.Frame(
        format=s.FORMATS["nv12"],
        width=64,
        height=34,
        pixels=luma.ctypes.data,
        stride=70,
        chroma=chroma.ctypes.data,
        chroma_stride=90,
    )
    together = np.concatenate([luma[:, :64], chroma[:, :64]])
    expected = cv2.cvtColor(together, cv2.COLOR_YUV2RGB_NV12)
    np.testing.assert_array_equal(deep.pixels(struct), expected.ravel())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_slices_with_gaps(internals: ctypes.CDLL, dtype: Any) -> None:
    inside = Inside(internals, MSA_3D)
    memory = np.random.default_rng(2).integers(0, 256, (4, 30, 40), dtype=dtype)
    seen = memory[:, :27, :33]
    found = inside.pixels(frame_struct(seen, stack=True))
    np.testing.assert_array_equal(found, np.ascontiguousarray(seen).view(np.uint8).ravel())


# What is changed in a grey frame of 40 x 30 px, and words of the refusal.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"pixels": None}, "NULL"),
    ({"format": 0}, "format is 0"),
    ({"format": 8}, "format is 8"),
    ({"format": -1}, "format is -1"),
    ({"memory": 2}, "memory is 2"),
    ({"memory": 1, "format": s.FORMATS["nv12"]}, "convert"),
    ({"memory": 1, "format": s.FORMATS["bgra8"]}, "convert"),
    ({"width": 0}, "width is 0 px"),
    ({"width": -40}, "width is -40 px"),
    ({"width": 4097}, "shrink or cut"),
    ({"height": 15}, "enlarge"),
    ({"height": 2**31 - 1}, "height is 2147483647 px"),
    ({"stride": 39}, "a row has 40"),
    ({"stride": -40}, "turn a frame"),
    ({"stride": -(2**63)}, "turn a frame"),
    ({"stride": 2**63 - 1}, "more than any frame"),
    ({"format": s.FORMATS["rgb8"], "stride": 119}, "a row has 120"),
    ({"format": s.FORMATS["bgra8"], "stride": 159}, "a row has 160"),
    ({"format": s.FORMATS["grey16"], "stride": 79}, "a row has 80"),
    ({"format": s.FORMATS["nv12"], "width": 39}, "even"),
    ({"format": s.FORMATS["nv12"], "height": 29}, "even"),
    ({"format": s.FORMATS["nv12"], "chroma_stride": 38}, "chroma_stride is 38"),
    ({"format": s.FORMATS["nv12"], "chroma_stride": -40}, "chroma_stride is -40"),
    ({"format": s.FORMATS["nv12"], "slices": 2}, "video"),
    ({"slices": -1}, "slices is -1"),
    ({"slices": 16385}, "slices is 16385"),
    ({"slices": 2, "slice_stride": 1199}, "a slice has 1200"),
    ({"slices": 2, "slice_stride": -1}, "slice_stride is -1"),
    ({"slices": 2, "slice_stride": 2**63 - 1}, "slice_stride"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused(deep: Inside, change: dict[str, Any], words: str) -> None:
    frame = random_frame("grey8", 30, 40)
    for name, value in change.items():
        setattr(frame.struct, name, value)
    with pytest.raises(FrameError, match=words):
        deep.pixels(frame.struct)


def test_16_bits_for_a_family_that_rounds(internals: ctypes.CDLL) -> None:
    with pytest.raises(FrameError, match="8-bit"):
        Inside(internals, SAMUS).pixels(random_frame("grey16", 30, 40).struct)


def looks(inside: Inside, frame: Given, ranges: Any, transposed: bool = False) -> str:
    copy = np.ascontiguousarray(as_bytes(frame.expected, transposed))
    return inside.look(ranges, frame.struct, copy, transposed)


@settings(max_examples=100)
@given(
    st.sampled_from(["grey8", "grey16", "rgb8"]),
    st.integers(16, 500),
    st.integers(16, 500),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_looks(
    deep: Inside,
    pixel_format: str,
    height: int,
    width: int,
    cropped: bool,
    transposed: bool,
    seed: int,
) -> None:
    """Every statistic is Python's to 1e-3: bounds so far outside are kept, inside are not."""
    frame = random_frame(pixel_format, height, width, seed=seed)
    if seed % 2:  # dark, smooth: other values of the statistics
        frame.kept[0] //= 9
        frame = Given(frame.struct, frame.expected // 9, frame.kept)
        frame.expected[:: 1 + seed % 3] = 0
    crop = (0, 0, width, height)
    if cropped and min(height, width) > 60:
        crop = (7, 11, width - 13, height - 5)
        frame.struct.crop = (ctypes.c_int32 * 4)(*crop)
    x0, y0, x1, y1 = crop
    seen = np.atleast_3d(frame.expected)[y0:y1, x0:x1]
    found = look_of(seen)
    for name, floor in RANGES.items():
        for edge, odd in [(0.999, False), (1.001, True)]:  # of the margin
            value = getattr(found, name)
            wide = dict.fromkeys(RANGES, (-1000000.0, 1000000.0))
            wide[name] = (value + edge * floor,) * 2
            expected = CalibrationLooks({n: list(r) for n, r in wide.items()}).notes(seen)
            assert bool(expected) == odd
            assert looks(deep, frame, wide, transposed) == (WORDS[name] if odd else "")


def test_looks_in_words(deep: Inside) -> None:
    frame = random_frame("rgb8", 40, 50)
    ranges = dict.fromkeys(RANGES, (0.0, 0.0))
    assert looks(deep, frame, ranges) == "brightness, contrast, texture, colour"


def test_a_statistic_is_missing(deep: Inside) -> None:
    ranges = {name: (0.0, 0.0) for name in RANGES if name != "edges"}
    with pytest.raises(BundleError, match="edges"):
        looks(deep, random_frame("grey8", 40, 50), ranges)
