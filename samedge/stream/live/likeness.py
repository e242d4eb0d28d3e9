"""Whether a frame shows what the one before showed: the same pixels, or another scene."""

from __future__ import annotations

from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.sources.frame import Box, Frame, Pixels

_SIDE = 24  # px of the small pictures that are compared


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
        tolerance: largest difference, in grey levels, of pixels that count as the same.
        scene_change: mean difference in grey levels of the small pictures of neighbouring frames
            from which on the scene is another; 0: never.
    """

    def __init__(self, tolerance: int, scene_change: float) -> None:
        self._tolerance, self._scene_change = tolerance, scene_change
        self._pixels: Pixels | None = None
        self._stamp: tuple[Any, ...] = ()
        self._small: NDArray[np.float32] | None = None

    def compare(self, frame: Frame, area: Box | None) -> Change:
        """What the frame is against the one of the call before, which is forgotten.

        Args:
            frame: the newest.
            area: where the ultrasound image is: only there pixels count. None: all of the frame.
        """
        before, stamp = self._pixels, self._stamp
        self._stamp = (frame.stamp_s, frame.origin.ticks if frame.origin is not None else None)
        if (
            before is None
            or before.shape != frame.pixels.shape
            or (before.dtype != frame.pixels.dtype)
        ):
            self._pixels = frame.pixels.copy()
            self._small = None
            return Change.FIRST if before is None else Change.SIZE
        x0, y0, x1, y1 = area or (0, 0, frame.width, frame.height)
        if self._same(before[y0:y1, x0:x1], frame.pixels[y0:y1, x0:x1]):
            told = any(part is not None for part in stamp)
            repeats = told and stamp == self._stamp and self._same(before, frame.pixels)
            np.copyto(before, frame.pixels)
            return Change.SAME_BUFFER if repeats else Change.SAME_PIXELS
        small_before = self._small
        if small_before is None:
            small_before = _small(before[y0:y1, x0:x1])
        self._small = _small(frame.pixels[y0:y1, x0:x1])
        np.copyto(before, frame.pixels)
        apart = float(np.abs(self._small - small_before).mean())
        return Change.SCENE if 0 < self._scene_change <= apart else Change.NEW

    def _same(self, one: Pixels, other: Pixels) -> bool:
        if self._tolerance == 0:
            return bool(np.array_equal(one, other))
        return bool(cv2.norm(one, other, cv2.NORM_INF) <= self._tolerance)


def _small(pixels: Pixels) -> NDArray[np.float32]:
    """Grey levels `[24, 24]`."""
    small = np.asarray(cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
    if small.ndim == 3:
        small = np.asarray(small.mean(axis=2), np.float32)
    return small / np.float32(257) if pixels.dtype == np.uint16 else small
