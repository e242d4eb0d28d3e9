"""What was found in a source, frame by frame into numbers whose count does not grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from samedge.sources.frame import Source
from samedge.stream.sampling import EvenSampler
from samedge.stream.segmenting import Segmented

# Frames whose latency is kept: percentiles are exact up to here, and those of an even sample of at
# least half as many frames beyond.
LATENCY_FRAMES = 4096

Key = tuple[int, int]  # number of the class (0: the family has none), number of the object


@dataclass(frozen=True)
class ValueRange:
    """Smallest and largest of some values."""

    low: float
    high: float

    def including(self, value: float) -> ValueRange:
        """The range that holds `value` as well."""
        return ValueRange(min(self.low, value), max(self.high, value))


def _widened(known: ValueRange | None, value: float) -> ValueRange:
    return ValueRange(value, value) if known is None else known.including(value)


@dataclass(frozen=True)
class Structure:
    """One object, or one class of it, over all frames; of several masks the best counts.

    Attributes:
        object: its number, from 1.
        label: number of the class; None for families without classes.
        name: the class's name, or "object 1".
        frames: in which it was asked for.
        frames_found: in which it has pixels.
        area_px: of the frames in which it was found; None: in none.
        area_mm2: the same in mm2; None where it is not known in all frames.
        score: over all frames; with classes over those in which it was found.
        voxels: pixels of all frames together.
        mm3, ml: their volume, for volumes whose spacing is known.
    """

    object: int
    label: int | None
    name: str
    frames: int = 0
    frames_found: int = 0
    area_px: ValueRange | None = None
    area_mm2: ValueRange | None = None
    score: ValueRange | None = None
    voxels: int = 0
    mm3: float | None = None

    @property
    def ml(self) -> float | None:
        """Volume in ml."""
        return None if self.mm3 is None else self.mm3 / 1000


@dataclass(frozen=True)
class SourceSummary:
    """What was found in one source.

    Attributes:
        name: of the source, as the user gave it, without folders.
        kind: "image", "folder", "video", "dicom", "volume", "time series" or "dicom series".
        frames: that were segmented.
        is_volume: the frames are slices, whose voxels and volumes mean something.
        frames_lost: in which tracking had no mask of some object to follow.
        structures: by class and object.
        classes: names of all the family's classes; empty if it has none.
        latency_ms: stage -> {"p50", "p95"}.
        warnings: what was not as expected in the source, and what the session noted.
        outputs: kind of output ("masks", "overlays", "video", "contact_sheet", "labels",
            "segmentation", "areas") -> file or folder; empty if nothing was to be written.
    """

    name: str
    kind: str
    frames: int
    is_volume: bool
    frames_lost: int
    structures: tuple[Structure, ...]
    classes: tuple[str, ...]
    latency_ms: Mapping[str, Mapping[str, float]]
    warnings: tuple[str, ...]
    outputs: Mapping[str, Path] = field(default_factory=dict)


def _found_again(known: Structure, pixels: int, mm2: float | None) -> Structure:
    """The structure after another frame in which it has pixels."""
    unsized = mm2 is None or (known.frames_found > 0 and known.area_mm2 is None)
    return replace(
        known,
        frames_found=known.frames_found + 1,
        area_px=_widened(known.area_px, pixels),
        area_mm2=None if unsized or mm2 is None else _widened(known.area_mm2, round(mm2, 3)),
    )


class Tally:
    """Takes the frames of one source; keeps numbers only."""

    def __init__(self) -> None:
        self.frames = self.frames_lost = 0
        self._notes: dict[str, int] = {}
        self.classes: tuple[str, ...] = ()
        self._found: dict[Key, Structure] = {}
        self._stages: tuple[str, ...] = ()
        self._latency: EvenSampler[tuple[float, ...]] = EvenSampler(LATENCY_FRAMES)

    def add(self, item: Segmented) -> None:
        """Take in one frame."""
        if not self.frames:
            self.classes, self._stages = item.class_names, tuple(item.timing_ms)
        self.frames += 1
        self.frames_lost += any(item.lost)
        for note in item.notes:
            self._notes[note] = self._notes.get(note, 0) + 1
        self._latency.add(tuple(round(item.timing_ms[stage], 3) for stage in self._stages))
        for k in item.best:
            self._add_mask(item, k)

    def _add_mask(self, item: Segmented, k: int) -> None:
        label, number, pixels = item.class_number(k), item.object_number(k), item.area_px(k)
        key = (label or 0, number)
        known = self._found.get(key)
        if known is None:
            known = Structure(number, label, item.class_name(k) or f"object {number}")
        if pixels:
            known = _found_again(known, pixels, item.area_mm2(k))
        if pixels or not item.class_names:
            score = _widened(known.score, round(float(item.scores[k]), 5))
            known = replace(known, score=score)
        self._found[key] = replace(known, frames=known.frames + 1, voxels=known.voxels + pixels)

    def warnings(self, source: Source) -> tuple[str, ...]:
        """What was not as expected: in the source, and what the session noted of its frames."""
        noted = [
            note if count == self.frames else f"{count} of {self.frames} frames: {note}"
            for note, count in self._notes.items()
        ]
        return (*source.warnings, *noted)

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Median and 95th percentile per stage, in ms. The first frame counts like the others."""
        rows = np.asarray(self._latency.items(), np.float64)
        return {
            stage: {f"p{p}": round(float(np.percentile(rows[:, i], p)), 3) for p in (50, 95)}
            for i, stage in enumerate(self._stages)
        }

    def structures(self, voxel_mm3: float | None = None) -> tuple[Structure, ...]:
        """All that was asked for, in the order of classes and objects.

        Args:
            voxel_mm3: of a volume: what one pixel stands for.
        """
        found = [self._found[key] for key in sorted(self._found)]
        if voxel_mm3 is None:
            return tuple(found)
        return tuple(replace(s, mm3=s.voxels * voxel_mm3) for s in found)

    def summary(
        self, source: Source, outputs: Mapping[str, Path], is_volume: bool
    ) -> SourceSummary:
        """The numbers of a source that has ended.

        Args:
            source: where the frames are from.
            outputs: what was written.
            is_volume: its frames are slices of one volume.
        """
        return SourceSummary(
            name=source.name,
            kind=source.kind,
            frames=self.frames,
            is_volume=is_volume,
            frames_lost=self.frames_lost,
            structures=self.structures(source.voxel_mm3 if is_volume else None),
            classes=self.classes,
            latency_ms=self.latency_ms(),
            warnings=self.warnings(source),
            outputs=dict(outputs),
        )
