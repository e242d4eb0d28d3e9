"""What the beams meet: echo strength, attenuation, mirrors and blood, as maps of beams."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.simulate.draws import Field
from samedge.simulate.outline import Points, normals
from samedge.simulate.probe import Probe

SOFT_TISSUE = 0.5  # dB per cm and MHz, one way
_SHIFT = 4  # cv2 draws with coordinates in sixteenths of a pixel


@dataclass
class Medium:
    """Maps `[samples, lines]` that scenes paint on; all are changed in place.

    Attributes:
        probe: whose beams they are.
        echo: dB of the scatterers' mean power, relative to average tissue.
        loss: dB per cm and MHz one way.
        mirror: amplitude of smooth interfaces, relative to average tissue's scatterers.
        flow: 0..1, how much of the scatterers is new in every frame (blood).
    """

    probe: Probe
    echo: Field
    loss: Field
    mirror: Field
    flow: Field

    @classmethod
    def of(cls, probe: Probe) -> Medium:
        """Average tissue everywhere."""
        shape = (probe.samples, probe.lines)
        return cls(
            probe,
            np.zeros(shape, np.float32),
            np.full(shape, SOFT_TISSUE, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
        )

    def area(self, polygon: Points, soft: float = 0.0) -> Field:
        """1 inside a polygon, 0 outside, `[samples, lines]`.

        Args:
            polygon: mm `[N, 2]`.
            soft: mm, width of the border.
        """
        canvas = np.zeros((self.probe.samples, self.probe.lines), np.uint8)
        cv2.fillPoly(canvas, [self._corners(polygon)], 255, cv2.LINE_AA, _SHIFT)
        mask = np.asarray(canvas, np.float32) * np.float32(1 / 255)
        if soft > self.probe.pitch:
            sigma = soft / 2 / self.probe.pitch
            mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma / 2, sigmaY=sigma), np.float32)
        return mask

    def stroke(
        self,
        points: Points,
        width: float,
        floor: float = 1.0,
        closed: bool = False,
        soft: bool = False,
    ) -> Field:
        """A line through points in mm `[N, 2]`, `width` mm thick.

        Args:
            points: mm.
            width: mm.
            floor: strength of parts that run along the beam, where a smooth surface sends its
                echo elsewhere; parts that face the probe have 1.
            closed: join the last point to the first.
            soft: fade to its sides.

        Returns:
            0..1, `[samples, lines]`.
        """
        canvas = np.zeros((self.probe.samples, self.probe.lines), np.uint8)
        normal = normals(points, closed)
        shade = np.rint(255 * (floor + (1 - floor) * self._facing(points, normal) ** 2)).astype(int)
        half = normal * (width / 2)
        near, far, core = (self._corners(points + shift) for shift in (-half, half, 0 * half))
        count = len(points) if closed else len(points) - 1
        # Weak parts first, so that they do not cut into strong ones.
        for i in np.argsort(shade[:count], kind="stable"):
            j, grey = (i + 1) % len(points), int(shade[i])
            corners = np.stack([near[i], near[j], far[j], far[i]])
            cv2.fillConvexPoly(canvas, corners, grey, cv2.LINE_AA, _SHIFT)
            # However thin the line is, it must not fall between two samples.
            cv2.line(canvas, core[i].tolist(), core[j].tolist(), grey, 1, cv2.LINE_AA, _SHIFT)
        line = np.asarray(canvas, np.float32) * np.float32(1 / 255)
        if soft:
            sigma = max(width / 3 / self.probe.pitch, 0.5)
            line = np.asarray(cv2.GaussianBlur(line, (0, 0), 0.6, sigmaY=sigma), np.float32)
        return line

    def fill(
        self, inside: Field, echo: Field | float, loss: float | None = None, flow: float = 0.0
    ) -> None:
        """Replace what is there by something else where `inside` is 1, in part where it is less."""
        self.echo += inside * (np.asarray(echo, np.float32) - self.echo)
        if loss is not None:
            self.loss += inside * (np.float32(loss) - self.loss)
        self.flow += inside * (np.float32(flow) - self.flow)
        self.mirror *= 1 - inside

    def shine(self, where: Field, strength: Field | float) -> None:
        """Add a smooth interface; the stronger one counts where two meet."""
        np.maximum(self.mirror, where * np.asarray(strength, np.float32), out=self.mirror)

    def _corners(self, points: Points) -> NDArray[np.int32]:
        """Points in mm as cv2 draws them on the maps."""
        column, row = self.probe.place(
            points[:, 0].astype(np.float32), points[:, 1].astype(np.float32)
        )
        places = np.stack([column, row], 1).clip(-2000, 2000) * (1 << _SHIFT)
        return np.asarray(np.rint(places), np.int32)

    def _facing(self, points: Points, normal: Points) -> NDArray[np.float64]:
        """How squarely a line meets the beams at its points: 1 head-on, 0 along them."""
        beam = np.stack([points[:, 0], points[:, 1] + self.probe.radius], 1)
        if self.probe.kind == "linear":
            return np.asarray(np.abs(normal[:, 1]), np.float64)
        beam /= np.maximum(np.hypot(beam[:, 0], beam[:, 1]), 1e-6)[:, None]
        return np.asarray(np.abs((normal * beam).sum(1)), np.float64)
