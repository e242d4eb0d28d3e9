"""Tissue with nothing in it: what a probe shows beside the organ that was looked for."""

from __future__ import annotations

import numpy as np

from samedge.simulate.draws import Draws, Field, generator
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points
from samedge.simulate.probe import Probe
from samedge.simulate.scene import Texture, breathed, layers


class PlainScene:
    """Layers of tissue that move with the breath; no object.

    Args:
        draws: of everything.
        probe: that looks at it.
    """

    kind = "plain"
    dark = False
    target = "nothing"

    def __init__(self, draws: Draws, probe: Probe) -> None:
        self.probe = probe
        self._sway = draws.between(0.02, 0.05) * probe.depth
        self._texture = Texture.draw(draws, probe)
        self._clumpy = draws.between(0.5, 3)
        self._level = draws.between(-6, 2)
        self._until = draws.between(0.2, 0.6) * probe.depth
        self._layer_seed = draws.integer(0, 2**31)

    def outline(self, time: float) -> Points:
        """See `Scene.outline`: outside of every picture."""
        far = -100 * (self.probe.depth + self.probe.half + 1)
        return np.asarray([[far, far], [far, far - 1], [far - 1, far]])

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """See `Scene.rest`: everything moves alike."""
        return breathed(x, z, self._sway, time)

    def medium(self, time: float) -> Medium:
        """See `Scene.medium`."""
        medium, texture = Medium.of(self.probe), self._texture.moved(self, time)
        medium.echo += np.float32(self._level) + self._clumpy * texture.clumps
        layers(Draws(generator(self._layer_seed)), medium, self._until, texture)
        return medium
