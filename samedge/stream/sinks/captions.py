"""Words below the pictures: what was found, how large it is, where in the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import ALERT, FAINT, INK, Colour, colour_of
from samedge.drawing.contact_sheet import MAX_CELL_WIDTH, Cell
from samedge.drawing.overlay import Line
from samedge.drawing.text import grouped
from samedge.sources.frame import Source
from samedge.stream.sampling import EvenSampler
from samedge.stream.segmenting import Segmented
from samedge.stream.sinks.report import NOTICE

MAX_LINES = 6  # objects listed below a picture
MAX_CLASSES = 24  # classes listed below a picture, two in a line
MAX_CURVE_POINTS = 4096


@dataclass(frozen=True)
class Captions:
    """Writes the captions of one source.

    Attributes:
        source: whose frames are shown.
        step: what one of them is: "frame" or "slice".
        notice: a warning in every caption, or "".
        even: the frames are those of a video: their captions say which, and have the same number
            of lines.
        measure: tell diameters and circumference.
    """

    source: Source
    step: str = "frame"
    notice: str = ""
    even: bool = False
    measure: bool = False

    def lines(self, item: Segmented) -> list[Line]:
        """The caption of one frame."""
        lines = self._classes(item) if item.class_names else self._objects(item)
        total = item.timing_ms.get("total")
        lines[0] = replace(lines[0], right="" if total is None else f"{total:.0f} ms")
        where = self._where(item)
        if self.notice:
            lines += [Line(where, ink=FAINT)] if where else []
            return [*lines, Line(self.notice, NOTICE, ink=ALERT)]
        return [*lines, Line(where, NOTICE, ink=FAINT)]

    def _classes(self, item: Segmented) -> list[Line]:
        """Classes that are in the frame, two in a line."""
        shown = visible(item)
        present = [k for k in shown if item.area_px(k)]
        entries = [
            Line(f"{title(item, k)}   {area(item, k)}", "", mask_colour(item, k))
            for k in present[:MAX_CLASSES]
        ]
        if len(present) > MAX_CLASSES:
            entries[-1] = Line(f"and {len(present) - MAX_CLASSES + 1} more", ink=FAINT)
        first = Line("nothing found" if not present else found(len(present)), ink=FAINT)
        # The second half of a line is empty where the number of entries is odd.
        lines = [first] + [
            replace(left, beside=right)
            for left, right in zip(entries[::2], [*entries[1::2], Line("")], strict=False)
        ]
        if self.even:
            wanted = 1 + -(-min(len(shown), MAX_CLASSES) // 2)
            lines += [Line("")] * (wanted - len(lines))
        return lines

    def _where(self, item: Segmented) -> str:
        if not (self.even or self.step == "slice"):
            return ""
        of = f" of 0 to {self.source.total - 1}" if self.source.total else ""
        return f"{self.step} {item.frame.index}{of}{_clock(item)}"

    def _objects(self, item: Segmented) -> list[Line]:
        several = len(item.best) > 1
        lines = []
        for i, k in enumerate(item.best[:MAX_LINES]):
            label = f"{title(item, k)}   " if several else ""
            lost = "   lost: no mask to follow" if item.lost[i] else ""
            score = f"score {float(item.scores[k]):.2f}"
            lines.append(Line(f"{label}{score}   {area(item, k)}{lost}", "", mask_colour(item, k)))
            if self.measure:
                lines.append(Line(f"{measured(item, k)}", ink=FAINT))
        if len(item.best) > MAX_LINES:
            lines.append(Line(f"and {len(item.best) - MAX_LINES} more objects", ink=FAINT))
        return lines

    def cell(self, item: Segmented, picture: NDArray[np.uint8]) -> Cell:
        """A small picture for the contact sheet."""
        shown = [k for k in visible(item) if not item.class_names or item.area_px(k)]
        several = len(shown) > 1
        words = [
            f"{title(item, k)} {area(item, k)}" if item.class_names else area(item, k)
            for k in shown[:2]
        ]
        if several and len(shown) > 2 and item.class_names:
            words = [found(len(shown))]
        score = "" if several or item.class_names else f"score {float(item.scores[shown[0]]):.2f}"
        # Small already here: many are kept until the loop's end is known.
        factor = min(1.0, MAX_CELL_WIDTH / picture.shape[1])
        size = (round(picture.shape[1] * factor), max(1, round(picture.shape[0] * factor)))
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        text = "   ".join(word for word in (score, *words) if word)
        return Cell(small, f"{self.step} {item.frame.index}{_clock(item)}", text)


def found(count: int) -> str:
    """Words for a number of structures."""
    return "1 structure" if count == 1 else f"{count} structures"


def visible(item: Segmented) -> list[int]:
    """Masks to draw and to list: the background is not, also where its mask is asked for."""
    return [k for k in item.best if item.class_number(k) != 0]


def title(item: Segmented, k: int) -> str:
    """What mask k shows: a class, an object, or a class of one of several objects."""
    name = item.class_name(k)
    if name is None:
        return f"object {item.object_number(k)}"
    return name if item.prompt.objects == 1 else f"{name} {item.object_number(k)}"


def mask_colour(item: Segmented, k: int) -> Colour:
    """Colour of mask k: that of its class, or of its object in families without classes."""
    number = item.class_number(k)
    return colour_of((item.object_number(k) if number is None else number) - 1)


def prompt_colours(item: Segmented) -> list[Colour]:
    """Colours of the prompts: those of their objects, or plain where colours mean classes."""
    if item.class_names:
        return [INK] * item.prompt.objects
    return [colour_of(item.prompt.number(i) - 1) for i in range(item.prompt.objects)]


def area(item: Segmented, k: int) -> str:
    """Area of mask k in words: in px, and in mm2 where that is known."""
    pixels, mm2 = item.area_px(k), item.area_mm2(k)
    words = f"area {grouped(pixels)} px"
    if mm2 is None:
        return words
    return words + (f" = {grouped(mm2)} mm2" if mm2 >= 100 else f" = {mm2:.1f} mm2")


def measured(item: Segmented, k: int) -> str:
    """Diameters and circumference of mask k in words; "" where it is empty."""
    found = item.measures(k)
    if found is None:
        return ""
    long, across, around = (
        _length(value)
        for value in (found.longest.length, found.across.length, found.ellipse.circumference)
    )
    words = f"{long} x {across} {found.unit}   ellipse around {around} {found.unit}"
    return words + (f"   in {found.parts} parts" if found.parts > 1 else "")


def _length(value: float) -> str:
    return grouped(value) if value >= 1000 else f"{value:.1f}"


def _clock(item: Segmented) -> str:
    return "" if item.frame.time_s is None else f"   {item.frame.time_s:.2f} s"


_Areas: TypeAlias = dict[tuple[int, int], tuple[int, float]]


class Curves:
    """Areas of everything that is drawn, frame by frame; what is absent has the area 0.

    Of more frames than a page has pixels, an even sample is kept.
    """

    def __init__(self) -> None:
        self._frames: EvenSampler[dict[tuple[int, int], tuple[int, float]]] = EvenSampler(
            MAX_CURVE_POINTS
        )
        self._kinds: dict[tuple[int, int], tuple[str, Colour]] = {}
        self._sized = True

    @property
    def unit(self) -> str:
        """Of the values: "mm2" where all areas are known so, else "px"."""
        return "mm2" if self._sized else "px"

    def add(self, item: Segmented) -> None:
        """Note one frame."""
        areas = {}
        for k in visible(item):
            key = (item.class_number(k) or 0, item.object_number(k))
            mm2 = item.area_mm2(k)
            self._sized = self._sized and mm2 is not None
            areas[key] = (item.area_px(k), mm2 or 0.0)
            if item.area_px(k) or not item.class_names:
                self._kinds[key] = (title(item, k), mask_colour(item, k))
        self._frames.add(areas)

    def values(self) -> list[list[float]]:
        """`[frames][curves]`."""
        keys = sorted(self._kinds)
        frames, unit = self._frames.items(), int(self._sized)
        return [[float(frame.get(key, (0, 0.0))[unit]) for key in keys] for frame in frames]

    def colours(self) -> list[Colour]:
        """One per curve."""
        return [self._kinds[key][1] for key in sorted(self._kinds)]

    def legend(self) -> list[tuple[str, Colour]]:
        """Names and colours of the classes that were found."""
        return [kind for (number, _), kind in sorted(self._kinds.items()) if number]
