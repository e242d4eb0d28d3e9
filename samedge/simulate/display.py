"""From the envelope to the picture: log compression, grey map, scan conversion."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.simulate.draws import Draws, Field
from samedge.simulate.probe import Placement, Probe


@dataclass(frozen=True)
class Look:
    """A machine's settings.

    Attributes:
        range: dB between black and white.
        level: 0..1, grey of average tissue's mean amplitude.
        gamma: of the grey map; above 1 darkens.
        soften: samples and lines, blur before scan conversion (persistence, compounding).
        smooth: px, blur of the finished picture.
        sharpen: 0 or more, edge enhancement.
        grain: grey levels of noise on the finished picture (a frame grabber).
        quality: of a JPEG that the picture went through; 0: none.
    """

    range: float
    level: float
    gamma: float
    soften: float
    smooth: float
    sharpen: float
    grain: float
    quality: int


def draw_look(draws: Draws, dark: bool = False) -> Look:
    """Settings; `dark` as for hearts, where little but the walls is bright."""
    level = draws.between(0.22, 0.45) if dark else draws.between(0.28, 0.6)
    return Look(
        draws.between(38, 72),
        level,
        draws.between(0.85, 1.6 if dark else 1.25),
        draws.pick((0.0, draws.between(0.5, 1.8)), (1, 1)),
        draws.pick((0.0, draws.between(0.3, 0.9)), (2, 3)),
        draws.pick((0.0, draws.between(0.2, 0.8)), (3, 1)),
        draws.pick((0.0, draws.between(0.5, 3.0)), (2, 1)),
        draws.pick((0, draws.integer(55, 95)), (1, 2)),
    )


def compress(envelope: Field, look: Look) -> Field:
    """Envelope -> grey 0..1 `[samples, lines]`.

    The mean of a Rayleigh envelope of power 1 is sqrt(pi/4), 1 dB below; that is not corrected.
    """
    grey = np.log(np.maximum(envelope, np.float32(1e-6)))
    grey *= np.float32(20 / np.log(10) / look.range)
    grey += np.float32(look.level)
    np.clip(grey, 0, 1, out=grey)
    grey = np.asarray(np.power(grey, np.float32(look.gamma)), np.float32)
    if look.soften:
        return np.asarray(cv2.GaussianBlur(grey, (0, 0), look.soften), np.float32)
    return grey


@dataclass(frozen=True)
class Converter:
    """Scan conversion of one probe into one picture.

    Attributes:
        column, row: `[H, W]`, where each pixel lies in the maps of beams.
        sector: `[H, W]`, whether a pixel is seen by a beam.
    """

    column: Field
    row: Field
    sector: NDArray[np.bool_]

    @classmethod
    def of(cls, probe: Probe, placement: Placement) -> Converter:
        """The converter for a probe that stands at a place in a picture."""
        column, row = probe.place(*placement.body())
        seen = (column >= 0) & (column <= probe.lines - 1) & (row >= -0.5)
        return cls(column, row, seen & (row <= probe.samples - 0.5))

    def picture(self, grey: Field) -> Field:
        """Grey 0..1 `[samples, lines]` -> grey 0..1 `[H, W]`, black outside of the beams."""
        out = cv2.remap(
            grey, self.column, self.row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.where(self.sector, np.asarray(out, np.float32), np.float32(0))


def finish(picture: Field, look: Look, draws: Draws) -> NDArray[np.uint8]:
    """Grey 0..1 `[H, W]` -> uint8, with the machine's filters."""
    if look.smooth:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), look.smooth), np.float32)
    if look.sharpen:
        soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.5), np.float32)
        picture = picture + np.float32(look.sharpen) * (picture - soft)
    grey = picture * np.float32(255)
    if look.grain:
        grey = grey + draws.white(*grey.shape) * np.float32(look.grain)
    return np.asarray(np.clip(np.rint(grey), 0, 255), np.uint8)


def through_jpeg(picture: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """What a JPEG of the look's quality leaves of a picture; the picture itself for 0."""
    if not look.quality:
        return picture
    _, data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, look.quality))
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
