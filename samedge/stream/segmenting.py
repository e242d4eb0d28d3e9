"""The loop: frame -> session -> masks, with a prompt that stays or follows its object."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.families import Family
from samedge.stream.frame import Box, Frame, Source
from samedge.stream.prompts import Prompt, PromptPlan
from samedge.stream.tracking import MIN_AREA_PX, Tracker


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
    def timing_ms(self) -> Mapping[str, float]: ...


class Segmenter(Protocol):
    """The part of samedge.runtime.Session that is used here."""

    family: Family

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


@dataclass(frozen=True)
class Segmented:
    """One frame with its answer.

    Attributes:
        frame: as read.
        prompt: as asked.
        crop: part of the frame that the network saw, or None for all.
        masks: uint8 `[K, H, W]`, 0 or 1.
        scores: float32 `[K]`.
        object_index: int `[K]`, object of each mask, from 0.
        best: position of each object's highest-scoring mask, one per object.
        lost: per object: tracking has no mask to follow.
        timing_ms: "read" (decoding the source) and the session's stages.
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

    def area_px(self, index: int) -> int:
        """Area of mask `index` in px."""
        return int(np.count_nonzero(self.masks[index]))

    def area_mm2(self, index: int) -> float | None:
        """Area of mask `index` in mm2, if the frame's pixel spacing is known."""
        spacing = self.frame.spacing_mm
        return None if spacing is None else self.area_px(index) * spacing[0] * spacing[1]


@dataclass(frozen=True)
class Options:
    """How a source is segmented.

    Attributes:
        crop: (x0, y0, x1, y1), "auto" (the DICOM region), or None.
        multimask: several masks per object.
        track: prompts follow their objects through loops and through the images of a folder.
        min_area: smallest mask, in px, that a tracked point is taken from.
        limit: stop after so many frames; None: at the end.
    """

    crop: Box | str | None = None
    multimask: bool = False
    track: bool = False
    min_area: int = MIN_AREA_PX
    limit: int | None = None


def segment_source(
    session: Segmenter, source: Source, plan: PromptPlan, options: Options
) -> Iterator[Segmented]:
    """Segment every frame of a source.

    Args:
        session: from `samedge.load`.
        source: from `open_source`.
        plan: what to ask; checked against the session's family.
        options: crop, tracking and so on.

    Raises:
        PromptError: the prompt does not fit the family or a frame.
        SourceError: the source is damaged, or has no region for "auto".
    """
    plan.check(session.family)
    tracker: Tracker | None = None
    frames = iter(source)
    done = 0
    while options.limit is None or done < options.limit:
        start = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        read_ms = (time.perf_counter() - start) * 1e3
        crop = _crop(frame, options.crop)
        if tracker is None:
            prompt = plan.resolve(frame.height, frame.width, crop)
            if options.track and (source.is_loop or source.kind == "folder"):
                tracker = Tracker(prompt, options.min_area, "mask" in session.family.prompts)
        else:
            prompt = tracker.prompt
        arguments = prompt.arguments() if tracker is None else tracker.arguments()
        answer = session.segment(frame.pixels, **arguments, multimask=options.multimask, crop=crop)
        best = _best(answer, prompt.objects)
        if tracker is not None:
            tracker.update(answer.masks[list(best)], answer.low_res_logits[list(best)])
        yield Segmented(
            frame,
            prompt,
            crop,
            answer.masks,
            answer.scores,
            answer.object_index,
            best,
            tuple(tracker.lost) if tracker is not None else (False,) * prompt.objects,
            {"read": read_ms, **answer.timing_ms},
        )
        done += 1


def _best(answer: Answer, objects: int) -> tuple[int, ...]:
    """Position of the highest-scoring mask of each object."""
    places = (np.flatnonzero(answer.object_index == i) for i in range(objects))
    return tuple(int(p[np.argmax(answer.scores[p])]) for p in places)


def _crop(frame: Frame, crop: Box | str | None) -> Box | None:
    if not isinstance(crop, str):
        return crop
    if frame.region is None:
        raise SourceError(
            f"{frame.source} does not say where the ultrasound image is (no DICOM region tag); "
            "give --crop X0,Y0,X1,Y1"
        )
    return frame.region
