"""What a DICOM recording keeps until it is written: bytes on the disk, and what they are."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import IO

import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import Colour
from samedge.sources.frame import Spacing
from samedge.stream.live.item import LiveFrame, LiveObject, Status
from samedge.stream.sinks.spool import Spool

LARGEST = 2**32 - 2  # bytes of pixels: DICOM gives their length 32 bits
_MOST_MASKS = 255  # of one frame


def new_uid() -> str:
    """A random UID (PS3.5 B.2): it tells nothing, not even who made it."""
    return f"2.25.{uuid.uuid4().int}"


@dataclass(frozen=True)
class Segment:
    """One object or structure.

    Attributes:
        number: of the object in the stream.
        name: as it was called last.
        colour: (R, G, B).
        by_hand: somebody prompted it.
    """

    number: int
    name: str
    colour: Colour
    by_hand: bool


@dataclass
class Recorded:
    """What was recorded.

    Attributes:
        size: (height, width) in px.
        title: of the bundle.
        spacing_mm: (row, column) distance of neighbouring pixels, if it holds for all of them.
        frames: their times in seconds, of the first one 0.
        masks: (frame, segment) of each mask, both from 0, in the order in which they are stored.
        segments: those that masks name.
        overlap: masks of one frame lie over each other somewhere.
        colour: pixels are RGB.
        study, series, instance: UIDs of the secondary capture.
    """

    size: tuple[int, int]
    title: str = ""
    spacing_mm: Spacing | None = None
    frames: list[float] = field(default_factory=list)
    masks: list[tuple[int, int]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    overlap: bool = False
    colour: bool = False
    study: str = field(default_factory=new_uid)
    series: str = field(default_factory=new_uid)
    instance: str = field(default_factory=new_uid)


class Store:
    """Frames and masks, on the disk; what DICOM says of them, in memory."""

    def __init__(
        self, first: LiveFrame, title: str, by_hand: bool, pixels: Spool, masks: Spool
    ) -> None:
        frame = first.frame
        # Where only a part of the picture is calibrated, a number for all of it would be wrong.
        spacing = None if frame.regions else frame.spacing_mm
        self.recorded: Recorded = Recorded((frame.height, frame.width), title, spacing)
        self._by_hand, self._start_s = by_hand, first.times.captured
        self._pixels, self._masks = pixels, masks
        self._rest: NDArray[np.uint8] = np.zeros(0, np.uint8)  # bits that fill no byte yet
        self._places: dict[int, int] = {}  # number of an object -> place of its segment

    def has_room(self, limit: int) -> bool:
        """Another frame can be taken."""
        height, width = self.recorded.size
        masks = (len(self.recorded.masks) + _MOST_MASKS) * height * width / 8
        room = LARGEST // (3 * height * width)
        return len(self.recorded.frames) < min(limit, room) and masks <= LARGEST

    def add(self, item: LiveFrame) -> None:
        """Store a frame with its masks.

        Raises:
            OutputError: no space left; it is not stored then.
        """
        recorded, picture = self.recorded, item.frame.picture
        index = len(recorded.frames)
        grey = picture if picture.ndim == 2 else picture[..., 0]
        if not recorded.colour and picture.ndim == 3 and (picture != grey[..., None]).any():
            self._colour()
        if recorded.colour:
            wide = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
            self._pixels.write(np.ascontiguousarray(wide).tobytes())
        else:
            self._pixels.write(np.ascontiguousarray(grey).tobytes())
        recorded.frames.append(item.times.captured - self._start_s)
        found = [one for one in item.objects if one.mask is not None]
        found = [one for one in found if one.status is Status.FOUND and one.area_px]
        covered = np.zeros(recorded.size, np.uint8)
        for one in found:
            assert one.mask is not None
            inside = np.asarray(one.mask != 0, np.uint8)
            covered += inside
            self._add_mask(index, self._place(one), inside)
        recorded.overlap = recorded.overlap or bool((covered > 1).any())

    def _place(self, one: LiveObject) -> int:
        """Place of an object's segment; it is called what it was called last."""
        place = self._places.setdefault(one.number, len(self._places))
        segment = Segment(one.number, one.name, one.colour, self._by_hand)
        self.recorded.segments[place : place + 1] = [segment]
        return place

    def _add_mask(self, frame: int, segment: int, inside: NDArray[np.uint8]) -> None:
        """Frames of one bit per pixel follow each other without a gap (PS3.5 8.1.1)."""
        bits = np.concatenate([self._rest, inside.ravel()])
        whole = len(bits) // 8 * 8
        self._masks.write(np.packbits(bits[:whole], bitorder="little").tobytes())
        self._rest = bits[whole:]
        self.recorded.masks.append((frame, segment))

    def _colour(self) -> None:
        """From here on frames are RGB, and so are those before."""
        height, width = self.recorded.size
        self._pixels.rewrite(
            height * width, lambda part: np.frombuffer(part, np.uint8).repeat(3).tobytes()
        )
        self.recorded.colour = True

    def pixel_file(self) -> IO[bytes]:
        """All frames, ready to be read."""
        height, width = self.recorded.size
        channels = 3 if self.recorded.colour else 1
        return self._pixels.reader(len(self.recorded.frames) * height * width * channels)

    def mask_file(self) -> IO[bytes]:
        """All masks, ready to be read."""
        height, width = self.recorded.size
        self._masks.cut(len(self.recorded.masks) * height * width // 8)
        self._masks.write(np.packbits(self._rest, bitorder="little").tobytes())
        return self._masks.reader(-(-len(self.recorded.masks) * height * width // 8))
