"""An artery across, with its vein beside it, under layers of tissue."""

from __future__ import annotations

import numpy as np

from samedge.simulate.cycle import contraction
from samedge.simulate.draws import Draws, Field, generator
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points, ellipse, ellipse_radii, grown, star, waves
from samedge.simulate.probe import draw_probe
from samedge.simulate.scene import Texture, layers, radial_rest


class VesselScene:
    """Two vessels, one of them labelled; the artery pulses.

    Args:
        draws: of everything.
    """

    kind = "vessel"
    dark = False

    def __init__(self, draws: Draws) -> None:
        self.target = draws.pick(("artery", "vein"), (3, 2))
        self.probe = draw_probe(draws, "linear", (20, 45))
        size = min(self.probe.depth, 2 * self.probe.half) * draws.between(0.1, 0.22)
        z = self.probe.depth * draws.between(0.35, 0.6)
        x = draws.normal(0.25) * self.probe.half
        side = draws.pick((-1.0, 1.0))
        flat = draws.between(0.55, 0.95)
        vein = size * draws.between(0.8, 1.5)
        self._places = {
            "artery": (x, z),
            "vein": (x + side * 1.2 * (size + vein), z + draws.between(-0.8, 0.4) * size),
        }
        self._radii = {
            "artery": np.full_like(ellipse_radii(1, 1), size),
            "vein": ellipse_radii(vein, vein * flat, draws.normal(0.2))
            * (1 + 0.08 * waves(draws, 4)),
        }
        self._swell = {"artery": draws.between(0.03, 0.1), "vein": -draws.between(0, 0.06)}
        self._texture = Texture.draw(draws, self.probe)
        self._blood = {"artery": draws.between(-50, -22), "vein": draws.between(-50, -24)}
        self._wall = (size * draws.between(0.1, 0.25), draws.between(0.6, 3.5))
        self._clumpy = draws.between(0.5, 3)
        self._layer_seed = draws.integer(0, 2**31)
        self._plaque = draws.between(0, 2 * np.pi) if draws.chance(0.25) else None

    def _size(self, name: str, time: float) -> float:
        return 1 + self._swell[name] * contraction(time)

    def _lumen(self, name: str, time: float) -> Points:
        return star(*self._places[name], self._radii[name] * self._size(name, time))

    def outline(self, time: float) -> Points:
        """See `Scene.outline`: the lumen."""
        return self._lumen(self.target, time)

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`: around the artery."""
        half = float(self._radii["artery"].mean())
        return radial_rest(x, z, self._places["artery"], half, self._size("artery", time))

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        medium, texture = Medium.of(self.probe), self._texture.moved(self, time)
        medium.echo += self._clumpy * texture.clumps
        # The same layers in every frame.
        layers(Draws(generator(self._layer_seed)), medium, self.probe.depth, texture)
        for name in ("vein", "artery"):
            lumen = self._lumen(name, time)
            thick, strength = self._wall
            if name == "vein":
                thick, strength = 0.4 * thick, 0.6 * strength
            medium.fill(medium.area(grown(lumen, thick), 0.3), 1.0)
            medium.fill(medium.area(lumen, 0.4), self._blood[name], 0.1, flow=1.0)
            # Two bright lines: blood to intima, media to adventitia.
            medium.shine(medium.stroke(lumen, 0.25, 0.12, closed=True), strength)
            outer = grown(lumen, thick)
            medium.shine(medium.stroke(outer, 0.4, 0.12, closed=True, soft=True), 1.3 * strength)
        self._paint_plaque(medium, time)
        return medium

    def _paint_plaque(self, medium: Medium, time: float) -> None:
        """Thickening of the artery's wall on the far side of the label's border."""
        if self._plaque is None:
            return
        x, z = self._places["artery"]
        half = float(self._radii["artery"].mean()) * self._size("artery", time)
        away = 1.15 * half
        spot = ellipse(
            x + away * np.cos(self._plaque), z + away * np.sin(self._plaque), 0.5 * half, 0.3 * half
        )
        outside = 1 - medium.area(self._lumen("artery", time))
        medium.fill(medium.area(spot, 0.5) * outside, 4.0, 1.2)
