"""The heart across: the left ventricle as a ring, the right one as a crescent beside it."""

from __future__ import annotations

import numpy as np

from samedge.simulate.cycle import contraction
from samedge.simulate.draws import Draws, Field, smoothstep
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points, ellipse, ellipse_radii, star, waves
from samedge.simulate.probe import draw_probe
from samedge.simulate.scene import Texture, radial_rest


class ShortAxisScene:
    """A ring of muscle around the labelled cavity.

    Papillary muscles lie inside the label, as guidelines have them counted to the cavity.

    Args:
        draws: of everything.
    """

    kind = "short-axis"
    dark = True
    target = "left ventricle"

    def __init__(self, draws: Draws) -> None:
        self._half = draws.between(17, 31)
        self._wall = draws.between(6, 14)
        depth = draws.between(30, 45) + self._half + self._wall
        self.probe = draw_probe(draws, "sector", (1.35 * depth, 2.3 * depth))
        self._place = (draws.normal(9), depth)
        turn, flat = draws.between(0, np.pi), draws.between(0.85, 1.0)
        radii = ellipse_radii(self._half / flat**0.5, self._half * flat**0.5, turn)
        self._radii = radii * (1 + 0.06 * waves(draws, 5))
        self._narrow = draws.between(0.12, 0.45)
        self._texture = Texture.draw(draws, self.probe)
        self._walls = draws.smooth((self.probe.samples, self.probe.lines), (7, 6))
        self._right = (draws.pick((-1.0, 1.0), (3, 1)), draws.between(0.9, 1.5), draws.normal(0.2))
        self._levels = (draws.between(-18, -3), draws.between(-6, 3), draws.between(-50, -24))
        self._rough = (draws.between(3, 8), draws.between(2, 7))
        self._lines = (draws.between(0.1, 1.6), draws.between(0.8, 4))
        self._soft = draws.between(0.5, 4)
        self._papillary = [
            (angle + draws.normal(0.25), draws.between(0.1, 0.2), draws.between(-9, 1))
            for angle in (0.9, 2.4)
            if draws.chance(0.6)
        ]

    def _size(self, time: float) -> float:
        return 1 - self._narrow * contraction(time)

    def outline(self, time: float) -> Points:
        """See `Scene.outline`."""
        return star(*self._place, self._radii * self._size(time))

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`."""
        return radial_rest(x, z, self._place, self._half, self._size(time))

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        medium, (around, muscle, blood) = Medium.of(self.probe), self._levels
        texture = self._texture.moved(self, time)
        walls = self._texture.follow(self._walls, self, time)
        medium.echo += np.float32(around) + self._rough[0] * texture.clumps
        size = self._size(time)
        # The wall keeps its area while the cavity shrinks.
        thick = np.sqrt((self._half * size) ** 2 + self._wall * (2 * self._half + self._wall))
        outer = star(*self._place, self._radii * thick / self._half)
        self._paint_right(medium, thick)
        echo = np.float32(muscle) + self._rough[1] * walls + 1.5 * texture.streaks
        medium.fill(medium.area(outer, 2.0), echo)
        patchy = smoothstep(0.5 + 0.5 * np.roll(walls, 50, axis=0))
        rim, pericardium = self._lines
        medium.shine(medium.stroke(outer, 1.6, 0.15, closed=True, soft=True) * patchy, pericardium)
        inner = self.outline(time)
        medium.fill(medium.area(inner, self._soft), blood, 0.15, flow=1.0)
        medium.shine(medium.stroke(inner, 1.0, 0.1, closed=True, soft=True) * patchy, rim)
        self._paint_papillary(medium, size)
        return medium

    def _paint_right(self, medium: Medium, outer: float) -> None:
        """The right ventricle: an ellipse that the left one's wall covers in part."""
        side, reach, turn = self._right
        x = self._place[0] + side * outer * 0.75
        z = self._place[1] - 0.3 * outer
        shape = ellipse(x, z, 0.75 * outer * reach, 0.85 * outer, turn)
        medium.fill(medium.area(ellipse(x, z, 0.75 * outer * reach + 4, 0.85 * outer + 4), 2.0), -4)
        medium.fill(medium.area(shape, self._soft), self._levels[2], 0.15, flow=1.0)

    def _paint_papillary(self, medium: Medium, size: float) -> None:
        half = self._half * size
        for angle, share, echo in self._papillary:
            x = self._place[0] + 0.62 * half * np.cos(angle)
            z = self._place[1] + 0.62 * half * np.sin(angle)
            spot = medium.area(ellipse(x, z, share * 1.5 * half, share * 1.5 * half), 2.0)
            medium.fill(spot, self._levels[1] + echo)
