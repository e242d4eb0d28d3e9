"""Closed outlines of objects, as polygons in mm `[N, 2]` (x, z)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samedge.simulate.draws import Draws

DIRECTIONS = 160
_ANGLES = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
Points = NDArray[np.float64]


def ellipse(x: float, z: float, a: float, b: float, turn: float = 0.0) -> Points:
    """An ellipse about (x, z) with half axes `a` and `b` mm, turned by `turn` radians."""
    return star(x, z, ellipse_radii(a, b, turn))


def ellipse_radii(a: float, b: float, turn: float = 0.0) -> NDArray[np.float64]:
    """An ellipse's radius in each of `DIRECTIONS` directions."""
    t = _ANGLES - turn
    return np.asarray(a * b / np.hypot(b * np.cos(t), a * np.sin(t)))


def star(x: float, z: float, radii: NDArray[np.float64]) -> Points:
    """The polygon that has these radii about (x, z), so that no part of it is cut off."""
    return np.stack([x + radii * np.cos(_ANGLES), z + radii * np.sin(_ANGLES)], 1)


def waves(draws: Draws, highest: int) -> NDArray[np.float64]:
    """A random closed curve within -1..1, `[DIRECTIONS]`.

    Args:
        draws: of the waves' heights and phases.
        highest: number of waves around the outline; lower numbers are stronger.
    """
    wave = np.zeros(DIRECTIONS)
    for k in range(2, highest + 1):
        wave += draws.normal(1 / k**0.8) * np.cos(k * _ANGLES + draws.between(0, 2 * np.pi))
    return wave / max(float(np.abs(wave).max()), 1e-6)


def normals(polygon: Points, closed: bool = True) -> Points:
    """Unit normals at the corners of a polygon or an open line, all on the same side."""
    along = np.roll(polygon, -1, 0) - np.roll(polygon, 1, 0)
    if not closed:
        along[0], along[-1] = polygon[1] - polygon[0], polygon[-1] - polygon[-2]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    return np.stack([along[:, 1], -along[:, 0]], 1) / length


def area(polygon: Points) -> float:
    """mm2; negative if the polygon runs the other way round."""
    following = np.roll(polygon, -1, 0)
    return float((polygon[:, 0] * following[:, 1] - following[:, 0] * polygon[:, 1]).sum() / 2)


def grown(polygon: Points, by: float) -> Points:
    """The polygon with its corners moved `by` mm outwards."""
    return polygon + normals(polygon) * (by if area(polygon) > 0 else -by)


def dense(corners: Points, steps: int) -> Points:
    """The polygon with `steps` points along each side."""
    t = (np.arange(steps) / steps)[None, :, None]
    return (corners[:, None] * (1 - t) + np.roll(corners, -1, 0)[:, None] * t).reshape(-1, 2)
