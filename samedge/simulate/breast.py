"""Breast tissue with a mass: fat lobules, glands, muscle, and borders as BI-RADS names them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.simulate.draws import Draws, Field, smoothstep
from samedge.simulate.lesions import LesionKind, add_rib, paint
from samedge.simulate.medium import Medium
from samedge.simulate.outline import (
    DIRECTIONS,
    Points,
    ellipse_radii,
    grown,
    normals,
    star,
    waves,
)
from samedge.simulate.probe import draw_probe
from samedge.simulate.scene import Texture, layers

Range = tuple[float, float]


@dataclass(frozen=True)
class MassKind:
    """What a mass of one kind is drawn from.

    Attributes:
        lesion: echoes, loss, border and shape, as for the lesions of `lesions.py`.
        border: "smooth", "lobulated", "angular", "spiculated" or "ragged".
        halo: how likely a bright, badly defined zone around it is.
        uneven: how likely it has parts of other brightness.
    """

    lesion: LesionKind
    border: str
    halo: float
    uneven: float


MASSES: dict[str, MassKind] = {
    "mass-oval": MassKind(
        LesionKind(
            (-20, -5), (0.2, 0.55), (0.5, 3), (0.0, 0.06), (2, 3), (0.2, 0.9), (0, 1.6), (0.4, 0.9)
        ),
        "smooth", 0.1, 0.25,
    ),
    "mass-lobulated": MassKind(
        LesionKind(
            (-20, -5), (0.3, 0.9), (0.5, 4), (0.03, 0.1), (2, 4), (0.2, 1.2), (0, 1.2), (0.45, 1.2)
        ),
        "lobulated", 0.25, 0.4,
    ),
    "mass-angular": MassKind(
        LesionKind(
            (-24, -8), (0.5, 1.5), (1, 5), (0.05, 0.15), (2, 5), (0.3, 1.6), (0, 0.5), (0.6, 1.5)
        ),
        "angular", 0.45, 0.5,
    ),
    "mass-spiculated": MassKind(
        LesionKind(
            (-26, -9), (0.6, 1.8), (1, 5), (0.05, 0.18), (3, 7), (0.4, 1.8), (0, 0.3), (0.6, 1.5)
        ),
        "spiculated", 0.6, 0.5,
    ),
    "mass-shadowing": MassKind(
        LesionKind(
            (-26, -10), (1.2, 3.2), (1, 5), (0.05, 0.2), (3, 8), (0.5, 2.2), (0, 0.3), (0.6, 1.4)
        ),
        "ragged", 0.6, 0.5,
    ),
    "mass-isoechoic": MassKind(
        LesionKind(
            (-6, -2), (0.35, 0.7), (0.5, 3), (0.0, 0.1), (2, 4), (0.2, 1.2), (0.4, 1.8), (0.4, 1.0)
        ),
        "smooth", 0.1, 0.2,
    ),
    "mass-cyst": MassKind(
        LesionKind(
            (-60, -24), (0.0, 0.2), (0, 1.5), (0, 0.06), (2, 4), (0.1, 0.6), (0.3, 2.5), (0.5, 1.1)
        ),
        "smooth", 0.05, 0.3,
    ),
}  # fmt: skip


class BreastScene:
    """One mass under skin and fat, in glandular tissue, above the muscle of the chest.

    The label is the mass itself, without its halo and the tips of its spicules, as it is outlined
    in reports.

    Args:
        draws: of everything.
        kind: a key of `MASSES`.
    """

    dark = False
    target = "mass"

    def __init__(self, draws: Draws, kind: str) -> None:
        self.kind, self._draws = kind, draws
        self.probe = draw_probe(draws, "linear", (24.0, 60.0))
        span = min(self.probe.depth, 2 * self.probe.half)
        self._size = span * draws.between(0.09, 0.34)
        z = self.probe.depth * draws.between(0.22, 0.66)
        self._place = (self.probe.half * draws.normal(0.28), max(z, self._size * 0.9 + 2))
        self._outline = _border(draws, MASSES[kind], self._place, self._size)

    def outline(self, time: float) -> Points:
        """See `Scene.outline`."""
        return self._outline

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`: nothing moves."""
        return x, z

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        draws, probe, kind = self._draws, self.probe, MASSES[self.kind]
        medium, texture = Medium.of(probe), Texture.draw(draws, probe)
        self._paint_tissue(medium, texture)
        if draws.chance(kind.halo):
            wide = self._size * draws.between(0.08, 0.4)
            zone = medium.area(grown(self._outline, wide / 2), wide)
            medium.echo += zone * np.float32(draws.between(2, 9))
        if kind.border == "spiculated":
            self._paint_spicules(medium)
        before = medium.loss.copy()
        paint(draws, medium, texture, kind.lesion, self._outline)
        if draws.chance(kind.uneven):
            self._paint_parts(medium)
        if draws.chance(0.35):
            _fade_shadow(draws, medium, before)
        if draws.chance(0.1):
            add_rib(draws, medium)
        return medium

    def _paint_tissue(self, medium: Medium, texture: Texture) -> None:
        """Skin, fat in lobules, a band of glands, fat again, muscle with its streaks."""
        draws, probe = self._draws, self.probe
        depth = ((np.arange(probe.samples, dtype=np.float32) + 0.5) * probe.pitch)[:, None]
        medium.echo += draws.between(0.5, 3.0) * texture.clumps
        layers(draws, medium, probe.depth * draws.between(0.1, 0.3), texture)
        top = probe.depth * draws.between(0.08, 0.35)
        bottom = probe.depth * draws.between(0.55, 1.1)
        wander = 0.06 * probe.depth
        upper = top + wander * draws.curve(probe.lines, draws.between(2, 6))[None]
        lower = bottom + wander * draws.curve(probe.lines, draws.between(1, 4))[None]
        glands = _step((depth - upper) / 2) * _step((lower - depth) / 2)
        fat = draws.between(-14, -3)
        lobules = _lobules(draws, probe.samples, probe.lines)
        medium.echo += (1 - glands) * (np.float32(fat) + draws.between(2, 9) * lobules)
        cells = draws.between(12, 30), draws.between(5, 14)
        ducts = draws.smooth((probe.samples, probe.lines), cells)
        medium.echo += glands * (draws.between(-2, 5) + draws.between(1, 5) * ducts)
        muscle = _step((depth - lower - 0.08 * probe.depth) / 1.5)
        medium.echo += muscle * (draws.between(-5, 3) + draws.between(1, 4) * texture.streaks)
        if draws.chance(0.6):
            edge = lower + np.float32(0.08 * probe.depth)
            ridge = np.maximum(1 - np.abs(depth - edge) / np.float32(draws.between(0.4, 1.2)), 0)
            medium.shine(ridge * np.maximum(1 + 0.6 * draws.curve(probe.lines, 8), 0)[None], 2.0)

    def _paint_spicules(self, medium: Medium) -> None:
        """Strands from the border into the tissue, dark or bright."""
        draws = self._draws
        outward = normals(self._outline)
        if float((outward * (self._outline - self._outline.mean(0))).sum()) < 0:
            outward = -outward
        dark = draws.chance(0.6)
        for _ in range(draws.integer(5, 18)):
            at = draws.integer(0, DIRECTIONS - 1)
            long = self._size * draws.between(0.15, 0.6)
            bend = draws.normal(0.25) * long * outward[at][::-1]
            t = np.linspace(-0.1, 1, 8)[:, None]
            points = self._outline[at] + long * t * outward[at] + bend * t**2
            strand = medium.stroke(points, draws.between(0.3, 0.9) * self._size / 8, 0.7, soft=True)
            echo = draws.between(-14, -5) if dark else draws.between(2, 7)
            medium.echo += strand * np.float32(echo)

    def _paint_parts(self, medium: Medium) -> None:
        """Brighter and darker parts, clefts and debris, all within the border."""
        draws = self._draws
        whole = medium.area(self._outline, 0.4)
        for _ in range(draws.integer(1, 4)):
            size = self._size * draws.between(0.15, 0.5)
            x, z = (p + draws.normal(0.4) * self._size for p in self._place)
            radii = ellipse_radii(size, size * draws.between(0.3, 1.0), draws.between(0, np.pi))
            part = medium.area(star(x, z, radii * (1 + 0.2 * waves(draws, 5))), size * 0.3) * whole
            medium.echo += part * np.float32(draws.between(-12, 9))


def _lobules(draws: Draws, rows: int, columns: int) -> Field:
    """Septa around cells of fat: about 1 on the septa and 0 between them, `[rows, columns]`."""
    count = draws.integer(14, 60)
    y, x = draws.rng.uniform(0, rows, count), draws.rng.uniform(0, columns, count)
    flat = draws.between(1.2, 3.0)
    ys = np.arange(0, rows, 4, dtype=np.float32)[:, None, None] / np.float32(rows)
    xs = np.arange(0, columns, 2, dtype=np.float32)[None, :, None] / np.float32(columns)
    bend = 0.05 * draws.smooth((ys.shape[0], xs.shape[1]), (6, 6))[..., None]
    down = (ys + bend - (y / rows).astype(np.float32)) * np.float32(flat)
    away = np.hypot(down, xs - (x / columns).astype(np.float32))
    near = np.partition(away, 1, axis=2)
    gap = np.asarray(near[..., 1] - near[..., 0], np.float32)
    septa = np.exp(-gap / np.float32(draws.between(0.01, 0.03)))
    size = (columns, rows)
    return np.asarray(cv2.resize(septa, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _step(values: NDArray[np.floating]) -> Field:
    return smoothstep(np.asarray(values, np.float32))


def _fade_shadow(draws: Draws, medium: Medium, before: Field) -> None:
    """Let the beams recover behind the mass, so that a shadow ends as it does in deep tissue."""
    probe = medium.probe
    extra = np.maximum(medium.loss - before, 0).sum(0, keepdims=True)
    rows = np.flatnonzero((medium.loss > before).any(1))
    if not len(rows) or rows[-1] + 10 >= probe.samples:
        return
    start = rows[-1] + 1
    share = np.float32(draws.between(0.2, 0.8))
    medium.loss[start:] -= share * extra / np.float32(probe.samples - start)


def _border(draws: Draws, kind: MassKind, place: tuple[float, float], size: float) -> Points:
    lesion = kind.lesion
    flat = draws.between(*lesion.flat)
    radii = ellipse_radii(size / flat**0.5, size * flat**0.5, draws.normal(0.35))
    radii = radii * (1 + draws.between(*lesion.wave) * waves(draws, draws.integer(*lesion.highest)))
    angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    if kind.border == "lobulated":
        phase = angles + 0.5 * np.sin(angles + draws.between(0, 2 * np.pi))
        bulges = np.abs(np.sin(draws.integer(2, 8) / 2 * phase + draws.between(0, np.pi)))
        radii = radii * (1 + draws.between(0.05, 0.22) * (bulges - 0.6))
    elif kind.border == "angular":
        radii = _between_corners(draws, radii, angles)
    elif kind.border in ("spiculated", "ragged"):
        for _ in range(draws.integer(3, 10)):
            off = np.angle(np.exp(1j * (angles - draws.between(0, 2 * np.pi))))
            wide = draws.between(0.06, 0.25)
            radii = radii * (1 + draws.between(-0.15, 0.4) * np.exp(-np.abs(off) / wide))
    return star(*place, radii)


def _between_corners(
    draws: Draws, radii: NDArray[np.float64], angles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Radii of the polygon between a few of the corners that `radii` has."""
    count = draws.integer(5, 10)
    at = np.sort(draws.rng.choice(DIRECTIONS, count, replace=False))
    jitter = 1 + 0.2 * draws.rng.standard_normal(count)
    corners = (radii[at] * np.clip(jitter, 0.7, 1.4))[:, None] * np.stack(
        [np.cos(angles[at]), np.sin(angles[at])], 1
    )
    out = np.empty(DIRECTIONS)
    for i in range(count):
        a, b = corners[i], corners[(i + 1) % count]
        span = np.arange(at[i], at[(i + 1) % count] + (DIRECTIONS if i == count - 1 else 0))
        t = angles[span % DIRECTIONS]
        edge = b - a
        cross = np.cos(t) * edge[1] - np.sin(t) * edge[0]
        flat = a[0] * edge[1] - a[1] * edge[0]
        distance = np.where(np.abs(cross) > 1e-6, flat / np.where(cross == 0, 1, cross), 0)
        out[span % DIRECTIONS] = np.clip(distance, 0.35 * radii.min(), 1.5 * radii.max())
    return out
