"""A fluid-filled organ with a wall: a bladder or gallbladder, perhaps with sediment or stones."""

from __future__ import annotations

import numpy as np

from samedge.simulate.draws import Draws, Field, generator
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points, ellipse_radii, grown, star, waves
from samedge.simulate.probe import draw_probe
from samedge.simulate.scene import Texture, breathe, breathed, layers


class BladderScene:
    """One large cavity under the wall of the belly; it moves with the breath.

    Args:
        draws: of everything.
    """

    kind = "bladder"
    dark = False
    target = "bladder"

    def __init__(self, draws: Draws) -> None:
        self.probe = draw_probe(draws, draws.pick(("convex", "sector"), (4, 1)), (80, 160))
        z = self.probe.depth * draws.between(0.32, 0.58)
        size = draws.between(0.14, 0.26) * self.probe.depth
        self._place = (draws.normal(0.2) * self.probe.width_at(z), max(z, size + 14))
        flat = draws.between(0.45, 1.0)
        radii = ellipse_radii(size / flat**0.5, size * flat**0.5, draws.normal(0.4))
        self._radii = radii * (1 + draws.between(0.02, 0.14) * waves(draws, 4))
        self._size = size
        self._sway = draws.between(0.5, 5)
        self._texture = Texture.draw(draws, self.probe)
        self._seed = draws.integer(0, 2**31)
        self._wall = (draws.between(1.2, 5), draws.between(0.4, 3))
        self._fluid = draws.between(-60, -26)
        self._clumpy = draws.between(1, 4)
        self._sediment = draws.between(-20, -5) if draws.chance(0.25) else None
        self._stone = draws.between(-0.4, 0.4) if draws.chance(0.2) else None

    def outline(self, time: float) -> Points:
        """See `Scene.outline`."""
        dx, dz = breathe(self._sway, time)
        return star(self._place[0] + dx, self._place[1] + dz, self._radii)

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`: everything moves alike."""
        return breathed(x, z, self._sway, time)

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        medium, texture = Medium.of(self.probe), self._texture.moved(self, time)
        medium.echo += self._clumpy * texture.clumps
        outline = self.outline(time)
        layers(Draws(generator(self._seed)), medium, float(outline[:, 1].min()), texture)
        thick, strength = self._wall
        medium.fill(medium.area(grown(outline, thick), 0.8), 3.0)
        inside = medium.area(outline, 0.8)
        medium.fill(inside, self._fluid, 0.02)
        medium.shine(medium.stroke(outline, 0.8, 0.1, closed=True, soft=True), strength)
        low = float(outline[:, 1].max())
        if self._sediment is not None:
            level = low - 0.5 * self._size
            x, z = self.probe.beams()
            below = inside * (z > level + 0.04 * self._size * np.sin(x / self._size))
            medium.fill(below, self._sediment)
        if self._stone is not None:
            self._paint_stone(medium, inside, outline)
        return medium

    def _paint_stone(self, medium: Medium, inside: Field, outline: Points) -> None:
        """A stone on the floor: a bright cap and a shadow. It belongs to the cavity."""
        bottom = outline[outline[:, 1].argmax()]
        wide = 0.16 * self._size
        arc = np.linspace(-1, 1, 16)
        points = np.stack(
            [bottom[0] + (self._stone or 0) * self._size + wide * arc,
             bottom[1] - 1.6 * wide + 0.7 * wide * arc**2], 1
        )  # fmt: skip
        cap = medium.stroke(points, 1.5, soft=True) * inside
        medium.shine(cap, 5.0)
        medium.loss += cap * np.float32(20)
