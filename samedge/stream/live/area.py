"""Where the ultrasound image lies in a frame with black borders, menus and text.

Speckle lives and the organs move; what machines write around them stands still. What changes over
some frames, and what is bright and hangs together with it, lies in the hull of the beams: a sector,
a rectangle, a rounded one. A crop that is too small takes parts of the object away and nobody sees
why, so every doubt makes it larger, and a large one leaves the whole frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.sources.frame import Box, Frame, Pixels

_LOOKS = (8, 16, 32, 64)  # after so many frames that differ it is looked for, the last time there
_WORK_SIDE = 256  # px of the longer side that is searched
_CHANGE = 3.0  # grey levels beyond what the background changes by
_BRIGHT = 12.0  # grey levels; the background is darker
_GRAIN = 6.0  # grey levels between neighbouring pixels of speckle
_SPECK = 0.004  # share of the frame: what changes and is smaller is a clock, a cursor
_LEAST, _FILLED = 0.05, 0.4  # shares: of the frame that an image has, of its hull that changes
_STRAY = 0.1  # share of what changes that may lie outside of the hull
_MARGIN = 0.04  # of the crop's side, around the hull
_WHOLE = 0.85  # share of the frame from which on it is not worth it to crop
_SMALLEST = 48  # px


@dataclass(frozen=True, eq=False)
class _Found:
    """An ultrasound image: its crop, and uint8 `[H, W]`, 255 in the hull around it."""

    crop: Box
    hull: NDArray[np.uint8]


class UltrasoundArea:
    """Where the ultrasound image lies: found from the first frames that differ and kept; it may
    still grow while the first seconds show more of it.

    A frame that says where its image is (`Frame.region`) is believed.

    Args:
        hide_text: what lies outside of the image is black for the network.

    Attributes:
        crop: (x0, y0, x1, y1) px, right and bottom exclusive; None: it is not known, or it is
            about the whole frame.
        note: why it could not be found, when that is sure; else empty.
    """

    def __init__(self, hide_text: bool) -> None:
        self._hide_text = hide_text
        self.reset()

    def reset(self) -> None:
        """Forget it, and look for it again."""
        self._shape: tuple[int, ...] = ()
        self._region: Box | None = None
        self._low: NDArray[np.float32] | None = None
        self._high: NDArray[np.float32] | None = None
        self._newest: NDArray[np.float32] | None = None
        self._looks = 0
        self._hull: NDArray[np.uint8] | None = None
        self._hidden: Pixels | None = None
        self.crop: Box | None = None
        self.note = ""

    def look(self, frame: Frame) -> None:
        """Take in a frame; of another size than the one before it begins anew."""
        if frame.pixels.shape != self._shape or frame.region != self._region:
            self.reset()
            self._shape, self._region = frame.pixels.shape, frame.region
            self.crop = frame.region
        if self._looks >= _LOOKS[-1]:
            return
        small = _reduced(frame)
        if self._low is None or self._high is None or self._newest is None:
            self._low, self._high, self._newest = small.copy(), small.copy(), small
            return
        if np.array_equal(small, self._newest):
            return  # a frozen picture tells nothing
        np.minimum(self._low, small, out=self._low)
        np.maximum(self._high, small, out=self._high)
        self._newest = small
        self._looks += 1
        if self._looks in _LOOKS:
            self._search(frame)

    def for_network(self, pixels: Pixels) -> Pixels:
        """The frame with everything outside of the ultrasound image black.

        Args:
            pixels: as the frame has them.

        Returns:
            the same array where nothing is to be hidden; else one that the next call overwrites.
        """
        if self._hull is None or not self._hide_text or pixels.shape != self._shape:
            return pixels
        if self._hidden is None or self._hidden.dtype != pixels.dtype:
            self._hidden = np.zeros_like(pixels)
        # What the mask leaves out stays as it is in the buffer: 0.
        cv2.bitwise_and(pixels, pixels, dst=self._hidden, mask=self._hull)
        return self._hidden

    def _search(self, frame: Frame) -> None:
        assert self._low is not None
        assert self._high is not None
        hull = _hull_of(self._low, self._high, _clipped(frame.region, frame, self._low.shape))
        if hull is None:
            if self._looks == _LOOKS[-1] and self.crop is None:
                self.note = (
                    "the ultrasound image could not be told from what is around it: the network "
                    "sees the whole frame; give crop=(x0, y0, x1, y1)"
                )
            return
        full = cv2.resize(hull, (frame.width, frame.height), interpolation=cv2.INTER_NEAREST)
        found = np.asarray(full, np.uint8)
        if self._hull is not None:
            found |= self._hull  # it only grows
        if frame.region is None and not _holds(self.crop, found):
            self.crop = _crop_of(found)
        self._hull, self._hidden = found, None


def _reduced(frame: Frame) -> NDArray[np.float32]:
    """Grey levels of a frame (of colours the green one), its longer side about 256 px."""
    pixels = frame.pixels
    skip = max(max(pixels.shape[:2]) // (2 * _WORK_SIDE), 1)
    grey = pixels[::skip, ::skip] if pixels.ndim == 2 else pixels[::skip, ::skip, 1]
    step = max(round(max(grey.shape) / _WORK_SIDE), 1)
    size = (max(grey.shape[1] // step, 1), max(grey.shape[0] // step, 1))
    level = np.float32(1 / 257 if pixels.dtype == np.uint16 else 1)
    small = cv2.resize(np.asarray(grey, np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small * level, np.float32)


def _clipped(region: Box | None, frame: Frame, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """The region in the small picture."""
    if region is None:
        return None
    inside = np.zeros(shape, bool)
    down, across = shape[0] / frame.height, shape[1] / frame.width
    x0, y0, x1, y1 = region
    inside[round(y0 * down) : round(y1 * down), round(x0 * across) : round(x1 * across)] = True
    return inside


def _hull_of(
    low: NDArray[np.float32], high: NDArray[np.float32], inside: NDArray[np.bool_] | None
) -> NDArray[np.uint8] | None:
    """255 in the hull of what changes and of what is bright with it; None without confidence.

    Args:
        low, high: `[h, w]`, darkest and brightest grey level of every pixel.
        inside: where to look; None: everywhere.
    """
    reach = high - low
    # A grabber's noise is everywhere, and a fifth of a frame at least is no image.
    moving = reach > 2 * float(np.quantile(reach, 0.2)) + _CHANGE
    bright = high > max(2 * float(np.quantile(high, 0.2)), _BRIGHT)
    bright &= cv2.morphologyEx(high, cv2.MORPH_GRADIENT, np.ones((3, 3))) > _GRAIN  # no plain panel
    if inside is not None:
        moving &= inside
        bright &= inside
    side = max(min(reach.shape) // 20, 3) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(moving.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    image = _large_parts(np.asarray(closed, np.uint8), round(_SPECK * reach.size))
    if not image.any():
        return None
    hull = _filled_hull(image)
    hull = _filled_hull(image | _attached(bright, hull, kernel))
    area = int(np.count_nonzero(hull))
    filled = np.count_nonzero(closed[hull != 0]) / area
    stray = np.count_nonzero(moving & (hull == 0)) / max(int(np.count_nonzero(moving)), 1)
    if area < _LEAST * reach.size or filled < _FILLED or stray > _STRAY:
        return None
    return _mirrored(np.asarray(cv2.dilate(hull, kernel, iterations=2), np.uint8))


def _large_parts(mask: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    """The components with that many pixels or more."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    keep = np.asarray(stats)[:, cv2.CC_STAT_AREA] >= least
    keep[0] = False
    return np.asarray(keep[labels], np.uint8)


def _attached(
    bright: NDArray[np.bool_], hull: NDArray[np.uint8], kernel: cv2.typing.MatLike
) -> NDArray[np.uint8]:
    """What is bright, thicker than letters, and for the most part within the hull."""
    thick = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    joined = cv2.morphologyEx(thick, cv2.MORPH_CLOSE, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    inside = np.bincount(np.asarray(labels)[hull != 0], minlength=count)
    keep = inside >= 0.5 * np.asarray(stats)[:, cv2.CC_STAT_AREA]
    keep[0] = False
    return np.asarray(keep[labels], np.uint8)


def _filled_hull(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 in the convex hull of a mask that is not empty."""
    return _filled(_outline(mask), mask)


def _outline(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(x, y) of the pixels along the borders of a mask's parts, `[N, 2]`."""
    borders, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.concatenate([np.asarray(border, np.int32)[:, 0] for border in borders])


def _filled(points: NDArray[np.int32], like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 in the convex hull of points, `[h, w]` of another mask."""
    hull = np.zeros_like(like)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 255)
    return hull


def _mirrored(hull: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The hull with its mirror image about the middle of its top.

    Beams open evenly to both sides of the probe: where one side lies in the shadow it is dark, not
    absent. A side that is less than half as wide as the other is believed to be absent.
    """
    x, y, wide, tall = cv2.boundingRect(hull)
    top = np.flatnonzero(hull[y : y + max(tall // 10, 1)].any(axis=0))
    middle = (int(top[0]) + int(top[-1])) / 2
    left, right = middle - x, x + wide - 1 - middle
    if min(left, right) < 0.5 * max(left, right):
        return hull
    points = _outline(hull)
    other = points.copy()
    other[:, 0] = np.rint(2 * middle - points[:, 0]).clip(0, hull.shape[1] - 1)
    return _filled(np.concatenate([points, other]), hull)


def _crop_of(hull: NDArray[np.uint8]) -> Box | None:
    """The box around a hull with a margin; None where it is about the whole frame."""
    height, width = hull.shape
    x, y, wide, tall = cv2.boundingRect(hull)
    dx, dy = _MARGIN * wide, _MARGIN * tall
    box = (
        max(round(x - dx), 0),
        max(round(y - dy), 0),
        min(round(x + wide + dx), width),
        min(round(y + tall + dy), height),
    )
    across, down = box[2] - box[0], box[3] - box[1]
    if min(across, down) < _SMALLEST or across * down > _WHOLE * width * height:
        return None
    return box


def _holds(crop: Box | None, hull: NDArray[np.uint8]) -> bool:
    """Whether a hull lies within a crop, which then may stay as it is."""
    if crop is None:
        return False
    x, y, wide, tall = cv2.boundingRect(hull)
    x0, y0, x1, y1 = crop
    return x0 <= x and y0 <= y and x + wide <= x1 and y + tall <= y1
