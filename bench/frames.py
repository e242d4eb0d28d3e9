"""Frames and prompts to measure with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.families import Family
from samedge.runtime.result import Timing

if TYPE_CHECKING:
    from samedge.runtime.session import Session

MAX_FRAMES = 64  # kept in memory, then repeated from the first


@dataclass(frozen=True)
class Footage:
    """What is sent through a session again and again.

    Attributes:
        frames: uint8 arrays, [H, W] or [H, W, 3].
        crop: (x0, y0, x1, y1), the ultrasound image inside the frame, or None.
        about: where they are from, for the report.
    """

    frames: list[NDArray[np.uint8]]
    crop: tuple[int, int, int, int] | None
    about: str

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame number `index`, counted round."""
        return self.frames[index % len(self.frames)]

    def pixels(self, index: int, family: Family) -> NDArray[np.uint8]:
        """Frame number `index`, or stack number `index` for a family of volumes."""
        if family.slices == 1:
            return self.frame(index)
        first = index * family.slices
        return np.stack([self.frame(first + i) for i in range(family.slices)])

    def prompts(self, family: Family) -> dict[str, Any]:
        """One object in the middle of what the network sees, as arguments of `Session.segment`."""
        height, width = self.frames[0].shape[:2]
        x0, y0, x1, y1 = self.crop or (0, 0, width, height)
        if "point" in family.prompts:
            return {"points": [((x0 + x1) / 2, (y0 + y1) / 2)]}
        if "box" in family.prompts:
            quarter, eighth = (x1 - x0) / 4, (y1 - y0) / 8
            return {"box": [x0 + quarter, y0 + eighth, x1 - quarter, y1 - eighth]}
        return {}


def send(session: Session, clip: Footage, index: int) -> dict[str, float]:
    """Frame (or stack) number `index` through a session; milliseconds per stage."""
    family = session.family
    pixels, prompts = clip.pixels(index, family), clip.prompts(family)
    if family.slices == 1:
        return dict(session.segment(pixels, **prompts, crop=clip.crop).timing_ms)
    results = session.segment_slices(pixels, [prompts] * family.slices, crop=clip.crop)
    return dict(Timing.summed(result.timing_ms for result in results))


def footage(source: Any = None) -> Footage:
    """Frames of `source`: a path (image, folder, video, DICOM), or None for synthetic speckle.

    Raises:
        SourceError: there is no frame in it.
    """
    if source is None:
        return Footage(speckle(8), None, "synthetic speckle, 640 x 480 px, grey")
    from samedge.sources.opening import open_source

    with open_source(Path(source)) as opened:
        items = [item for item, _ in zip(opened, range(MAX_FRAMES), strict=False)]
    if not items:
        raise SourceError(f"{Path(source).name} holds no frame to measure with")
    first = items[0]
    same = [item.picture for item in items if item.pixels.shape == first.pixels.shape]
    channels = "grey" if first.pixels.ndim == 2 else "RGB"
    about = f"{len(same)} frames of {first.width} x {first.height} px, {channels}"
    return Footage(same, first.region, about)


def speckle(count: int, height: int = 480, width: int = 640) -> list[NDArray[np.uint8]]:
    """`count` grey frames of compressed Rayleigh noise: what an empty B-mode image looks like."""
    random = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        amplitude = random.rayleigh(1.0, (height, width))
        decibel = 20 * np.log10(np.maximum(amplitude, 1e-3))
        frames.append(np.clip((decibel + 40) / 50 * 255, 0, 255).astype(np.uint8))
    return frames
