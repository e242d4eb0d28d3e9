"""One frame of a source, and the limits it has to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.geometry.frame_geometry import MAX_SIDE, MIN_SIDE

if TYPE_CHECKING:
    from samedge.sources.nifti_layout import NiftiLayout

MAX_WARNINGS = 1000  # that one source keeps

Warn = Callable[[str], None]
OnPoints = Callable[[tuple[tuple[tuple[float, float, bool], ...], ...], tuple[str, ...]], object]
Box = tuple[int, int, int, int]
Spacing = tuple[float, float]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Region:
    """A part of a frame that has a pixel spacing of its own.

    Attributes:
        box: (x0, y0, x1, y1) in px, right and bottom exclusive.
        spacing_mm: (row, column) distance of neighbouring pixels in mm.
    """

    box: Box
    spacing_mm: Spacing


@dataclass(frozen=True, eq=False)
class Origin:
    """What the sender of a frame says of its time and place; carried through unchanged.

    Attributes:
        ticks: the sender's time stamp, 64 bits: 32.32 fixed point seconds since 1970, UTC. A float
            would lose its last digits.
        matrix: float32 `[4, 4]`, column, row and slice of the image to mm, as OpenIGTLink has it:
            the last column is the place of the image's centre.
        transform: float32 `[4, 4]`, of the transform message nearest to the frame
            ("ImageToReference", say), or None.
        transform_ticks: its time stamp.
        transform_valid: False: the sender says that it must not be used.
        device: name of the sender's device.
        axes: of the matrix: "RAS" (to the patient's right, front, head) or "LPS".
    """

    ticks: int
    matrix: NDArray[np.float32]
    transform: NDArray[np.float32] | None = None
    transform_ticks: int | None = None
    transform_valid: bool = True
    device: str = ""
    axes: str = "RAS"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture on its way to a session.

    Attributes:
        pixels: uint8 `[H, W]` (grey) or `[H, W, 3]` (RGB); uint16 `[H, W]` where 16-bit frames were
            asked for and the source has more than 8 bits.
        index: position in the source, from 0.
        time_s: seconds since the first frame, or None where the source has no clock.
        source: the name the user gave, without folders.
        name: stem for output files; unique within its source.
        spacing_mm: (row, column) distance of neighbouring pixels in mm, or None if unknown; where
            there are `regions`, that of the largest image.
        regions: the parts of the frame that are calibrated, where not all of it is; areas are known
            inside of them only. Empty: `spacing_mm` holds for the whole frame.
        region: (x0, y0, x1, y1) of the ultrasound image in px, right and bottom exclusive, or None.
        captured_s: when this machine got the frame from a device, in seconds of `time.monotonic`;
            None where it was read from a file.
        stamp_s: the source's own time stamp in seconds, from whatever zero its clock has; None if
            it has none. It is carried along and never trusted: not for order, which `index` tells,
            and not for age, which `captured_s` tells.
        origin: what its sender says of its time and place, exactly; None for other sources.
    """

    pixels: Pixels
    index: int
    time_s: float | None
    source: str
    name: str
    spacing_mm: Spacing | None = None
    region: Box | None = None
    captured_s: float | None = None
    stamp_s: float | None = None
    regions: tuple[Region, ...] = ()
    origin: Origin | None = None

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The pixels with 8 bits, to be looked at."""
        if self.pixels.dtype == np.uint8:
            return np.asarray(self.pixels, np.uint8)
        return np.round(self.pixels / 257.0).astype(np.uint8)

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
        stem: `name` without its ending, for output files.
        kind: "image", "folder", "video", "dicom", "volume", "time series" (an array of frames) or
            "dicom series".
        total: number of frames, or None if only the end will tell.
        rate: frames per second, or None.
        is_loop: the frames follow each other in time (video, cine).
        is_stack: the frames are the slices of one volume, in order, and of one size.
        size: (height, width) of all frames in px, where it is known beforehand.
        voxel_mm3: what one pixel of one slice stands for, or None if unknown.
        layout: how the slices lie in a NIfTI array; None for other sources.
        warnings: what was not as expected and what was done about it; grows while iterating.
        is_live: frames come when they come, from a device or another program, and have a
            `captured_s`. Iterating connects anew; it ends, or raises a SourceError, when the other
            side is gone, and may be tried again.
        ends: of a source that is live: its end is the end, not a loss (a file that is played).
        comes_later: of a source that is live: its other side may not be there yet.
        on_points: called with the prompts that come from the other side, where the source has such:
            for each object its (x, y, inside) in px, and the objects' names. All of them every
            time. A SamEdgeError that it raises is noted.
    """

    kind = "image"
    is_live = False
    ends = False
    comes_later = False
    on_points: OnPoints | None = None
    is_loop = False
    is_stack = False
    total: int | None = 1
    rate: float | None = None
    size: tuple[int, int] | None = None
    voxel_mm3: float | None = None
    layout: NiftiLayout | None = None

    def __init__(self, name: str, warn: Warn | None = None) -> None:
        self.name = name
        self.warnings: list[str] = []
        self._callback = warn

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def is_sequence(self) -> bool:
        """Neighbouring frames resemble each other, so a prompt may follow its object."""
        return self.is_loop or self.is_stack or self.kind == "folder"

    @property
    def holds_slices(self) -> bool:
        """The frames can be taken for the slices of a volume: they were not filmed or single."""
        return self.is_stack or self.kind in ("folder", "dicom")

    @property
    def has_grid(self) -> bool:
        """All frames lie on one grid, so labels of all of them can be stored as one array."""
        return self.is_stack or self.kind == "time series"

    def warn(self, message: str) -> None:
        """Note `message` once, and hand it to the caller's callback."""
        if message in self.warnings or len(self.warnings) > MAX_WARNINGS:
            return
        if len(self.warnings) == MAX_WARNINGS:
            message = f"{self.name}: there were more notes than these {MAX_WARNINGS}"
        self.warnings.append(message)
        if self._callback is not None:
            self._callback(message)

    def __iter__(self) -> Iterator[Frame]:
        raise NotImplementedError  # every source has its own

    def interrupt(self) -> None:
        """Make an iteration that waits for a frame end soon. Any thread may call it, at any time,
        and after it no iteration begins again."""

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
