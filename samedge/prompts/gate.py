"""Whether the mask of a moving object may be believed: the quality gate of live tracking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import PromptError
from samedge.prompts.tracking import interior_point

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class GateSettings:
    """What a mask has to be like to be fed back.

    Attributes:
        score: smallest predicted IoU.
        area_jump: largest factor between its area and that of the last good one, either way.
        overlap: smallest IoU with the last good one, when that is `fresh_s` old or younger.
        border: largest share of its outline that lies on the border of what the network sees.
        min_area: in px.
        hold_s: after so long without a good mask the object is lost.
        fresh_s: see `overlap`.
    """

    score: float = 0.5
    area_jump: float = 2.5
    overlap: float = 0.3
    border: float = 0.35
    min_area: int = 20
    hold_s: float = 0.15
    fresh_s: float = 0.5


class Verdict(str, Enum):
    """What the gate says."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    LOST = "lost"


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked about one object: arguments of `Session.predict` for it.

    Attributes:
        points: float64 `[P, 2]`, (x, y) in px; P may be 0 where there is a box.
        labels: int64 `[P]`.
        box: float64 `[4]` or None.
        logits: float32 `[L, L]`, mask prompt, or None.
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None = None
    logits: NDArray[np.float32] | None = None


class GatedTracker:
    """One object that is followed: the interior point of its last good mask is asked next.

    Nothing of a doubtful mask is fed back. Frames' own times are the only clock, so a replay of the
    same frames gives the same verdicts.

    Args:
        question: what the user asked; has a positive point or a box.
        settings: of the gate.
        use_logits: the family takes mask prompts: the logits of the last good mask are asked, too.

    Attributes:
        reason: of the last verdict, in words; empty after a good one.

    Raises:
        PromptError: there is nothing to follow.
    """

    def __init__(self, question: Question, settings: GateSettings, use_logits: bool) -> None:
        if question.box is None and not (question.labels == 1).any():
            raise PromptError("tracking needs a point inside the object, or a box around it")
        self._first, self._settings, self._use_logits = question, settings, use_logits
        self._next = question
        self._last: NDArray[np.uint8] | None = None
        self._area = 0
        self._good_s: float | None = None
        self._since_s: float | None = None
        self._lost = False
        self.reason = ""

    def ask(self) -> Question:
        """What to ask of the next frame."""
        return self._next

    def update(
        self,
        mask: NDArray[np.uint8],
        score: float,
        logits: NDArray[np.float32],
        time_s: float,
        area: Box,
    ) -> Verdict:
        """Take in the answer to `ask`.

        Args:
            mask: uint8 `[H, W]`, 0 or not 0, of this frame.
            score: its predicted IoU.
            logits: float32 `[L, L]`, of this mask.
            time_s: when the frame was captured; any zero.
            area: (x0, y0, x1, y1) px, what the network saw of the frame.
        """
        size = int(np.count_nonzero(mask))
        self.reason = self._doubt(mask, size, score, time_s, area)
        if not self.reason:
            self._take(mask, size, logits, time_s)
            return Verdict.GOOD
        if self._since_s is None:
            self._since_s = time_s
        if self._lost or time_s - self._since_s >= self._settings.hold_s:
            self._give_up()
            return Verdict.LOST
        return Verdict.DOUBTFUL

    def lose(self, reason: str) -> None:
        """What was known of the object's place does not hold any more: another scene or size."""
        self.reason = reason
        self._give_up()
        self._last = None

    def _give_up(self) -> None:
        self._lost = True
        self._next = replace(self._next, logits=None)

    def _doubt(
        self, mask: NDArray[np.uint8], size: int, score: float, time_s: float, area: Box
    ) -> str:
        """Why a mask may not be believed; empty: it may."""
        limits = self._settings
        if size < max(limits.min_area, 1):
            return f"the mask has {size} px"
        if self._good_s is None and self._last is None and not self._lost:
            return ""  # the user said that it is there
        if score < limits.score:
            return f"score {score:.2f} below {limits.score:.2f}"
        factor = max(size / self._area, self._area / size) if self._area else 1.0
        if factor > limits.area_jump:
            return f"area changed by a factor of {factor:.1f}"
        if self._last is not None and self._good_s is not None and not self._lost:
            fresh = time_s - self._good_s <= limits.fresh_s
            if fresh and self._last.shape == mask.shape:
                both = int(np.count_nonzero(self._last & (mask != 0)))
                overlap = both / max(size + self._area - both, 1)
                if overlap < limits.overlap:
                    return f"overlap {overlap:.2f} below {limits.overlap:.2f}"
        share = border_share(mask, area)
        if share > limits.border:
            return f"{share:.0%} of its outline lie on the border"
        return ""

    def _take(
        self, mask: NDArray[np.uint8], size: int, logits: NDArray[np.float32], time_s: float
    ) -> None:
        """A good mask: ask from here on."""
        self._last = np.asarray(mask != 0, np.uint8)
        self._area, self._good_s, self._since_s, self._lost = size, time_s, None, False
        point = interior_point(mask)
        assert point is not None
        first = self._first
        outside = first.labels == 0
        self._next = Question(
            np.concatenate([np.asarray([point], np.float64), first.points[outside]]),
            np.concatenate([np.ones(1, np.int64), first.labels[outside]]),
            None,
            np.array(logits, np.float32) if self._use_logits else None,
        )


def border_share(mask: NDArray[np.uint8], area: Box) -> float:
    """Share of a mask's outline that lies on the border of a box: 0 to 1.

    Args:
        mask: uint8 `[H, W]`, 0 or not 0.
        area: (x0, y0, x1, y1) px.
    """
    x0, y0, x1, y1 = area
    inside = np.pad(np.asarray(mask[y0:y1, x0:x1] != 0, np.uint8), 1)
    eroded = cv2.erode(inside, np.ones((3, 3), np.uint8))
    outline = (inside & ~np.asarray(eroded, np.uint8))[1:-1, 1:-1]
    total = int(np.count_nonzero(outline))
    if not total:
        return 0.0
    middle = int(np.count_nonzero(outline[1:-1, 1:-1]))
    return (total - middle) / total
