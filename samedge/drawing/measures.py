"""Diameters and ellipses of masks, as calipers draw them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import INK, Colour
from samedge.geometry.measures import Measures, Point

_FINE = 4  # bits of a fraction of a pixel, as OpenCV takes them
_CORNERS = 90  # of an ellipse


def draw_measures(
    picture: NDArray[np.uint8],
    size: tuple[int, int],
    measures: Sequence[Measures | None],
    colours: Sequence[Colour],
) -> None:
    """Draw the ellipse of each mask, dotted, and its two diameters with bars at their ends.

    Args:
        picture: RGB of `draw_overlay`, drawn into.
        size: height and width of the frame, px.
        measures: of the masks that are shown; None for one that is empty.
        colours: of the masks.
    """
    scales = picture.shape[1] / size[1], picture.shape[0] / size[0]
    line = max(1, round(min(picture.shape[:2]) / 480))
    for found, colour in zip(measures, colours, strict=True):
        if found is None:
            continue
        corners = [_place(point, scales) for point in _ellipse(found)]
        for corner in corners:
            cv2.circle(picture, corner, line << _FINE, (0, 0, 0), -1, cv2.LINE_AA, _FINE)
        for corner in corners:
            radius = max(1, (line << _FINE) * 2 // 3)
            cv2.circle(picture, corner, radius, colour, -1, cv2.LINE_AA, _FINE)
        for diameter in (found.longest, found.across):
            _caliper(picture, [_place(end, scales) for end in diameter.ends], line)


def _ellipse(found: Measures) -> list[Point]:
    """Points of the ellipse in frame px: axes at a right angle in mm may be skewed there."""
    centre = np.array(found.ellipse.centre)
    major, minor = (np.array(ends[1]) - centre for ends in found.ellipse.ends)
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    points = centre + np.cos(angles)[:, None] * major + np.sin(angles)[:, None] * minor
    return [(float(x), float(y)) for x, y in points]


def _place(point: Point, scales: tuple[float, float]) -> tuple[int, int]:
    """In the picture, with a fraction: a frame's (0, 0) is the middle of its first pixel."""
    return (
        round(((point[0] + 0.5) * scales[0] - 0.5) * (1 << _FINE)),
        round(((point[1] + 0.5) * scales[1] - 0.5) * (1 << _FINE)),
    )


def _caliper(picture: NDArray[np.uint8], ends: Sequence[tuple[int, int]], line: int) -> None:
    first, last = (np.array(end, np.float64) for end in ends)
    length = float(np.linalg.norm(last - first))
    along = (last - first) / length if length else np.array([1.0, 0.0])
    bar = np.array([-along[1], along[0]]) * (5 * line << _FINE)
    strokes = [(first, last), (first - bar, first + bar), (last - bar, last + bar)]
    for ink, width in (((0, 0, 0), line + 2), (INK, line)):
        for start, end in strokes:
            a, b = ((round(float(x)), round(float(y))) for x, y in (start, end))
            cv2.line(picture, a, b, ink, width, cv2.LINE_AA, _FINE)
