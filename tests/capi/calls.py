"""A call of libsamedge that is right, to be spoilt in one place."""

from __future__ import annotations

import ctypes
from ctypes import byref

import numpy as np

from samedge.capi import structs as s
from samedge.capi.library import Library
from samedge.capi.session import NativeSession

ARGUMENT, HANDLE, BUSY, STATE, BUNDLE, FRAME, PROMPT, BUFFER, NOT_SUPPORTED = range(-1, -10, -1)
ABI = -14
WIDTH, HEIGHT, LOW_RES = 40, 30, 32
HUGE = 2**31 - 1


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 255, (height, width), np.uint8)


class Call:
    """The arguments of a call that is right, to be spoilt in one place."""

    def __init__(self) -> None:
        self.pixels = picture()
        self.frame = s.Frame(format=1, width=WIDTH, height=HEIGHT, pixels=self.pixels.ctypes.data)
        self.points = (ctypes.c_double * 2)(20.0, 15.0)
        self.prompts = s.Prompts(points=self.points, point_count=1)
        self.arrays = {
            "masks": np.full(WIDTH * HEIGHT, 0xA5, np.uint8),
            "scores": np.full(1, np.nan, np.float32),
            "object_index": np.full(1, -9, np.int32),
            "class_index": np.full(1, -9, np.int32),
            "boxes": np.full(4, -9, np.int32),
            "areas": np.full(1, -9, np.int64),
            "low_res_logits": np.full(LOW_RES**2, np.nan, np.float32),
        }
        self.before = {name: array.tobytes() for name, array in self.arrays.items()}
        self.result = s.Result()
        for name, array in self.arrays.items():
            kind = dict(s.Result._fields_)[name]
            setattr(self.result, name, ctypes.cast(array.ctypes.data, kind))
            setattr(self.result, capacity_of(name), array.size)

    def segment(self, session: NativeSession) -> int:
        return session.library.samedge_segment(
            session.handle, byref(self.frame), byref(self.prompts), byref(self.result)
        )

    def untouched(self) -> bool:
        return all(array.tobytes() == self.before[name] for name, array in self.arrays.items())


def capacity_of(name: str) -> str:
    return "low_res_capacity" if name == "low_res_logits" else f"{name}_capacity"


def message(library: Library, *words: str) -> str:
    """What was said, which is never nothing."""
    said = library.samedge_last_error().decode()
    assert said
    for word in words:
        assert word in said
    return said


def no_answer(session: NativeSession) -> None:
    """Nothing of an earlier frame can be had."""
    library, contours = session.library, s.Contours()
    assert library.samedge_get_contours(session.handle, 0, byref(contours)) == STATE


# Functions by the kind of handle that they take first, with arguments that are right otherwise.
