"""A fetal head across: the skull's ellipse, dark at its sides, with what lies in and around it."""

from __future__ import annotations

import numpy as np

from samedge.simulate.draws import Draws, Field, generator, smoothstep
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points, ellipse, ellipse_radii, grown, star, waves
from samedge.simulate.probe import Kind, draw_probe
from samedge.simulate.scene import Texture, breathe, breathed, layers


class HeadScene:
    """A head in the womb; the label reaches to the outside of the skull, as it is measured.

    Args:
        draws: of everything.
    """

    kind = "head"
    dark = True
    target = "fetal head"

    def __init__(self, draws: Draws) -> None:
        shape: Kind = draws.pick(("convex", "sector"), (5, 1))
        half = draws.between(12, 58)  # mm, half the longer axis: from week 12 to birth
        deep = draws.between(0.85, 1.3) * half + draws.between(8, 30)
        self.probe = draw_probe(draws, shape, (deep + 1.1 * half, 1.3 * (deep + 1.1 * half)))
        flat = draws.between(0.66, 0.92)
        turn = draws.normal(0.5) if draws.chance(0.8) else draws.between(0, np.pi)
        x = draws.normal(0.2) * self.probe.width_at(deep)
        self._place, self._turn = (x, deep), turn
        self._axes = (half, half * flat)
        self._radii = ellipse_radii(half, half * flat, turn) * (1 + 0.015 * waves(draws, 4))
        self._sway = draws.between(0.3, 3)
        self._texture = Texture.draw(draws, self.probe)
        self._seed = draws.integer(0, 2**31)

    def outline(self, time: float) -> Points:
        """See `Scene.outline`."""
        dx, dz = breathe(self._sway, time)
        return star(self._place[0] + dx, self._place[1] + dz, self._radii)

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`: everything moves alike."""
        return breathed(x, z, self._sway, time)

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        draws = Draws(generator(self._seed))
        medium, texture = Medium.of(self.probe), self._texture.moved(self, time)
        outline = self.outline(time)
        medium.echo += draws.between(1, 4) * texture.clumps
        layers(draws, medium, max(0.6 * float(outline[:, 1].min()), 4.0), texture)
        self._paint_womb(draws, medium, texture)
        thick = draws.between(1.2, 3.5) * (0.5 + self._axes[0] / 80)
        inner = medium.area(grown(outline, -thick), 0.6)
        self._paint_skull(draws, medium, outline, thick)
        brain = draws.between(-24, -7)
        medium.fill(inner, np.float32(brain) + draws.between(1, 5) * texture.clumps, 0.45)
        self._paint_inside(draws, medium, inner, brain)
        self._paint_skull_lines(draws, medium, outline, thick)
        return medium

    def _paint_womb(self, draws: Draws, medium: Medium, texture: Texture) -> None:
        """Fluid around a part of the head, a placenta, limbs or a trunk beside it."""
        (x, z), (a, b) = self._place, self._axes
        if draws.chance(0.75):
            radii = ellipse_radii(
                a * draws.between(1.1, 2.2), b * draws.between(1.05, 2.0), draws.normal(0.5)
            )
            place = (x + draws.normal(0.4) * a, z + draws.normal(0.2) * b)
            sack = medium.area(star(*place, radii * (1 + 0.12 * waves(draws, 6))), 1.5)
            medium.fill(sack, draws.between(-50, -18), 0.1)
        for _ in range(draws.integer(0, 3)):
            angle, far = draws.between(0, 2 * np.pi), draws.between(1.1, 1.7)
            size = a * draws.between(0.2, 0.6)
            place = (x + far * a * np.cos(angle), z + far * a * np.sin(angle))
            radii = ellipse_radii(size, size * draws.between(0.4, 1.0), draws.between(0, np.pi))
            part = star(*place, radii * (1 + 0.1 * waves(draws, 5)))
            medium.fill(medium.area(part, 1.0), draws.between(-8, 4) + 2 * texture.clumps, 0.6)
            if draws.chance(0.5):
                medium.shine(medium.stroke(part, 1.2, 0.1, closed=True, soft=True), 2.0)

    def _paint_skull(self, draws: Draws, medium: Medium, outline: Points, thick: float) -> None:
        """Bone: bright where it faces the probe; beams that graze it are lost."""
        shell = medium.area(outline, 0.5) - medium.area(grown(outline, -thick), 0.5)
        shell = np.clip(shell, 0, 1)
        middle = self._place[0]
        x, _ = self.probe.beams()
        side = np.abs(x - np.float32(middle)) / np.float32(np.ptp(outline[:, 0]) / 2)
        grazed = smoothstep((side - np.float32(draws.between(0.7, 0.95))) / np.float32(0.2))
        medium.fill(shell, draws.between(-2, 8))
        loss = draws.between(0.8, 5) + draws.between(0, 14) * grazed
        medium.loss += shell * np.asarray(loss, np.float32)

    def _paint_skull_lines(
        self, draws: Draws, medium: Medium, outline: Points, thick: float
    ) -> None:
        line = medium.stroke(
            grown(outline, -thick / 2), thick, draws.between(0.0, 0.35), closed=True, soft=True
        )
        gaps = np.maximum(1 + draws.between(0, 0.7) * draws.curve(self.probe.lines, 9), 0)[None]
        medium.shine(line * gaps, draws.between(2.5, 12))

    def _paint_inside(self, draws: Draws, medium: Medium, inner: Field, brain: float) -> None:
        """The falx, the cavities and the plexus within them, the skull base, the Sylvian fold."""
        (x, z), (a, b) = self._place, self._axes
        along = np.asarray([np.cos(self._turn), np.sin(self._turn)])
        across = np.asarray([-along[1], along[0]])
        centre = np.asarray([x, z])
        if draws.chance(0.8):
            t = np.linspace(-draws.between(0.5, 0.95), draws.between(0.3, 0.95), 20)[:, None]
            bend = draws.normal(0.02) * b * np.sin(3 * t)
            points = centre + a * t * along + bend * across
            falx = medium.stroke(points, draws.between(0.5, 1.8), 0.15, soft=True) * inner
            medium.shine(falx, draws.between(0.4, 3.5))
        for side in (-1, 1):
            for _ in range(draws.integer(0, 2)):
                forth, aside = a * draws.normal(0.35), side * b * draws.between(0.1, 0.5)
                x, z = (centre + forth * along + aside * across).tolist()
                radii = ellipse_radii(
                    a * draws.between(0.08, 0.32), b * draws.between(0.05, 0.2), self._turn
                )
                border = star(x, z, radii)
                cavity = medium.area(border, 0.8) * inner
                bright = draws.chance(0.4)
                medium.fill(cavity, brain + (draws.between(5, 16) if bright else -18))
                if draws.chance(0.4):
                    edge = medium.stroke(border, 0.6, 0.1, closed=True, soft=True)
                    medium.shine(edge * inner, draws.between(0.3, 1.5))
        if draws.chance(0.4):
            x, z = (centre + a * draws.between(-0.6, 0.6) * along).tolist()
            spot = ellipse(x, z, 0.2 * a, 0.3 * b, self._turn)
            medium.fill(medium.area(spot, 2.0) * inner, brain + draws.between(3, 12))
