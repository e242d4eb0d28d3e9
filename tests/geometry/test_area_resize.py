"""The area resize is OpenCV's, bit for bit; boxes in whole px; min-max inside of padding."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samedge.errors import FrameError, NotSupportedError
from samedge.families import LITEMEDSAM
from samedge.geometry.area import AREA_TAPS, area_planes
from samedge.geometry.frame_geometry import (
    MAX_SIDE,
    MIN_SIDE,
    Crop,
    FrameGeometry,
    frame_geometry,
    valid_size,
)
from samedge.geometry.mask_values import decide, mask_values
from samedge.geometry.network_input import network_input, resize_frame, to_network_colours
from samedge.geometry.prompt_tokens import prompt_tokens
from tests.geometry.frames import crops, image, patterns, sides
from tests.golden.cases import SHARED

STRETCHED = replace(LITEMEDSAM, resize="stretch")
GOLDEN = SHARED / "litemedsam" / "index.json"
CASES = json.loads(GOLDEN.read_text())["cases"] if GOLDEN.exists() else []


def opencv(frame: np.ndarray, geometry: FrameGeometry) -> np.ndarray:
    x0, y0, x1, y1 = geometry.crop
    inside = np.ascontiguousarray(frame[y0:y1, x0:x1])
    resized = cv2.resize(inside, geometry.valid[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(resized).reshape(*geometry.valid, *frame.shape[2:])


def check(frame: np.ndarray, crop: Crop | None, size: int, stretch: bool = False) -> None:
    family = STRETCHED if stretch else LITEMEDSAM
    geometry = frame_geometry(family, *frame.shape[:2], crop, size)
    got = resize_frame(frame, geometry, family)
    height, width = geometry.valid
    np.testing.assert_array_equal(got[:height, :width], opencv(frame, geometry))
    assert got.dtype == np.uint8
    assert not got[height:].any()
    assert not got[:, width:].any()


@settings(max_examples=80)
@given(
    st.data(), sides, sides, st.sampled_from([1, 3]), patterns, st.sampled_from([64, 200, 256]),
    st.booleans(),
)  # fmt: skip
def test_equals_opencv(
    data: st.DataObject, height: int, width: int, channels: int, pattern: str, size: int,
    stretch: bool,
) -> None:  # fmt: skip
    frame = image(pattern, height, width, channels, seed=height * width)
    check(frame, data.draw(crops(height, width)), size, stretch)


@pytest.mark.parametrize("stretch", [False, True], ids=["aspect", "stretch"])
@pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        (256, 256),  # the same
        (16, 256),
        (512, 512),  # the mean of 2 x 2, half a level up
        (384, 512),
        (256, 512),
        (48, 768),  # 3 x 3
        (768, 1024),  # 4 x 4: half a level to even
        (1280, 1280),
        (1280, 768),
        (480, 640),
        (500, 471),
        (16, 257),  # one axis stays as it is
        (255, 257),
        (257, 258),
        (150, 200),  # enlarged
        (16, 17),
        (128, 128),
        (16, 255),
        (23, 4096),  # the most that is added up
        (16, 4096),
        (2048, 2047),
    ],
)
def test_every_rule(height: int, width: int, turned: bool, stretch: bool) -> None:
    size = (width, height) if turned else (height, width)
    check(image("noise", *size, 3 if height < 300 else 1, seed=1), None, 256, stretch)
    check(image("binary", *size, 1, seed=2), None, 256, stretch)


@settings(max_examples=50)
@given(st.integers(MIN_SIDE, MAX_SIDE), st.integers(MIN_SIDE, MAX_SIDE))
@example(23, MAX_SIDE)
@example(MAX_SIDE, 39)
def test_taps_stand_side_by_side_and_are_few(height: int, width: int) -> None:
    valid = valid_size(LITEMEDSAM, height, width, 256)
    assert min(valid) >= 1
    for planes, out in zip(area_planes((height, width), valid), valid, strict=True):
        coefficients, firsts = planes
        assert len(coefficients) == out
        np.testing.assert_array_equal((firsts != 0).sum(axis=1), 1)
        first = firsts.argmax(axis=1)[:, None]
        place = np.arange(planes.shape[2])
        assert not coefficients[(place < first) | (place >= first + AREA_TAPS)].any()


def test_shrinking_too_far_is_refused() -> None:
    with pytest.raises(FrameError, match=r"256 px high, and at most 24"):
        frame_geometry(LITEMEDSAM, 4096, 4096, input_size=16)
    with pytest.raises(FrameError, match="short side would vanish"):
        frame_geometry(LITEMEDSAM, 16, 4096, input_size=64)
    with pytest.raises(NotSupportedError, match="'area', via 100 px"):
        frame_geometry(replace(LITEMEDSAM, via=100), 100, 100)


def test_min_max_is_that_of_the_image_and_leaves_padding_at_zero() -> None:
    frame = image("noise", 90, 200, 3, seed=3) // 4 + 100
    geometry = frame_geometry(LITEMEDSAM, 90, 200)
    got = network_input(frame, geometry, LITEMEDSAM)[0]
    height, width = geometry.valid
    assert (height, width) == (115, 256)
    levels = opencv(frame, geometry).astype(np.float32)
    expected = (levels - levels.min()) / (levels.max() - levels.min())
    np.testing.assert_array_equal(got[:, :height], expected.transpose(2, 0, 1))
    assert not got[:, height:].any()
    flat = network_input(np.full((90, 200), 77, np.uint8), geometry, LITEMEDSAM)
    assert not flat.any()


@given(
    st.tuples(*[st.floats(-30, 1000)] * 4), st.integers(16, 900), st.integers(16, 900), st.data()
)
def test_boxes_lose_what_is_behind_the_point(
    box: tuple[float, ...], height: int, width: int, data: st.DataObject
) -> None:
    crop = data.draw(crops(height, width))
    geometry = frame_geometry(LITEMEDSAM, height, width, crop)
    none = np.zeros((1, 0, 2)), np.zeros((1, 0))
    coords, labels = prompt_tokens(LITEMEDSAM, geometry, *none, np.array([box]))
    x0, y0, x1, y1 = geometry.crop
    ratio = 256 / max(x1 - x0, y1 - y0)
    expected = [int((v - (x0, y0)[i % 2]) * ratio) for i, v in enumerate(box)]
    assert coords.dtype == np.float32
    assert coords.ravel().tolist() == expected
    assert labels.tolist() == [[2, 3]]


@pytest.mark.skipif(not CASES, reason="needs the reference vectors of LiteMedSAM")
@pytest.mark.parametrize("index", range(4))
def test_equals_the_original_code(index: int) -> None:
    """Resized frame, boxes and masks, all to the bit."""
    case = CASES[index]
    with np.load(SHARED / case["file"]) as stored:
        wanted = {name: stored[name] for name in stored.files}
    read = cv2.imread(str(SHARED / "images" / case["image"]), cv2.IMREAD_UNCHANGED)
    assert read is not None
    frame = np.ascontiguousarray(read[..., ::-1] if read.ndim == 3 else read)
    geometry = frame_geometry(LITEMEDSAM, *frame.shape[:2])
    got = resize_frame(to_network_colours(frame, LITEMEDSAM), geometry, LITEMEDSAM)
    height, width = geometry.valid
    np.testing.assert_array_equal(got[:height, :width], wanted["resized"])
    for i, box in enumerate(wanted["boxes"]):
        corners = geometry.boxes_to_network(box)
        np.testing.assert_array_equal(corners.ravel(), wanted[f"box_256_{i}"])
        values = mask_values(wanted[f"low_res_logits_{i}"][0, 0], geometry, LITEMEDSAM)
        mask = decide(values, LITEMEDSAM)
        np.testing.assert_array_equal(mask, wanted[f"mask_{i}"])
