"""Small text in pictures. ASCII only: older cv2 fonts have nothing else."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import INK, Colour

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAP_PX = 22.0  # height of a capital letter at font scale 1


def text_width(text: str, height: float) -> int:
    """Width in px of `text` whose capitals are `height` px high."""
    return int(cv2.getTextSize(_drawable(text), _FONT, height / _CAP_PX, 1)[0][0])


def fit_height(text: str, height: float, room: float, least: float = 5.0) -> float:
    """The largest letter height up to `height` (px) at which `text` needs at most `room` px."""
    width = text_width(text, height)
    return height if width <= room else max(least, height * room / width)


def draw_text(
    picture: NDArray[np.uint8],
    text: str,
    at: tuple[float, float],
    height: float,
    colour: Colour = INK,
    *,
    right: bool = False,
    outline: bool = False,
) -> None:
    """Write one line into an RGB picture.

    Args:
        picture: uint8 `[H, W, 3]`, changed in place.
        text: ASCII.
        at: (x, y) of the baseline's left end, or of its right end with `right`.
        height: of a capital letter, in px.
        colour: RGB.
        right: align to the right.
        outline: dark rim, for text on top of an image.
    """
    x = round(at[0] - (text_width(text, height) if right else 0))
    text = _drawable(text)
    spot, scale = (x, round(at[1])), height / _CAP_PX
    if outline:
        rim = max(2, round(height / 5))
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (-1, 1), (1, -1)):
            place = (spot[0] + dx * rim // 2, spot[1] + dy * rim // 2)
            cv2.putText(picture, text, place, _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(picture, text, spot, _FONT, scale, colour, 1, cv2.LINE_AA)


def _drawable(text: str) -> str:
    """Without the odd bytes of file names that are no UTF-8, which cv2 refuses."""
    return text.encode(errors="replace").decode()


def grouped(number: float) -> str:
    """`12345.6` -> "12 346": digits in groups of three, as ISO 80000-1 has them."""
    return f"{round(number):,}".replace(",", " ")
