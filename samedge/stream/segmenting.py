"""The loop: frame -> session -> masks, with a prompt that stays or follows its object."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.families import Family
from samedge.geometry.measures import Measures, measure_mask
from samedge.prompts.plan import PromptPlan
from samedge.prompts.prompt import Prompt
from samedge.prompts.tracking import Tracker
from samedge.sources.frame import Box, Frame, Source
from samedge.stream.areas import mask_area_mm2, mask_spacing_mm
from samedge.stream.classes import default_classes, number_of
from samedge.stream.options import SegmentOptions


class Answer(Protocol):
    """What a session returns; see samedge.runtime.result.Result."""

    @property
    def masks(self) -> NDArray[np.uint8]: ...
    @property
    def scores(self) -> NDArray[np.float32]: ...
    @property
    def low_res_logits(self) -> NDArray[np.float32]: ...
    @property
    def object_index(self) -> NDArray[np.int64]: ...
    @property
    def class_index(self) -> NDArray[np.int64]: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def class_map(self) -> NDArray[np.uint8] | None: ...
    @property
    def timing_ms(self) -> Mapping[str, float]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def best(self, index: int = ...) -> int: ...


class Segmenter(Protocol):
    """The part of samedge.runtime.Session that is used here."""

    @property
    def family(self) -> Family: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...
    def describe(self) -> Mapping[str, Any]: ...

    def segment(
        self,
        frame: Any,
        points: Any = ...,
        labels: Any = ...,
        box: Any = ...,
        mask: Any = ...,
        multimask: bool = ...,
        crop: Box | None = ...,
    ) -> Answer: ...

    def segment_slices(
        self, slices: Any, prompts: Sequence[Mapping[str, Any]]
    ) -> Sequence[Answer]: ...


class LiveSegmenter(Segmenter, Protocol):
    """What a live stream needs besides: prompts are answered again on a picture that stands."""

    def set_frame(self, frame: Any, crop: Box | None = ...) -> None: ...
    def predict(
        self,
        points: Any = ...,
        labels: Any = ...,
        box: Any = ...,
        mask: Any = ...,
        multimask: bool = ...,
    ) -> Answer: ...


@dataclass(frozen=True, eq=False)
class Segmented:
    """One frame with its answer.

    Attributes:
        frame: as read.
        prompt: as asked.
        crop: part of the frame that the network saw, or None for all.
        masks: uint8 `[K, H, W]`, 0 or 1; of families with classes, only those to keep.
        scores: float32 `[K]`.
        object_index: int `[K]`, object of each mask, from 0.
        best: positions of the masks to show: the highest-scoring one of each object and class.
        lost: per object: tracking has no mask to follow.
        timing_ms: "read" (decoding the source) and the session's stages.
        class_index: int `[K]`, index of each mask's class.
        class_names: of all classes; empty for families without.
        class_map: uint8 `[H, W]`, number of the class of each pixel, 0 for those not kept; only
            where classes exclude each other.
        notes: of the session, on what may be wrong for this frame.
    """

    frame: Frame
    prompt: Prompt
    crop: Box | None
    masks: NDArray[np.uint8]
    scores: NDArray[np.float32]
    object_index: NDArray[np.int64]
    best: tuple[int, ...]
    lost: tuple[bool, ...]
    timing_ms: dict[str, float]
    class_index: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_names: tuple[str, ...] = ()
    class_map: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()

    def area_px(self, index: int) -> int:
        """Area of mask `index` in px."""
        return self._areas_px[index]

    @cached_property
    def _areas_px(self) -> tuple[int, ...]:
        """Counted once: captions, curves, tables and reports all ask."""
        return tuple(int(np.count_nonzero(mask)) for mask in self.masks)

    def area_mm2(self, index: int) -> float | None:
        """Area of mask `index` in mm2, if the pixel spacing where it lies is known."""
        return self._areas_mm2[index]

    @cached_property
    def _areas_mm2(self) -> tuple[float | None, ...]:
        return tuple(
            mask_area_mm2(self.frame, mask, pixels)
            for mask, pixels in zip(self.masks, self._areas_px, strict=True)
        )

    def measures(self, index: int) -> Measures | None:
        """What can be measured on mask `index`, in mm where the pixel spacing is known there, else
        in px; None where it is empty."""
        if index not in self._measures:
            mask = self.masks[index]
            spacing = mask_spacing_mm(self.frame, mask, self.area_px(index))
            self._measures[index] = measure_mask(mask, spacing)
        return self._measures[index]

    @cached_property
    def _measures(self) -> dict[int, Measures | None]:
        """Of those that were asked for."""
        return {}

    @property
    def is_partly_unsized(self) -> bool:
        """The frame is calibrated somewhere, but not where a mask lies."""
        known = bool(self.frame.regions) or self.frame.spacing_mm is not None
        return known and any(self.area_mm2(k) is None for k in self.best)

    def object_number(self, index: int) -> int:
        """What the object of mask `index` is called, from 1."""
        return self.prompt.number(int(self.object_index[index]))

    def class_number(self, index: int) -> int | None:
        """Number of the class of mask `index`; None for families without classes."""
        if not self.class_names:
            return None
        return number_of(int(self.class_index[index]), self.class_map is not None)

    def class_name(self, index: int) -> str | None:
        """Name of the class of mask `index`; None for families without classes."""
        return self.class_names[int(self.class_index[index])] if self.class_names else None


def segment_frames(
    session: Segmenter, source: Source, plan: PromptPlan, options: SegmentOptions
) -> Iterator[Segmented]:
    """Segment every frame of a source; slices of a volume in groups where the family wants them so.

    Args:
        session: from `samedge.load`.
        source: from `open_source`.
        plan: what to ask.
        options: crop, tracking and so on. Nothing is checked here: `samedge.stream.job` did it all.

    Raises:
        PromptError: a prompt does not fit a frame.
        SourceError: the source is damaged, or has no region for "auto".
    """
    frames = _timed(source, options.limit)
    if session.family.slices > 1:
        return _by_groups(session, frames, plan, options)
    return _one_by_one(session, source, frames, plan, options)


def _timed(source: Source, limit: int | None) -> Iterator[tuple[Frame, float]]:
    """Frames, and the milliseconds that reading each took."""
    frames = iter(source)
    done = 0
    while limit is None or done < limit:
        start = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        yield frame, (time.perf_counter() - start) * 1e3
        done += 1


def _one_by_one(
    session: Segmenter,
    source: Source,
    frames: Iterator[tuple[Frame, float]],
    plan: PromptPlan,
    options: SegmentOptions,
) -> Iterator[Segmented]:
    tracker: Tracker | None = None
    for frame, read_ms in frames:
        crop = _crop(frame, options.crop)
        if tracker is None:
            prompt = plan.resolve(frame.height, frame.width, crop, frame.index)
            if options.track and source.is_sequence:
                tracker = Tracker(prompt, options.min_area, "mask" in session.family.prompts)
        else:
            prompt = tracker.prompt
        arguments = prompt.arguments() if tracker is None else tracker.arguments()
        answer = session.segment(frame.pixels, **arguments, multimask=options.multimask, crop=crop)
        lost = (False,) * prompt.objects
        if tracker is not None:
            best = _best(answer, np.arange(len(answer.scores)))
            tracker.update(answer.masks[list(best)], answer.low_res_logits[list(best)])
            lost = tuple(tracker.lost)
        timing = {"read": read_ms, **answer.timing_ms}
        yield _segmented(session.family, options, frame, prompt, crop, answer, lost, timing)


def _by_groups(
    session: Segmenter,
    frames: Iterator[tuple[Frame, float]],
    plan: PromptPlan,
    options: SegmentOptions,
) -> Iterator[Segmented]:
    count = session.family.slices
    group: list[tuple[Frame, float]] = []
    for item in frames:
        group.append(item)
        if len(group) < count:
            continue
        prompts = [plan.resolve(f.height, f.width, None, f.index) for f, _ in group]
        slices = stack_pixels([frame for frame, _ in group])
        answers = session.segment_slices(slices, [p.arguments() for p in prompts])
        for (frame, read_ms), prompt, answer in zip(group, prompts, answers, strict=True):
            lost = (False,) * prompt.objects
            timing = {"read": read_ms, **answer.timing_ms}
            yield _segmented(session.family, options, frame, prompt, None, answer, lost, timing)
        group = []
    if group:
        raise SourceError(
            f"{group[0][0].source} ends {len(group)} slices after the last group of {count}; it is "
            "damaged"
        )


def stack_pixels(frames: Sequence[Frame]) -> NDArray[Any]:
    """Slices of one volume as one array, `[D, H, W]` or `[D, H, W, 3]`; uint16 if one of them is.

    Raises:
        SourceError: they differ in size.
    """
    first = frames[0]
    for frame in frames:
        if (frame.height, frame.width) != (first.height, first.width):
            raise SourceError(
                f"{frame.source} has a slice of {frame.width} x {frame.height} px after one of "
                f"{first.width} x {first.height} px; the slices of a volume have one size"
            )
    pixels = [frame.pixels for frame in frames]
    if any(p.ndim == 3 for p in pixels):
        pixels = [f.picture if f.pixels.ndim == 3 else _repeated(f.picture) for f in frames]
    elif any(p.dtype == np.uint16 for p in pixels):
        pixels = [
            p if p.dtype == np.uint16 else p.astype(np.uint16) * np.uint16(257) for p in pixels
        ]
    return np.stack(pixels)


def _repeated(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)


def _segmented(
    family: Family,
    options: SegmentOptions,
    frame: Frame,
    prompt: Prompt,
    crop: Box | None,
    answer: Answer,
    lost: tuple[bool, ...],
    timing: dict[str, float],
) -> Segmented:
    """The answer, of families with classes without those that nobody asked for."""
    keep = np.arange(len(answer.scores))
    class_map = answer.class_map
    if family.classes:
        wanted = default_classes(family) if options.classes is None else options.classes
        keep = np.flatnonzero(np.isin(answer.class_index, wanted))
        if class_map is not None:
            class_map = np.where(np.isin(class_map, wanted), class_map, 0).astype(np.uint8)
    return Segmented(
        frame,
        prompt,
        crop,
        answer.masks[keep],
        answer.scores[keep],
        answer.object_index[keep],
        _best(answer, keep),
        lost,
        timing,
        answer.class_index[keep],
        answer.class_names,
        class_map,
        answer.notes,
    )


def _best(answer: Answer, keep: NDArray[np.int64]) -> tuple[int, ...]:
    """Positions in `keep` of the highest-scoring mask of each object and class, in their order."""
    found: dict[tuple[int, int], int] = {}
    for place, k in enumerate(keep):
        key = int(answer.object_index[k]), int(answer.class_index[k])
        if key not in found or answer.scores[k] > answer.scores[keep[found[key]]]:
            found[key] = place
    return tuple(found[key] for key in sorted(found))


def _crop(frame: Frame, crop: Box | str | None) -> Box | None:
    if not isinstance(crop, str):
        return crop
    if frame.region is None:
        raise SourceError(
            f"{frame.source} does not say where the ultrasound image is (no DICOM region tag); "
            "give --crop X0,Y0,X1,Y1"
        )
    return frame.region
