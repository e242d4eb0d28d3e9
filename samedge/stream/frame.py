"""One frame of a source, and the limits it has to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.geometry import MAX_SIDE, MIN_SIDE

Warn = Callable[[str], None]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """One picture on its way to a session.

    Attributes:
        pixels: uint8 `[H, W]` (grey) or `[H, W, 3]` (RGB).
        index: position in the source, from 0.
        time_s: seconds since the first frame, or None where the source has no clock.
        source: the name the user gave, without folders.
        name: stem for output files; unique within its source.
        spacing_mm: (row, column) distance of neighbouring pixels in mm, or None if unknown.
        region: (x0, y0, x1, y1) of the ultrasound image in px, right and bottom exclusive, or None.
    """

    pixels: NDArray[np.uint8]
    index: int
    time_s: float | None
    source: str
    name: str
    spacing_mm: tuple[float, float] | None = None
    region: Box | None = None

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


class Source:
    """Frames of one file or folder, in order; iterate it, at best in a `with` block.

    Attributes:
        name: the name the user gave, without folders (never anything read from the file).
        kind: "image", "folder", "video" or "dicom".
        total: number of frames, or None if only the end will tell.
        rate: frames per second, or None.
        is_loop: the frames follow each other in time (video, cine), so a prompt may be tracked.
        warnings: what was not as expected and what was done about it; grows while iterating.
    """

    kind = "image"
    is_loop = False
    total: int | None = 1
    rate: float | None = None

    def __init__(self, name: str, warn: Warn | None = None) -> None:
        self.name = name
        self.warnings: list[str] = []
        self._callback = warn

    def warn(self, message: str) -> None:
        """Note `message` once, and hand it to the caller's callback."""
        if message in self.warnings:
            return
        self.warnings.append(message)
        if self._callback is not None:
            self._callback(message)

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError  # every source has its own

    def close(self) -> None:
        """Give back what the source holds open."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def describe(self) -> dict[str, Any]:
        """Name, kind, number of frames and rate as JSON values."""
        return {"name": self.name, "kind": self.kind, "frames": self.total, "rate_fps": self.rate}


def check_size(name: str, height: int, width: int) -> None:
    """Refuse frames that no session takes.

    Raises:
        SourceError: a side is outside 16..4096 px.
    """
    if MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE:
        return
    raise SourceError(
        f"{name} is {width} x {height} px; frames have {MIN_SIDE} to {MAX_SIDE} px on each side. "
        "Crop it or scale it first."
    )
