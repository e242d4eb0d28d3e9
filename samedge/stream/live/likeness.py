"""Whether a frame shows what the one before showed: the same pixels, or another scene."""

from __future__ import annotations

from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.sources.frame import Box, Frame, Pixels

_SIDE = 24  # px of the small pictures that are compared
_REACH = 2  # px of those by which a probe may have moved between two frames
_DARK = 12.0  # grey levels: what is darker in both is background
_LEAST = 14.0  # mean difference in grey levels of another scene; noise stays below
_FEW = 20  # px that are not background: fewer say nothing

Small = NDArray[np.float32]


class Change(str, Enum):
    """What a frame is against the one before."""

    NEW = "new"
    SAME_PIXELS = "same pixels"  # the operator froze the picture
    SAME_BUFFER = "same buffer"  # the source repeats itself
    SCENE = "another scene"
    SIZE = "another size"  # or other channels or bits
    FIRST = "first"  # there was none before


class Likeness:
    """Compares a frame with the one before.

    Args:
        tolerance: largest difference, in levels of the frame's pixels, that counts as none.
        scene_change: 1 - correlation of the small pictures of neighbouring frames from which on the
            scene is another: 0 for the same picture, however bright, about 1 for two that have
            nothing in common. 0 here: never.
    """

    def __init__(self, tolerance: int, scene_change: float) -> None:
        self._tolerance, self._scene_change = tolerance, scene_change
        self._pixels: Pixels | None = None
        self._stamp: tuple[Any, ...] = ()
        self._small: Small | None = None
        self._area: Box | None = None

    def compare(self, frame: Frame, area: Box | None) -> Change:
        """What the frame is against the one of the call before; one that was the same within the
        tolerance does not count.

        Args:
            frame: the newest; its pixels are copied.
            area: where the ultrasound image is: only there pixels count, so that a clock beside it
                hides nothing. None: all of the frame.
        """
        before, pixels = self._pixels, frame.pixels
        stamp, self._stamp = self._stamp, _stamp(frame)
        if before is None or before.shape != pixels.shape or before.dtype != pixels.dtype:
            self._pixels, self._small = pixels.copy(), None
            return Change.FIRST if before is None else Change.SIZE
        x0, y0, x1, y1 = area or (0, 0, frame.width, frame.height)
        if self._same(before[y0:y1, x0:x1], pixels[y0:y1, x0:x1]):
            told = any(part is not None for part in stamp)
            repeats = told and stamp == self._stamp and self._same(before, pixels)
            # What fades within the tolerance adds up: it is compared with where it began.
            began = before[y0:y1, x0:x1].copy() if self._tolerance else pixels[y0:y1, x0:x1]
            np.copyto(before, pixels)
            before[y0:y1, x0:x1] = began
            return Change.SAME_BUFFER if repeats else Change.SAME_PIXELS
        if self._scene_change > 0:
            # The small picture of the call before, unless it showed another part of the frame.
            small = self._small if self._area == area else None
            small = _small(before[y0:y1, x0:x1]) if small is None else small
            self._small, self._area = _small(pixels[y0:y1, x0:x1]), area
            if another_scene(small, self._small, self._scene_change):
                np.copyto(before, pixels)
                return Change.SCENE
        np.copyto(before, pixels)
        return Change.NEW

    def _same(self, one: Pixels, other: Pixels) -> bool:
        # A few rows tell most pictures apart.
        step = max(len(one) // 8, 1)
        return self._equal(one[::step], other[::step]) and self._equal(one, other)

    def _equal(self, one: Pixels, other: Pixels) -> bool:
        if self._tolerance == 0:
            return bool(np.array_equal(one, other))
        return bool(cv2.norm(one, other, cv2.NORM_INF) <= self._tolerance)


def another_scene(one: Small, other: Small, threshold: float) -> bool:
    """Whether two small pictures differ in more than brightness and a small shift.

    Args:
        one, other: grey levels `[24, 24]`.
        threshold: see `Likeness`.
    """
    seen = np.maximum(one, other) > _DARK
    if np.count_nonzero(seen) < _FEW or np.abs(one - other)[seen].mean() < _LEAST:
        return False
    if _apart(one, other) < threshold:
        return False
    middle = other[_REACH:-_REACH, _REACH:-_REACH]
    shifts = range(2 * _REACH + 1)
    end = _SIDE - 2 * _REACH
    return all(
        _apart(one[y : y + end, x : x + end], middle) >= threshold for y in shifts for x in shifts
    )


def _apart(one: Small, other: Small) -> float:
    """1 - correlation over what is not background in both; 1 where there is too little of it."""
    seen = np.maximum(one, other) > _DARK
    a, b = one[seen], other[seen]
    if len(a) < _FEW:
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    both = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return 1.0 - float((a * b).sum()) / both if both > 0 else 1.0


def _stamp(frame: Frame) -> tuple[Any, ...]:
    """What the source says of the frame's time."""
    return frame.stamp_s, frame.origin.ticks if frame.origin is not None else None


def _small(pixels: Pixels) -> Small:
    """Grey levels `[24, 24]`; of colours the green one, in which ultrasound images have all."""
    # Every second pixel of large frames: speckle is larger, and it takes a quarter of the time.
    step = 2 if min(pixels.shape[:2]) >= 8 * _SIDE else 1
    grey = pixels[::step, ::step] if pixels.ndim == 2 else pixels[::step, ::step, 1]
    size = (_SIDE, _SIDE)
    if grey.dtype == np.uint16:
        deep = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return np.asarray(deep / np.float32(257), np.float32)
    part = np.ascontiguousarray(grey, np.uint8)
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.float32)
