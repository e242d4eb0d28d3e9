"""The apical four-chamber view, as the heart looks with a phased array below the left breast."""

from __future__ import annotations

import numpy as np

from samedge.simulate.cycle import contraction, valve_opening
from samedge.simulate.draws import Draws, Field, smoothstep
from samedge.simulate.heart import CHAMBERS, Heart, View
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points, grown
from samedge.simulate.probe import draw_probe
from samedge.simulate.scene import Texture


class ApicalScene:
    """Four chambers, one of them labelled: the left ventricle in most pictures.

    Args:
        draws: of everything.
        target: the labelled chamber; None draws it.
    """

    kind = "apical"
    dark = True

    def __init__(self, draws: Draws, target: str | None = None) -> None:
        self.heart = Heart.draw(draws)
        self.target = target or draws.pick(CHAMBERS, (12, 4, 2, 2))
        apex = draws.between(8, 38)
        whole = apex + self.heart.length + self.heart.atrium
        self.probe = draw_probe(draws, "sector", (0.95 * whole, 1.35 * whole))
        shift = draws.normal(10) + 6
        mirror = draws.pick((1.0, -1.0), (3, 1))
        self._view = View(shift * mirror, apex, draws.normal(0.16), mirror)
        self._texture = Texture.draw(draws, self.probe)
        self._walls = draws.smooth((self.probe.samples, self.probe.lines), (9, 7))
        self._draw_looks(draws)

    def _draw_looks(self, draws: Draws) -> None:
        """Echo levels and the strength of lines."""
        self._around = draws.between(-22, -2)
        self._clumpy = draws.between(3, 9)
        self._muscle = draws.between(-5, 3)
        self._patchy = draws.between(2, 8)
        self._dropout = draws.between(0, 18)
        self._blurred = draws.between(1, 9)
        self._blood = draws.between(-50, -24)
        self._soft = draws.between(0.5, 6)
        self._rim = draws.between(0.2, 1.6)
        self._far = draws.between(1.0, 4.5)
        self._leaflets = [draws.between(0.4, 2.6) * (not draws.chance(0.35)) for _ in range(4)]
        self._thick = draws.between(0.9, 2.2)
        self._crux = draws.between(-4, 5)
        self._knobs = [
            (draws.between(0.45, 0.75), draws.between(2, 6), draws.between(-14, 0))
            for _ in range(draws.pick((0, 1, 2), (5, 3, 2)))
        ]
        self._chest = draws.between(0, 10)

    def outline(self, time: float) -> Points:
        """See `Scene.outline`."""
        return self._view.body(self.heart.chamber(self.target, contraction(time)))

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        medium, squeeze = Medium.of(self.probe), contraction(time)
        texture = self._texture.moved(self, time)
        walls = self._texture.follow(self._walls, self, time)
        medium.echo += np.float32(self._around) + self._clumpy * texture.clumps
        self._paint_chest(medium, texture)
        muscle = np.float32(self._muscle) + self._patchy * walls + 1.5 * texture.streaks
        # Where the muscle's fibres lie along the beam there is little echo.
        muscle -= self._dropout * smoothstep(np.roll(walls, 90, axis=0) - np.float32(0.2))
        self._paint_walls(medium, squeeze, muscle)
        self._paint_chambers(medium, squeeze)
        self._paint_knobs(medium, squeeze)
        self._paint_valves(medium, squeeze, valve_opening(time))
        return medium

    def _paint_chest(self, medium: Medium, texture: Texture) -> None:
        """Fat and muscle between the probe and the apex."""
        depth = (np.arange(self.probe.samples, dtype=np.float32) * self.probe.pitch)[:, None]
        near = smoothstep(1.5 - depth / np.float32(self._view.z))
        level = np.float32(self._chest - 5) + 3 * texture.streaks
        medium.echo += near * (level - medium.echo)

    def _paint_walls(self, medium: Medium, squeeze: float, muscle: Field) -> None:
        """Muscle around the ventricles, thinner around the atria, and the bright pericardium."""
        for name in CHAMBERS[1:]:
            border = self._view.body(self.heart.chamber(name, squeeze))
            thin = self.heart.septum * (0.6 if "ventricle" in name else 0.4)
            wall = medium.area(grown(border, thin), self._blurred / 2)
            medium.echo += wall * (muscle - 2 - medium.echo)
        outer = self._view.body(self.heart.outside(squeeze))
        medium.fill(medium.area(outer, self._blurred), muscle)
        line = medium.stroke(outer, 1.8, 0.12, soft=True)
        patchy = smoothstep(0.5 + 0.5 * np.roll(self._walls, 60, axis=0))
        medium.shine(line * patchy, self._far)

    def _paint_chambers(self, medium: Medium, squeeze: float) -> None:
        """Blood in the chambers and through the valves, and the walls' inner surfaces."""
        patchy = smoothstep(0.4 + 0.5 * self._walls)
        for name in CHAMBERS:
            border = self._view.body(self.heart.chamber(name, squeeze))
            medium.fill(medium.area(border, self._soft), self._blood, 0.15, flow=1.0)
        for side in ("left", "right"):
            above = self._view.body(self.heart.walls(f"{side} ventricle", squeeze))[[0, -1]]
            below = self._view.body(self.heart.walls(f"{side} atrium", squeeze))[[0, -1]]
            middle = (above.mean(0) + below.mean(0)) / 2
            gate = middle + 0.8 * (np.concatenate([above, below]) - middle)
            medium.fill(medium.area(gate, 1.0), self._blood, 0.15, flow=1.0)
        for name in CHAMBERS:
            wall = self._view.body(self.heart.walls(name, squeeze))
            medium.shine(medium.stroke(wall, 1.0, 0.1, soft=True) * patchy, self._rim)

    def _paint_knobs(self, medium: Medium, squeeze: float) -> None:
        """Papillary muscles and trabeculae: part of the chamber in a clinician's outline."""
        heart = self.heart
        for share, size, echo in self._knobs:
            width = heart.width(np.asarray([share]), squeeze)[0]
            v = share * heart.base(squeeze)
            knob = np.asarray([[width * 0.75, v - size], [width * 0.82, v + size]])
            spot = medium.stroke(self._view.body(knob), 1.2 * size, soft=True)
            medium.echo += spot * (np.float32(self._muscle + echo) - medium.echo)

    def _paint_valves(self, medium: Medium, squeeze: float, opening: float) -> None:
        left = self.heart.leaflets("left ventricle", squeeze, opening)
        right = self.heart.leaflets("right ventricle", squeeze, opening)
        seen = smoothstep(0.75 + 0.6 * np.roll(self._texture.clumps, 30, axis=1))
        for curve, strength in zip((*left, *right), self._leaflets, strict=True):
            line = seen * medium.stroke(self._view.body(curve), self._thick, 0.3, soft=True)
            medium.echo += line * np.maximum(np.float32(2 * strength - 4) - medium.echo, 0)
            medium.shine(line, strength)
        hinge = self._view.body(left[0][:2] - np.asarray([[self.heart.septum / 2, 0.0]]))
        crux = medium.stroke(hinge, 5.0, soft=True)
        medium.echo += crux * np.maximum(np.float32(self._crux) - medium.echo, 0)

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`.

        The valve plane moves along the axis and takes what is around with it; the walls move
        across it, less the farther out.
        """
        heart, view, squeeze = self.heart, self._view, contraction(time)
        c, s = np.float32(np.cos(view.turn)), np.float32(np.sin(view.turn))
        dx, dz = x - np.float32(view.x), z - np.float32(view.z)
        u, v = c * dx + s * dz, -s * dx + c * dz
        length = np.float32(heart.length)
        sunk = np.float32(heart.length - heart.base(squeeze))
        along = np.clip(v / length, 0, 1) * np.exp(-np.maximum(v / length - 1, 0) / 0.4)
        narrowed = np.float32(heart.half * (1 - heart.narrow * squeeze))
        widen = np.float32(heart.half) / narrowed - np.float32(1)
        reach = narrowed / np.maximum(np.abs(u), np.float32(1e-3))
        across = widen * u * np.minimum(reach, 1) ** 2
        above = np.asarray(v / np.float32(30) + np.float32(0.5), np.float32)
        fade = smoothstep(above) * smoothstep(np.asarray(np.float32(2) - v / length, np.float32))
        u, v = u + across * fade, v + sunk * along
        return (
            np.asarray(view.x + c * u - s * v, np.float32),
            np.asarray(view.z + s * u + c * v, np.float32),
        )
