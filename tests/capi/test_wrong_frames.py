"""Frames and prompts that cannot be taken, and buffers that are too small: nothing is written."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import Any

import numpy as np
import pytest

from samedge.capi import structs as s
from samedge.capi.session import NativeSession
from tests.capi.calls import (
    ARGUMENT,
    BUFFER,
    FRAME,
    HEIGHT,
    HUGE,
    LOW_RES,
    NOT_SUPPORTED,
    PROMPT,
    STATE,
    WIDTH,
    Call,
    capacity_of,
    message,
    no_answer,
    picture,
)

pytestmark = pytest.mark.usefixtures("silent")


FRAMES: list[tuple[str, dict[str, Any], int]] = [
    *(("side", {side: v}, FRAME) for side in ("width", "height") for v in
      (0, -1, 1, 15, 4097, HUGE, -HUGE - 1)),
    ("both sides", {"width": HUGE, "height": HUGE}, FRAME),
    *(("format", {"format": v}, FRAME) for v in (0, 8, -1, 99, HUGE)),
    ("no pixels", {"pixels": None}, FRAME),
    *(("stride", {"stride": v}, FRAME) for v in (1, WIDTH - 1, -WIDTH, -1, -(2**63), 2**63 - 1)),
    ("stride of RGB", {"format": 3, "stride": 3 * WIDTH - 1}, FRAME),
    *(("memory", {"memory": v}, FRAME) for v in (-1, 2, HUGE)),
    ("CUDA on a CPU", {"memory": 1}, NOT_SUPPORTED),
    ("odd NV12", {"format": 7, "width": WIDTH - 1}, FRAME),
    ("chroma stride", {"format": 7, "chroma_stride": 3}, FRAME),
    *(("slices", {"slices": v}, FRAME) for v in (2, -1, HUGE, -HUGE - 1)),
    ("grey16", {"format": 2}, FRAME),
    *(("crop", {"crop": v}, FRAME) for v in
      ((0, 0, WIDTH + 1, HEIGHT), (-1, 0, 20, 20), (20, 0, 10, 20), (0, 0, 0, 20),
       (HUGE, HUGE, -HUGE, -HUGE), (0, 0, 15, 15))),
]  # fmt: skip


@pytest.mark.parametrize(("what", "changes", "status"), FRAMES)
def test_frames(what: str, changes: dict[str, Any], status: int, session: NativeSession) -> None:
    first = Call()
    assert first.segment(session) == s.OK
    call = Call()
    for name, value in changes.items():
        setattr(call.frame, name, (ctypes.c_int32 * 4)(*value) if name == "crop" else value)
    allowed = {status} | ({ARGUMENT} if what in ("no pixels", "memory", "format") else set())
    assert call.segment(session) in allowed
    said = message(session.library)
    assert len(said) > 20
    assert call.untouched()
    no_answer(session)
    library = session.library
    assert library.samedge_predict(session.handle, byref(call.prompts), byref(call.result)) == STATE
    floats = (ctypes.c_float * 4096)()
    assert library.samedge_get_embedding(session.handle, floats, 4096) == STATE
    # The frame by itself, and a good one after it.
    assert library.samedge_set_frame(session.handle, byref(call.frame)) in allowed
    again = Call()
    assert again.segment(session) == s.OK
    assert again.arrays["masks"].tobytes() == first.arrays["masks"].tobytes()


def _prompts(**fields: Any) -> dict[str, Any]:
    return fields


MANY = (ctypes.c_double * 16)(*([20.0, 15.0] * 8))
LABELS = (ctypes.c_int32 * 8)(*([1] * 8))
WRONG_LABELS = (ctypes.c_int32 * 8)(*([7] * 8))
COUNTS = (ctypes.c_int32 * 2)(1, 1)
NEGATIVE = (ctypes.c_int32 * 2)(3, -1)
OVERFLOW = (ctypes.c_int32 * 2)(HUGE, HUGE)
NAN = (ctypes.c_double * 2)(float("nan"), 3.0)
FAR = (ctypes.c_double * 2)(1e300, 3.0)
LOGITS = (ctypes.c_float * LOW_RES**2)()
PROMPTS: list[tuple[str, dict[str, Any]]] = [
    ("no prompt", _prompts(points=None, point_count=0)),
    ("no points", _prompts(point_count=0)),
    ("a null pointer with a count", _prompts(points=None, point_count=3)),
    ("negative count", _prompts(point_count=-1)),
    ("huge count", _prompts(point_count=HUGE)),
    ("negative objects", _prompts(objects=-1)),
    ("huge objects", _prompts(objects=HUGE)),
    ("too many objects", _prompts(objects=1025)),
    ("not equally many", _prompts(objects=2, points=MANY, point_count=3)),
    ("another sum", _prompts(objects=2, points=MANY, point_count=3, points_per_object=COUNTS)),
    ("negative share", _prompts(objects=2, points=MANY, point_count=2, points_per_object=NEGATIVE)),
    ("overflow", _prompts(objects=2, points=MANY, point_count=-2, points_per_object=OVERFLOW)),
    ("unknown label", _prompts(labels=WRONG_LABELS)),
    ("NaN", _prompts(points=NAN)),
    ("far away", _prompts(points=FAR)),
    ("multimask", _prompts(multimask=1)),
    ("boxes for points", _prompts(boxes=MANY)),
    ("masks for points", _prompts(masks=LOGITS, mask_count=1)),
    ("mask count without masks", _prompts(mask_count=1)),
    ("negative mask count", _prompts(mask_count=-1, masks=LOGITS)),
    ("huge mask count", _prompts(mask_count=HUGE, masks=LOGITS)),
]


@pytest.mark.parametrize(("what", "fields"), PROMPTS)
def test_prompts(what: str, fields: dict[str, Any], session: NativeSession) -> None:
    assert Call().segment(session) == s.OK
    call = Call()
    # Room for the many objects that are claimed, where the library may look at their masks.
    for name, value in fields.items():
        setattr(call.prompts, name, value)
    for name in call.arrays:  # as many objects as they come
        setattr(call.result, name, None)
    assert call.segment(session) == PROMPT
    assert len(message(session.library)) > 20
    no_answer(session)
    assert Call().segment(session) == s.OK


@pytest.mark.parametrize("name", sorted(Call().arrays))
@pytest.mark.parametrize("short", ["by one", "zero"])
def test_small_buffers(name: str, short: str, session: NativeSession) -> None:
    call = Call()
    full = call.arrays[name].size
    setattr(call.result, capacity_of(name), full - 1 if short == "by one" else 0)
    assert call.segment(session) == BUFFER
    message(session.library, name, str(full))
    assert call.untouched()
    assert (call.result.count, call.result.width, call.result.height) == (1, WIDTH, HEIGHT)
    assert call.result.low_res == LOW_RES
    no_answer(session)
    library = session.library
    library.check(library.samedge_set_frame(session.handle, byref(call.frame)))
    asked, result = byref(call.prompts), byref(call.result)
    assert library.samedge_predict(session.handle, asked, result) == BUFFER
    assert call.untouched()
    setattr(call.result, capacity_of(name), full)
    assert library.samedge_predict(session.handle, asked, result) == s.OK
    assert not call.untouched()


def test_what_is_not_wanted_is_null(session: NativeSession) -> None:
    call = Call()
    for name in call.arrays:
        setattr(call.result, name, None)
        setattr(call.result, capacity_of(name), 0)
    assert call.segment(session) == s.OK
    assert call.untouched()
    assert len(session.contours(0)) >= 0


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("mask_stride", WIDTH - 1, BUFFER),
        ("mask_stride", -WIDTH, BUFFER),
        ("mask_stride", 2**63 - 1, BUFFER),
        ("mask_stride", WIDTH + 1, BUFFER),  # more memory than there is
        ("mask_value", -1, ARGUMENT),
        ("mask_value", 256, ARGUMENT),
    ],
)
def test_layout_of_masks(field: str, value: int, status: int, session: NativeSession) -> None:
    call = Call()
    setattr(call.result, field, value)
    assert call.segment(session) == status
    assert call.untouched()
    no_answer(session)


@pytest.mark.parametrize("what", ["points", "starts", "holes"])
def test_small_buffers_of_contours(what: str, session: NativeSession) -> None:
    call = Call()
    frame = np.full((HEIGHT, WIDTH), 128, np.uint8)
    call.frame.pixels = frame.ctypes.data
    assert call.segment(session) == s.OK
    if not call.arrays["masks"].any():
        pytest.skip("the mask is empty")
    asked = s.Contours()
    library = session.library
    library.check(library.samedge_get_contours(session.handle, 0, byref(asked)))
    count, points = asked.contour_count, asked.point_count
    memory = {
        "points": (ctypes.c_int32 * (2 * points))(*([-9] * 2 * points)),
        "starts": (ctypes.c_int32 * count)(*([-9] * count)),
        "holes": (ctypes.c_uint8 * count)(*([9] * count)),
    }
    before = {name: bytes(array) for name, array in memory.items()}
    for name, array in memory.items():
        setattr(asked, name, array)
        setattr(asked, f"{name}_capacity", len(array) - (name == what))
    asked.contour_count = asked.point_count = 0
    assert library.samedge_get_contours(session.handle, 0, byref(asked)) == BUFFER
    assert (asked.contour_count, asked.point_count) == (count, points)
    assert {name: bytes(array) for name, array in memory.items()} == before
    setattr(asked, f"{what}_capacity", len(memory[what]))
    assert library.samedge_get_contours(session.handle, 0, byref(asked)) == s.OK
    assert memory["starts"][0] == 0


@pytest.mark.parametrize("index", [-1, 1, HUGE, -HUGE - 1])
def test_a_mask_that_there_is_not(index: int, session: NativeSession) -> None:
    assert Call().segment(session) == s.OK
    contours = s.Contours()
    library = session.library
    assert library.samedge_get_contours(session.handle, index, byref(contours)) == ARGUMENT
    message(library, str(index))
    assert library.samedge_get_contours(session.handle, 0, byref(contours)) == s.OK


def test_small_room_for_an_embedding(session: NativeSession) -> None:
    session.set_frame(picture())
    size = session.model.info.embedding_size
    memory = np.full(size, -9, np.float32)
    pointer = memory.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    library = session.library
    for capacity in (0, size - 1):
        assert library.samedge_get_embedding(session.handle, pointer, capacity) == BUFFER
        assert (memory == -9).all()
    assert library.samedge_get_embedding(session.handle, pointer, size) == s.OK
    assert not (memory == -9).any()
