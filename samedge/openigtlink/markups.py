"""POINT messages as prompts: lists of marks in mm, as 3D Slicer sends them, to px of an image.

A list (DEVICE_NAME) is one object; if its points name several groups, each group is one. A mark
whose name begins with "-", "outside", "background" or "negative" lies outside of its object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.openigtlink.image import first_pixel_matrix
from samedge.openigtlink.messages import Points

PLANE_MM = 5.0  # a mark farther from the image's plane is no click into it
MAX_LISTS = 64

_OUTSIDE = ("-", "outside", "background", "negative")
_SMALL = 1e-9  # mm2 of a pixel

Mark = tuple[float, float, bool]


@dataclass(frozen=True)
class Place:
    """Where an image lies.

    Attributes:
        matrix: float `[4, 4]`, as in an IMAGE message: the last column is the centre's place.
        size: (width, height) in px.
        axes: of the matrix, "RAS" or "LPS". Points are RAS.
        transform: `[4, 4]` from the image's frame to that of the points; None: they are the same.
    """

    matrix: NDArray[Any]
    size: tuple[int, int]
    axes: str = "RAS"
    transform: NDArray[Any] | None = None

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Points `[N, 3]` in mm as (x, y) in px and their distance from the plane in mm, `[N, 3]`.

        Pixel centres have whole numbers. None: the matrix, or the transform, has no inverse.
        """
        with np.errstate(all="ignore"):  # what is not finite is seen below, or by the caller
            try:
                if self.transform is not None:
                    inverse = np.linalg.inv(np.asarray(self.transform, np.float64))
                    points = points @ inverse[:3, :3].T + inverse[:3, 3]
                if self.axes == "LPS":
                    points = points * (-1.0, -1.0, 1.0)
                first = first_pixel_matrix(self.matrix, (*self.size, 1))
                across, down, origin = first[:3, 0], first[:3, 1], first[:3, 3]
                normal = np.cross(across, down)
                area = float(np.linalg.norm(normal))
                if not (np.isfinite(first).all() and area > _SMALL):
                    return None
                basis = np.stack([across, down, normal / area], axis=1)
                return np.linalg.solve(basis, (points - origin).T).T.astype(np.float64)
            except np.linalg.LinAlgError:
                return None


@dataclass(frozen=True)
class Marks:
    """Prompts of an image.

    Attributes:
        points: of each object (x, y, inside) in px.
        names: of the objects.
        left_out: marks that are not in the image, or not near its plane.
    """

    points: tuple[tuple[Mark, ...], ...] = ()
    names: tuple[str, ...] = ()
    left_out: int = 0


class Markups:
    """The newest points of every list."""

    def __init__(self) -> None:
        self._lists: dict[str, Points] = {}

    def take(self, device: str, points: Points) -> None:
        """Keep what came; a list without points is forgotten."""
        self._lists.pop(device, None)
        if points.points:
            while len(self._lists) >= MAX_LISTS:
                self._lists.pop(next(iter(self._lists)))
            self._lists[device] = points

    def on(self, place: Place) -> Marks:
        """All lists as prompts of an image. An object without a mark inside of it is left out."""
        objects: dict[tuple[str, str], list[Mark]] = {}
        groups: dict[str, set[str]] = {}
        left_out = 0
        for device, points in self._lists.items():
            positions = np.array([one.position for one in points.points], np.float64)
            found = place.pixels(positions)
            if found is None:
                left_out += len(positions)
                continue
            for one, (x, y, distance) in zip(points.points, found.tolist(), strict=True):
                if not _is_inside(place, x, y, distance):
                    left_out += 1
                    continue
                outside = one.name.strip().lower().startswith(_OUTSIDE)
                objects.setdefault((device, one.group), []).append((x, y, not outside))
                groups.setdefault(device, set()).add(one.group)
        kept = {key: marks for key, marks in objects.items() if any(mark[2] for mark in marks)}
        left_out += sum(len(marks) for key, marks in objects.items() if key not in kept)
        names = tuple(
            (group if len(groups[device]) > 1 and group.strip() else device).strip()[:32] or "marks"
            for device, group in kept
        )
        return Marks(tuple(tuple(marks) for marks in kept.values()), names, left_out)


def _is_inside(place: Place, x: float, y: float, distance: float) -> bool:
    width, height = place.size
    return -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5 and abs(distance) <= PLANE_MM
