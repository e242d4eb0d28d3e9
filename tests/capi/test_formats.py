"""Frames in every format through sessions: the masks of Python's, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import byref
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samedge.capi.library import Library
from samedge.capi.session import NativeModel, NativeSession, PromptArrays, ResultArrays
from samedge.errors import FrameError
from tests.capi.frames import FORMATS, Given, random_frame
from tests.runtime.cases import Case


class Pair:
    """A tiny model in Python and in the library."""

    def __init__(self, library: Library, case: Case) -> None:
        self.case, self.python = case, case.session
        self.model = NativeModel(library, case.bundle.path, "openvino", "fp32", threads=1)
        self.native: NativeSession = self.model.session()

    def segment(self, frame: Given, crop: Any, prompts: dict[str, Any]) -> Any:
        struct = frame.struct
        if crop is not None:
            for index, value in enumerate(crop):
                struct.crop[index] = value
        asked = PromptArrays(**prompts)
        room = ResultArrays(self.model.info, asked, struct.height, struct.width)
        library = self.native.library
        library.check(
            library.samedge_segment(
                self.native.handle, byref(struct), byref(asked.struct), byref(room.struct)
            )
        )
        return room.result(self.native)

    def check(self, frame: Given, crop: Any, prompts: dict[str, Any]) -> None:
        expected = self.python.segment(frame.expected, crop=crop, **prompts)
        found = self.segment(frame, crop, prompts)
        np.testing.assert_array_equal(found.masks, expected.masks)
        np.testing.assert_allclose(found.low_res_logits, expected.low_res_logits, atol=1e-5)

    def close(self) -> None:
        self.native.close()
        self.model.close()
        self.python.close()


# SAM takes colours and pads, SAMUS is grey and rounds, SAMed does not round.
@pytest.fixture(scope="module", params=["sam", "samus", "samed"])
def pair(
    request: pytest.FixtureRequest, library: Library, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    made = Pair(library, Case.of(request.param, tmp_path_factory.mktemp(request.param)))
    yield made
    made.close()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(FORMATS),
    st.integers(8, 90),
    st.integers(8, 90),
    st.integers(0, 1),
    st.integers(0, 40),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_every_format(
    pair: Pair,
    pixel_format: str,
    half_height: int,
    half_width: int,
    odd: int,
    gap: int,
    cropped: bool,
    seed: int,
) -> None:
    more = 0 if pixel_format == "nv12" else odd
    height, width = 2 * half_height + more, 2 * half_width + more
    frame = random_frame(pixel_format, height, width, gap, seed)
    crop = None
    if cropped and min(height, width) > 40:
        crop = (seed % 20, seed % 17, width - seed % 3, height - seed % 4)
    x0, y0, x1, y1 = crop or (0, 0, width, height)
    prompts: dict[str, Any] = {}
    if pair.case.family.prompts:
        prompts["points"] = [((x0 + x1) / 2, (y0 + y1) / 2), (x1 - 1.5, y0 + 0.25)]
        prompts["labels"] = [1, seed % 2]
    if pixel_format == "grey16" and pair.case.family.rounded:
        with pytest.raises(FrameError, match="8-bit"):
            pair.segment(frame, crop, prompts)
        return
    pair.check(frame, crop, prompts)


@pytest.mark.parametrize("size", [(200, 33), (33, 200), (16, 16), (640, 96)])
def test_long_and_narrow(pair: Pair, size: tuple[int, int]) -> None:
    """Some of them are handed over transposed."""
    prompts = {"points": [(8, 9)]} if pair.case.family.prompts else {}
    pair.check(random_frame("bgr8", *size, gap=5), None, prompts)


def test_a_volume_is_no_frame(pair: Pair) -> None:
    frame = random_frame("grey8", 60, 40)
    frame.struct.height, frame.struct.slices = 30, 2
    library = pair.native.library
    with pytest.raises(FrameError, match="2 slices; call samedge_segment_slices"):
        library.check(library.samedge_set_frame(pair.native.handle, byref(frame.struct)))


def test_outlines_of_an_answer(pair: Pair) -> None:
    """Of its own masks, through the public function; tests/capi/test_outlines.py has the rest."""
    frame = random_frame("rgb8", 70, 90)
    prompts = {"points": [(40, 30)]} if pair.case.family.prompts else {}
    found = pair.segment(frame, None, prompts)
    for index, mask in enumerate(found.masks):
        filled = np.zeros_like(mask)
        for points, _ in pair.native.contours(index):
            filled[points[:, 1], points[:, 0]] = 1
        inner = mask & ~filled
        assert not (filled & ~mask).any()
        # What no outline goes through has the mask on all four sides.
        y, x = np.nonzero(inner)
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            assert mask[y + dy, x + dx].all()
