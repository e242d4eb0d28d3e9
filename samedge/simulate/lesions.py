"""Lesions in layered tissue: cysts and solid ones, smooth and irregular, clear and faint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samedge.simulate.draws import Draws, Field
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points, ellipse_radii, grown, star, waves
from samedge.simulate.probe import KINDS as PROBES
from samedge.simulate.probe import draw_probe
from samedge.simulate.scene import Texture, keep_out, layers

Range = tuple[float, float]


@dataclass(frozen=True)
class LesionKind:
    """Ranges that a lesion of one kind is drawn from.

    Attributes:
        echo: dB relative to the tissue around it.
        loss: dB per cm and MHz; tissue has 0.5. With less there is enhancement behind, with more
            a shadow.
        uneven: dB, its texture.
        wave: height of the waves of its border, as a share of the radius.
        highest: number of those waves.
        soft: mm, width of its border.
        rim: amplitude of its capsule.
        flat: height over width.
    """

    echo: Range
    loss: Range
    uneven: Range
    wave: Range
    highest: tuple[int, int]
    soft: Range
    rim: Range
    flat: Range


LESIONS: dict[str, LesionKind] = {
    "cyst": LesionKind(
        (-60, -28), (0.0, 0.12), (0, 1), (0, 0.1), (2, 4), (0.1, 0.6), (0.6, 3), (0.55, 1.05)
    ),
    "hypoechoic": LesionKind(
        (-17, -6), (0.3, 0.6), (0.5, 3), (0.02, 0.16), (2, 6), (0.2, 1.2), (0, 1.6), (0.5, 1.0)
    ),
    "hyperechoic": LesionKind(
        (5, 12), (0.45, 0.7), (0.5, 3), (0.02, 0.15), (2, 6), (0.2, 1.2), (0, 1), (0.45, 1.0)
    ),
    "irregular": LesionKind(
        (-20, -8), (0.7, 1.7), (1, 4), (0.12, 0.3), (5, 13), (0.5, 2.0), (0, 0.5), (0.7, 1.4)
    ),
    "complex": LesionKind(
        (-45, -16), (0.05, 0.4), (1, 3), (0.02, 0.12), (2, 5), (0.2, 0.8), (0.5, 2.5), (0.55, 1.1)
    ),
    "faint": LesionKind(
        (-6, -2.5), (0.4, 0.6), (0.5, 2), (0.02, 0.1), (2, 4), (0.3, 1.5), (0.4, 1.6), (0.55, 1.0)
    ),
}
_DEPTHS = {"linear": (28.0, 62.0), "convex": (80.0, 170.0), "sector": (70.0, 150.0)}


class LesionScene:
    """One labelled lesion, and perhaps others that are not.

    Args:
        draws: of everything.
        kind: a key of `LESIONS`.
    """

    dark = False
    target = "lesion"

    def __init__(self, draws: Draws, kind: str) -> None:
        self.kind, self._draws = kind, draws
        shape = draws.pick(PROBES, (6, 3, 1))
        self.probe = draw_probe(draws, shape, _DEPTHS[shape])
        lesion = LESIONS[kind]
        span = min(self.probe.depth, 2 * self.probe.width_at(self.probe.depth / 2))
        self._size = span * draws.between(0.09, 0.25)
        z = self.probe.depth * draws.between(0.28, 0.68)
        x = self.probe.width_at(z) * draws.normal(0.3)
        self._place = (x, max(z, self._size * 1.2 + 3))
        self._outline = _draw_outline(draws, lesion, self._place, self._size)

    def outline(self, time: float) -> Points:
        """See `Scene.outline`."""
        return self._outline

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`: nothing moves."""
        return x, z

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        draws, probe = self._draws, self.probe
        medium, texture = Medium.of(probe), Texture.draw(draws, probe)
        medium.echo += draws.between(0.5, 3.5) * texture.clumps
        layers(draws, medium, probe.depth * draws.between(0.4, 1.0), texture)
        placed = [(*self._place, 1.25 * self._size)]
        for _ in range(draws.pick((0, 1, 2, 4), (4, 3, 2, 1))):
            self._add_other(medium, texture, placed)
        paint(draws, medium, texture, LESIONS[self.kind], self._outline)
        if self.kind == "complex":
            self._add_inside(medium)
        if draws.chance(0.1):
            add_rib(draws, medium)
        return medium

    def _add_other(
        self, medium: Medium, texture: Texture, placed: list[tuple[float, float, float]]
    ) -> None:
        """A smaller lesion elsewhere, if there is room."""
        draws, probe = self._draws, self.probe
        size = self._size * draws.between(0.2, 0.8)
        z = probe.depth * draws.between(0.1, 0.95)
        x = probe.width_at(z) * draws.between(-1, 1)
        if keep_out(x, z, 1.25 * size, placed):
            placed.append((x, z, 1.25 * size))
            kind = LESIONS[draws.pick(tuple(LESIONS))]
            paint(draws, medium, texture, kind, _draw_outline(draws, kind, (x, z), size))

    def _add_inside(self, medium: Medium) -> None:
        """Septa and solid parts of a complex cyst, all within its border."""
        draws = self._draws
        whole = medium.area(self._outline)
        x, z = self._place
        for _ in range(draws.integer(0, 2)):
            turn, shift = draws.between(0, np.pi), draws.normal(0.3) * self._size
            along = np.linspace(-1.5, 1.5, 24)[:, None] * self._size
            direction = np.asarray([[np.cos(turn), np.sin(turn)]])
            across = np.asarray([[-np.sin(turn), np.cos(turn)]])
            points = np.asarray([[x, z]]) + along * direction + shift * across
            septum = medium.stroke(points, draws.between(0.3, 0.9), 0.35) * whole
            medium.shine(septum, draws.between(0.5, 1.6))
        if draws.chance(0.7):
            radii = ellipse_radii(self._size * 0.4, self._size * draws.between(0.2, 0.5))
            solid = star(
                x + draws.normal(0.35) * self._size, z + draws.normal(0.35) * self._size, radii
            )
            medium.fill(medium.area(solid, 0.6) * whole, draws.between(-10, 2))


def _draw_outline(
    draws: Draws, kind: LesionKind, place: tuple[float, float], size: float
) -> Points:
    flat = draws.between(*kind.flat)
    radii = ellipse_radii(size / flat**0.5, size * flat**0.5, draws.normal(0.3))
    wave = draws.between(*kind.wave) * waves(draws, draws.integer(*kind.highest))
    return star(*place, radii * (1 + wave))


def paint(
    draws: Draws, medium: Medium, texture: Texture, kind: LesionKind, outline: Points
) -> None:
    """A lesion with its capsule, its halo and the shadows of its edges."""
    probe = medium.probe
    echo = draws.between(*kind.echo)
    if kind.echo[1] < 0 and kind.echo[0] > -7 and draws.chance(0.3):
        echo = -echo  # faintly bright instead of faintly dark
    if draws.chance(0.2) and kind.soft[1] > 1:
        halo = medium.area(grown(outline, draws.between(0.8, 2.5)), 2.0)
        medium.echo += halo * np.float32(draws.between(-5, 6))
    inside = medium.area(outline, draws.between(*kind.soft) * probe.depth / 50)
    around = float((medium.echo * inside).sum() / max(float(inside.sum()), 1.0))
    uneven = draws.between(*kind.uneven) * np.roll(texture.clumps, 37, axis=1)
    medium.fill(inside, np.float32(around + echo) + uneven, draws.between(*kind.loss))
    rim = draws.between(*kind.rim)
    if rim > 0.3:
        width = draws.between(0.4, 1.0) * probe.depth / 70
        medium.shine(medium.stroke(outline, width, draws.between(0.02, 0.4), closed=True), rim)
    if draws.chance(0.4):
        _edge_shadows(draws, medium, outline)
    if kind.echo[1] > -9 and draws.chance(0.2):
        _add_spots(draws, medium, outline, inside)


def _edge_shadows(draws: Draws, medium: Medium, outline: Points) -> None:
    """Beams that graze a round object are bent away: thin shadows start at its sides."""
    for side in (outline[:, 0].argmin(), outline[:, 0].argmax()):
        points = outline[side] + np.asarray([[-0.3, 0.0], [0.3, 1.0]])
        spot = medium.stroke(points, draws.between(1, 3))
        medium.loss += spot * np.float32(draws.between(1, 5))


def _add_spots(draws: Draws, medium: Medium, outline: Points, inside: Field) -> None:
    """Calcifications: bright points, some with a shadow."""
    low, high = outline.min(0), outline.max(0)
    for _ in range(draws.integer(1, 9)):
        spot = draws.rng.uniform(low, high)
        mark = medium.stroke(np.stack([spot, spot + 0.2]), draws.between(0.3, 0.8)) * inside
        medium.shine(mark, draws.between(1.5, 5))
        medium.loss += mark * np.float32(draws.pick((0.0, 3.0)))


def add_rib(draws: Draws, medium: Medium) -> None:
    """A rib near the surface: a bright arc, and nothing behind it."""
    probe = medium.probe
    z = draws.between(0.08, 0.22) * probe.depth
    x = probe.width_at(z) * draws.pick((-1, 1)) * draws.between(0.5, 1.0)
    wide = draws.between(0.12, 0.3) * probe.width_at(z)
    arc = np.linspace(-1, 1, 24)
    points = np.stack([x + wide * arc, z + 0.35 * wide * arc**2], 1)
    line = medium.stroke(points, draws.between(0.8, 2))
    medium.shine(line, draws.between(3, 8))
    medium.loss += line * np.float32(draws.between(8, 25))
