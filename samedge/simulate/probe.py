"""The probe: its beams in the body, and where they stand in the picture.

Positions in the body are in mm: x to the right, z down from the middle of the probe's surface.
Maps of beams are `[samples, lines]`: one row per depth, one column per beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samedge.simulate.draws import Draws, Field

SAMPLES, LINES = 400, 144
Kind = Literal["linear", "convex", "sector"]
KINDS: tuple[Kind, ...] = ("linear", "convex", "sector")


@dataclass(frozen=True)
class Probe:
    """Beams of a linear, convex or phased (sector) array.

    Attributes:
        kind: "linear", "convex" or "sector".
        radius: mm from the point where the beams meet to the surface; 0 for linear arrays.
        half: half the opening: radians, or mm for linear arrays.
        depth: mm below the surface.
        frequency: MHz.
        samples, lines: size of the maps.
    """

    kind: Kind
    radius: float
    half: float
    depth: float
    frequency: float
    samples: int = SAMPLES
    lines: int = LINES

    @property
    def pitch(self) -> float:
        """mm between two samples of a beam."""
        return self.depth / self.samples

    def beams(self) -> tuple[Field, Field]:
        """x and z in mm of every sample of every beam, `[samples, lines]`."""
        down = ((np.arange(self.samples, dtype=np.float32) + 0.5) * self.pitch)[:, None]
        across = np.linspace(-self.half, self.half, self.lines, dtype=np.float32)[None]
        if self.kind == "linear":
            shape = (self.samples, self.lines)
            return np.broadcast_to(across, shape), np.broadcast_to(down, shape)
        far = down + np.float32(self.radius)
        return far * np.sin(across), far * np.cos(across) - np.float32(self.radius)

    def place(self, x: Field, z: Field) -> tuple[Field, Field]:
        """Column and row of the maps at positions in mm; outside of them beyond their edges."""
        if self.kind == "linear":
            across, down = x, z
        else:
            below = z + np.float32(self.radius)
            across, down = np.arctan2(x, below), np.hypot(x, below) - np.float32(self.radius)
        column = (across + self.half) * ((self.lines - 1) / (2 * self.half))
        return np.asarray(column, np.float32), np.asarray(down / self.pitch - 0.5, np.float32)

    def extent(self) -> tuple[float, float, float, float]:
        """x0, z0, x1, z1 in mm of the smallest upright box around the beams."""
        if self.kind == "linear":
            return -self.half, 0.0, self.half, self.depth
        far = self.radius + self.depth
        side = far * np.sin(min(self.half, np.pi / 2))
        top = self.radius * np.cos(self.half) - self.radius
        return -float(side), float(top), float(side), self.depth

    def width_at(self, z: float) -> float:
        """mm from the axis to the outermost beam at depth `z` below the surface."""
        return self.half if self.kind == "linear" else float((self.radius + z) * np.sin(self.half))


@dataclass(frozen=True)
class Placement:
    """Where the body stands in the picture: `px = left + x * per_x`, `py = top + z * per_y`.

    Attributes:
        size: height and width of the picture, px.
        left, top: px of the middle of the probe's surface.
        per_x, per_y: px per mm; they differ where a wide frame was squeezed into a square.
    """

    size: tuple[int, int]
    left: float
    top: float
    per_x: float
    per_y: float

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """px `[N, 2]` (x, y) of points in mm `[N, 2]` (x, z)."""
        scale = np.asarray([self.per_x, self.per_y])
        return np.asarray(np.asarray([self.left, self.top]) + points * scale, np.float64)

    def body(self) -> tuple[Field, Field]:
        """x and z in mm of all pixels' centres, `[H, 1]` and `[1, W]` spread to `[H, W]`."""
        height, width = self.size
        x = (np.arange(width, dtype=np.float32) - np.float32(self.left)) / np.float32(self.per_x)
        z = (np.arange(height, dtype=np.float32) - np.float32(self.top)) / np.float32(self.per_y)
        return np.broadcast_to(x[None], self.size), np.broadcast_to(z[:, None], self.size)


def draw_probe(draws: Draws, kind: Kind, depth: tuple[float, float]) -> Probe:
    """A probe of a kind with a depth from a range, in mm, and a frequency that suits it."""
    d = draws.between(*depth)
    if kind == "linear":
        half = min(draws.between(18, 26), d * draws.between(0.45, 0.75))
        return Probe(kind, 0.0, half, d, draws.between(6, 12))
    if kind == "convex":
        half = np.radians(draws.between(24, 36))
        return Probe(kind, draws.between(38, 62), float(half), d, draws.between(2.5, 5))
    half = np.radians(draws.between(32, 47))
    return Probe(kind, draws.between(1, 12), float(half), d, draws.between(1.8, 3.5))


def draw_placement(draws: Draws, probe: Probe, size: tuple[int, int]) -> Placement:
    """Put a probe's beams into a picture, as large as they may be or a good deal smaller.

    Pictures that are about square are squeezed from wider ones at times, as networks that take
    squares see the usual 4:3 frames.
    """
    height, width = size
    x0, z0, x1, z1 = probe.extent()
    square = 0.8 < width / height < 1.25
    squeeze = draws.pick((1.0, 0.75, draws.between(0.65, 1.0)), (3, 4, 3)) if square else 1.0
    fill = draws.between(0.68, 1.0)
    if draws.chance(0.25):
        fill = draws.between(0.97, 1.12)  # an image that was cropped to its beams
    per_y = fill * min(height / (z1 - z0), width / squeeze / (x1 - x0))
    per_x = per_y * squeeze
    room_x, room_y = width - per_x * (x1 - x0), height - per_y * (z1 - z0)
    left = room_x * (0.5 + draws.normal(0.12)) - per_x * x0
    top = room_y * draws.between(0.1, 0.7) - per_y * z0
    return Placement(size, left, top, per_x, per_y)
