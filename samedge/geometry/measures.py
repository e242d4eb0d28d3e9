"""What a sonographer measures on a mask: area, outline, ellipse, and two diameters.

Everything is computed at the places where pixels are, (x, y) times their spacing, so that unequal
spacings are no special case. Without a spacing the unit is px.

* The **ellipse** has the mask's own area moments up to the second order: for an elliptical mask it
  is that ellipse, and ragged edges hardly move it. Its circumference is what HC (head
  circumference) and AC are in obstetrics.
* The **perimeter** is that of the mask's own outline, by Cauchy and Crofton: crossings of the
  outline with lines in sixteen directions. A sum of pixel edges would be too long by up to 41 %,
  whatever the resolution.
* **Diameters** are between points of the outline halfway between pixels inside and outside, as
  calipers are set on an edge: the longest one, and the longest one across it at a right angle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Array = NDArray[np.float64]
_DIRECTIONS = 16  # of lines along which crossings are counted
_FARTHEST = 7  # px in a row or column, from one of a line's pixels to the next


@dataclass(frozen=True)
class Ellipse:
    """An ellipse.

    Attributes:
        centre: (x, y), px.
        major, minor: its axes from end to end, in mm or px.
        ends: the ends of the major and of the minor axis, (x, y), px.
    """

    centre: Point
    major: float
    minor: float
    ends: tuple[tuple[Point, Point], tuple[Point, Point]]

    @property
    def circumference(self) -> float:
        """By Ramanujan's second formula: wrong by less than 1e-4 for any sensible shape."""
        a, b = self.major / 2, self.minor / 2
        h = ((a - b) / (a + b)) ** 2
        return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


@dataclass(frozen=True)
class Diameter:
    """A distance between two points of the outline.

    Attributes:
        length: in mm or px.
        ends: (x, y) of both, px.
    """

    length: float
    ends: tuple[Point, Point]


@dataclass(frozen=True)
class Measures:
    """What can be measured on one mask.

    Attributes:
        unit: "mm" (areas in mm2) or "px".
        area: of all its pixels.
        perimeter: of its outline, holes included.
        ellipse: with its moments.
        longest: the longest diameter; it may cross parts that do not belong to the mask.
        across: the longest one at a right angle to it.
        parts: pieces that do not touch each other, not even at corners: with several, all but the
            area mean little.
    """

    unit: str
    area: float
    perimeter: float
    ellipse: Ellipse
    longest: Diameter
    across: Diameter
    parts: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to what a pixel can tell; places are (x, y) in frame px."""
        ellipse = self.ellipse
        return {
            "unit": self.unit,
            "area": round(self.area, 3),
            "perimeter": round(self.perimeter, 3),
            "ellipse": {
                "major": round(ellipse.major, 3),
                "minor": round(ellipse.minor, 3),
                "circumference": round(ellipse.circumference, 3),
                "centre": _rounded(ellipse.centre),
                "major_ends": [_rounded(end) for end in ellipse.ends[0]],
                "minor_ends": [_rounded(end) for end in ellipse.ends[1]],
            },
            "longest": _diameter_json(self.longest),
            "across": _diameter_json(self.across),
            "parts": self.parts,
        }


def measure_mask(
    mask: NDArray[np.uint8], spacing: tuple[float, float] | None = None
) -> Measures | None:
    """Measure a mask.

    Args:
        mask: `[H, W]`, 0 or 1.
        spacing: (row, column) distance of neighbouring pixels in mm; None: everything is in px.

    Returns:
        None for an empty mask.
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(cols[0])
    inner = mask[top : rows[-1] + 1, left : cols[-1] + 1] != 0
    padded = np.pad(inner, 1)
    step_y, step_x = spacing or (1.0, 1.0)
    scale = np.array([step_x, step_y])
    offset = np.array([left - 1.0, top - 1.0])  # of the padded part in the frame
    # Which of several equally long diameters is taken must not depend on the unit.
    longest, across = (ends * scale.max() for ends in _diameters(padded, scale / scale.max()))
    return Measures(
        unit="px" if spacing is None else "mm",
        area=float(np.count_nonzero(inner)) * step_x * step_y,
        perimeter=_perimeter(padded, scale),
        ellipse=_ellipse(padded, scale, offset),
        longest=_diameter(longest, scale, offset),
        across=_diameter(across, scale, offset),
        parts=_parts(padded),
    )


def _rounded(point: Point) -> list[float]:
    return [round(point[0], 2), round(point[1], 2)]


def _diameter_json(diameter: Diameter) -> dict[str, Any]:
    return {
        "length": round(diameter.length, 3),
        "ends": [_rounded(end) for end in diameter.ends],
    }


def _ellipse(padded: NDArray[np.bool_], scale: Array, offset: Array) -> Ellipse:
    y, x = np.nonzero(padded)
    points = np.stack([x, y], axis=1) * scale
    centre = points.mean(axis=0)
    away = points - centre
    # A pixel is a square, and has a variance of its own: without it thin masks have no width.
    moments = away.T @ away / len(points) + np.diag(scale**2 / 12)
    values, vectors = np.linalg.eigh(moments)
    halves = 2 * np.sqrt(values)  # of a filled ellipse the variance along an axis is (a / 2)^2
    ends = [
        tuple(_frame(centre + sign * halves[i] * vectors[:, i], scale, offset) for sign in (-1, 1))
        for i in (1, 0)
    ]
    major, minor = ((e[0], e[1]) for e in ends)
    return Ellipse(
        _frame(centre, scale, offset), float(2 * halves[1]), float(2 * halves[0]), (major, minor)
    )


def _perimeter(padded: NDArray[np.bool_], scale: Array) -> float:
    """Cauchy and Crofton: half the integral, over directions and lines, of crossings."""
    steps = _steps(scale / scale.max())  # the same in any unit
    angles = _angles(steps, scale)
    # What each direction stands for: half the way to both of its neighbours.
    shares = (np.roll(angles, -1) - np.roll(angles, 1)) % np.pi / 2
    margin = max(max(abs(x), abs(y)) for x, y in steps)
    wide = np.pad(padded, margin)
    total = 0.0
    for (x, y), share in zip(steps, shares, strict=True):
        moved = np.roll(wide, (y, x), axis=(0, 1))
        crossings = np.count_nonzero(moved != wide)
        distance = scale[0] * scale[1] / math.hypot(x * scale[0], y * scale[1])
        total += float(share) * distance * crossings
    return float(total) / 2


def _steps(scale: Array) -> list[tuple[int, int]]:
    """Steps (x, y) in px whose directions, in units of `scale`, are spread evenly, by angle.

    With unequal spacings the same steps would leave wide gaps between directions.
    """
    reach = range(-_FARTHEST, _FARTHEST + 1)
    known = [(x, y) for x in reach for y in reach if math.gcd(x, y) == 1 and (y > 0 or x > y == 0)]
    angles, lengths = _angles(known, scale), np.hypot(*np.array(known).T)
    chosen = set()
    for wanted in np.arange(_DIRECTIONS) * np.pi / _DIRECTIONS:
        away = np.abs((angles - wanted + np.pi / 2) % np.pi - np.pi / 2)
        chosen.add(known[int(np.argmin(away + 0.004 * lengths))])  # short steps, if they will do
    return sorted(chosen, key=lambda step: float(_angles([step], scale)[0]))


def _angles(steps: list[tuple[int, int]], scale: Array) -> Array:
    """Of steps, in units of `scale`, 0 to pi."""
    x, y = (np.array(steps, np.float64) * scale).T
    angles: Array = np.arctan2(y, x) % np.pi
    return angles


def _diameters(padded: NDArray[np.bool_], scale: Array) -> tuple[Array, Array]:
    """Ends [2, 2] of the longest diameter and of the longest one across it, in units of `scale`."""
    hull = _hull(_outline(padded) * scale)
    apart = hull[:, None] - hull[None]
    i, j = np.unravel_index(np.argmax((apart**2).sum(axis=2)), (len(hull), len(hull)))
    first, last = hull[i], hull[j]
    along = (last - first) / np.linalg.norm(last - first)
    return np.stack([first, last]), _widest(hull, along)


def _widest(hull: Array, along: Array) -> Array:
    """Ends of the longest chord of a convex polygon at a right angle to `along`: at one of its
    corners, because the width is concave along the way."""
    normal = np.array([-along[1], along[0]])
    t, s = hull @ along, hull @ normal
    best, ends = -1.0, (0.0, 0.0, 0.0)
    following = np.roll(np.arange(len(hull)), -1)
    for place in t:
        low, high = np.minimum(t, t[following]), np.maximum(t, t[following])
        met = np.flatnonzero((low <= place) & (place <= high))
        span = t[following][met] - t[met]
        flat = span == 0
        share = np.where(flat, 0.0, (place - t[met]) / np.where(flat, 1.0, span))
        at = s[met] + share * (s[following][met] - s[met])
        at = np.concatenate([at, s[following][met][flat]])
        if at.max() - at.min() > best:
            best, ends = at.max() - at.min(), (place, at.min(), at.max())
    place, low_s, high_s = ends
    return np.stack([place * along + low_s * normal, place * along + high_s * normal])


def _outline(padded: NDArray[np.bool_]) -> Array:
    """Points [n, 2], (x, y), halfway between a pixel inside and its neighbour outside."""
    across_y, across_x = np.nonzero(padded[:, 1:] != padded[:, :-1])
    down_y, down_x = np.nonzero(padded[1:] != padded[:-1])
    return np.concatenate(
        [np.stack([across_x + 0.5, across_y], 1), np.stack([down_x, down_y + 0.5], 1)]
    ).astype(np.float64)


def _hull(points: Array) -> Array:
    """Corners of the convex hull, counter-clockwise (Andrew's monotone chain)."""
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))].tolist()

    def half(way: list[list[float]]) -> list[list[float]]:
        kept: list[list[float]] = []
        for x, y in way:
            while len(kept) > 1:
                (x0, y0), (x1, y1) = kept[-2], kept[-1]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                kept.pop()
            kept.append([x, y])
        return kept[:-1]

    return np.array(half(ordered) + half(ordered[::-1]))


def _parts(padded: NDArray[np.bool_]) -> int:
    """Connected pieces, corners included."""
    import cv2

    count, _ = cv2.connectedComponents(padded.astype(np.uint8), connectivity=8)
    return int(count) - 1


def _diameter(ends: Array, scale: Array, offset: Array) -> Diameter:
    first, last = (_frame(end, scale, offset) for end in ends)
    return Diameter(float(np.linalg.norm(ends[1] - ends[0])), (first, last))


def _frame(point: Array, scale: Array, offset: Array) -> Point:
    x, y = point / scale + offset
    return float(x), float(y)
