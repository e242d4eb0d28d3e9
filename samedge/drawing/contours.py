"""Masks over frames at video rate: tinted, and outlined with a whole or a dashed line.

`overlay` makes pictures to be looked at one by one; this one changes a frame in place, in about a
millisecond.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import Colour

_FILL = 0.26
_DASH, _GAP = 7, 6  # px along the line, per px of its width


def tint(picture: NDArray[np.uint8], mask: NDArray[np.uint8], colour: Colour) -> None:
    """Mix a colour into the part of a picture where a mask is.

    Args:
        picture: RGB, uint8 `[H, W, 3]`, changed in place.
        mask: uint8 `[H, W]`, not 0 inside.
        colour: RGB.
    """
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return
    part, inside = picture[y : y + height, x : x + width], mask[y : y + height, x : x + width]
    plain = np.full_like(part, colour)
    mixed = cv2.addWeighted(part, 1 - _FILL, plain, _FILL, 0)
    cv2.copyTo(mixed, inside, part)


def outline(
    picture: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    colour: Colour,
    line: int = 1,
    dashed: bool = False,
) -> None:
    """Draw the border of a mask, with a dark rim that keeps it visible on bright tissue.

    Args:
        picture: RGB, uint8 `[H, W, 3]`, changed in place.
        mask: uint8 `[H, W]`, not 0 inside.
        colour: RGB.
        line: width in px.
        dashed: for a mask that is not sure.
    """
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return
    inside = mask[y : y + height, x : x + width]
    found, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    lines = [np.asarray(contour, np.int32) for contour in found]
    if dashed:
        lines = [dash for contour in lines for dash in _dashes(contour, line)]
    for hue, thickness in (((0, 0, 0), line + 2), (colour, line)):
        cv2.polylines(picture, lines, not dashed, hue, thickness, cv2.LINE_AA)


def _dashes(contour: NDArray[np.int32], line: int) -> list[NDArray[np.int32]]:
    step = (_DASH + _GAP) * line
    closed = np.concatenate([contour, contour[:1]])
    return [closed[start : start + _DASH * line + 1] for start in range(0, len(contour), step)]
