"""The heart from its apex: four chambers, walls, valves, and their beat.

Shapes are given in the heart's own coordinates, mm: u across, v along the long axis from the left
ventricle's apex to its base. A view places them in the body. Proportions follow the normal values
of adults (Lang et al., J. Am. Soc. Echocardiogr. 28, 2015), with room on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samedge.simulate.draws import Draws
from samedge.simulate.outline import Points

_STEPS = np.linspace(0, 1, 32)
_FILLING = 0.12  # share by which an atrium widens while the ventricle contracts
CHAMBERS = ("left ventricle", "left atrium", "right ventricle", "right atrium")


@dataclass(frozen=True)
class Heart:
    """Sizes of one heart at the end of diastole, mm unless said otherwise.

    Attributes:
        length, half: the left ventricle's long axis and half its width.
        blunt: how blunt the apex is: 2 is an ellipse.
        taper: share by which the base is narrower than the widest place.
        lean: shift of the middle of the ventricle across, as a share of half.
        septum, wall: thickness between the ventricles and of the outer wall.
        right: width of the right ventricle.
        right_from: share of the length where the right ventricle begins.
        atrium: length of the atria.
        atrium_half, right_atrium_half: half their widths.
        shorten, narrow: shares by which the ventricle shortens and narrows.
    """

    length: float
    half: float
    blunt: float
    taper: float
    lean: float
    septum: float
    wall: float
    right: float
    right_from: float
    atrium: float
    atrium_half: float
    right_atrium_half: float
    shorten: float
    narrow: float

    @classmethod
    def draw(cls, draws: Draws) -> Heart:
        """A heart, normal or not."""
        length = draws.between(58, 98)
        half = length * draws.between(0.25, 0.4)
        return cls(
            length,
            half,
            draws.between(1.6, 3.0),
            draws.between(0.15, 0.45),
            draws.normal(0.12),
            draws.between(6, 13),
            draws.between(6, 13),
            draws.between(16, 36),
            draws.between(0.2, 0.5),
            draws.between(30, 58),
            half * draws.between(0.7, 1.2),
            half * draws.between(0.6, 1.1),
            draws.between(0.06, 0.2),
            draws.between(0.12, 0.42),
        )

    def base(self, squeeze: float) -> float:
        """v of the valve plane when contracted by `squeeze`."""
        return self.length * (1 - self.shorten * squeeze)

    def width(self, share: NDArray[np.float64], squeeze: float) -> NDArray[np.float64]:
        """Half the ventricle's width at shares of its length."""
        rounded = np.sqrt(np.maximum(1 - np.abs(1 - share) ** self.blunt, 0))
        narrowed = self.half * (1 - self.narrow * squeeze)
        return np.asarray(narrowed * rounded * (1 - self.taper * share**3))

    def middle(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """u of the ventricle's long axis, which is a little bent."""
        return np.asarray(self.lean * self.half * np.sin(np.pi * share))

    def chamber(self, name: str, squeeze: float) -> Points:
        """A chamber's inner border, `[N, 2]` (u, v), closed by a straight line at its valve.

        Args:
            name: one of `CHAMBERS`.
            squeeze: 0 at the end of diastole, 1 at the end of systole.
        """
        walls = self.walls(name, squeeze)
        return np.concatenate([walls, np.linspace(walls[-1], walls[0], 8)[1:-1]])

    def walls(self, name: str, squeeze: float) -> Points:
        """A chamber's border from one end of its valve to the other, `[N, 2]`."""
        if name == "left ventricle":
            return self._left_ventricle(squeeze)
        if name == "right ventricle":
            return self._right_ventricle(squeeze)
        if name == "left atrium":
            return self._atrium(0.0, self.atrium_half, squeeze)
        edge = float(self.width(np.asarray([1.0]), squeeze)[0])
        filled = 1 + _FILLING * squeeze
        beside = max(edge + self.septum, self.atrium_half * filled + 3.0)
        at = -(beside + self.right_atrium_half * filled)
        return self._atrium(at, self.right_atrium_half, squeeze)

    def _left_ventricle(self, squeeze: float) -> Points:
        share = _STEPS**1.5
        width, middle, v = (
            self.width(share, squeeze),
            self.middle(share),
            share * self.base(squeeze),
        )
        left, right = np.stack([middle - width, v], 1), np.stack([middle + width, v], 1)
        return np.concatenate([right[::-1], left[1:]])

    def outside(self, squeeze: float) -> Points:
        """The left ventricle's outer border, open at the base."""
        thick = 1 + 0.35 * squeeze
        width, middle = self.width(_STEPS**1.5, squeeze), self.middle(_STEPS**1.5)
        v = _STEPS**1.5 * self.base(squeeze)
        # The wall is thinner at the apex, and the base is its end.
        walls = thick * np.sin(np.minimum(_STEPS * 2.2, np.pi / 2)) ** 0.5
        down = v - 0.6 * self.wall * (1 - _STEPS) ** 2
        left = np.stack([middle - width - self.septum * walls, down], 1)
        right = np.stack([middle + width + self.wall * walls, down], 1)
        return np.concatenate([right[::-1], left[1:]])

    def _right_ventricle(self, squeeze: float) -> Points:
        share = self.right_from + (1 - self.right_from) * _STEPS
        thick = self.septum * (1 + 0.35 * squeeze)
        inner = self.middle(share) - self.width(share, squeeze) - thick
        bulge = self.right * (1 - 0.3 * squeeze) * np.sin(_STEPS**0.9 * 0.78 * np.pi) ** 0.8
        v = share * self.base(squeeze)
        return np.concatenate([np.stack([inner - bulge, v], 1)[::-1], np.stack([inner, v], 1)[1:]])

    def _atrium(self, at: float, half: float, squeeze: float) -> Points:
        """An atrium hangs from the valve plane; its far wall stays where it is."""
        top, end = self.base(squeeze) + 2.0, self.length + self.atrium
        share = 1 - (1 - _STEPS) ** 1.5
        wide = half * (1 + _FILLING * squeeze) * (0.72 + 0.28 * np.sin(np.pi * share))
        wide = wide * np.sqrt(np.maximum(1 - share**3.5, 0))
        v = top + (end - top) * share
        left, right = np.stack([at - wide, v], 1), np.stack([at + wide, v], 1)
        return np.concatenate([left, right[-2::-1]])

    def leaflets(self, name: str, squeeze: float, opening: float) -> list[Points]:
        """The two leaflets of the valve under a ventricle, from hinge to tip, `[N, 2]` each.

        Args:
            name: "left ventricle" or "right ventricle".
            squeeze: as in `chamber`.
            opening: 0 closed, 1 open towards the apex.
        """
        base = self.base(squeeze)
        edge = self.width(np.asarray([1.0]), squeeze)[0]
        hinges = (-edge, edge)
        if name == "right ventricle":
            inner = -edge - self.septum
            hinges = (inner - 0.9 * self.right * np.sin(0.78 * np.pi) ** 0.8, inner)
        long = (hinges[1] - hinges[0]) * 0.54
        curves = []
        for hinge, way in ((hinges[0], 1.0), (hinges[1], -1.0)):
            turn = np.radians(8 + 62 * opening) * (1 + 0.15 * way)
            t = np.linspace(0, 1, 10)
            bow = 0.12 * long * np.sin(np.pi * t)
            u = hinge + way * (t * long * np.cos(turn) + bow * np.sin(turn))
            curves.append(np.stack([u, base - t * long * np.sin(turn) + bow * np.cos(turn)], 1))
        return curves


@dataclass(frozen=True)
class View:
    """How a heart lies under the probe.

    Attributes:
        x, z: mm, where the apex is.
        turn: radians, of the long axis against straight down.
        mirror: 1, or -1 if left and right are exchanged.
    """

    x: float
    z: float
    turn: float
    mirror: float

    def body(self, points: Points) -> Points:
        """Heart coordinates (u, v) -> mm in the body (x, z)."""
        u, v = points[:, 0] * self.mirror, points[:, 1]
        c, s = np.cos(self.turn), np.sin(self.turn)
        return np.stack([self.x + c * u - s * v, self.z + s * u + c * v], 1)
