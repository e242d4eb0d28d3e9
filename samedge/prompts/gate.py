"""Whether the mask of a moving object may be believed: the quality gate of live tracking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import PromptError, SessionError
from samedge.prompts.tracking import interior_point

Box = tuple[int, int, int, int]
Mask = NDArray[np.uint8]
_NEIGHBOURS_S = 0.07  # frames that are so far apart differ little
_GRACE_S = 0.1  # for which an object that is being found again may look otherwise
_STILL = 0.3  # of an object's radius: its centre moves by that much when it beats
_LIKE = 1.3  # factor between areas that are about the same
_NARROW = 0.08  # a score that is less below the usual one is as usual
_AT_FIRST, _BEFORE = 0.05, 10  # deviation of a score before it is known, and its weight in masks


@dataclass(frozen=True)
class GateSettings:
    """What a mask has to be like to be fed back.

    "Usual" is the mean over the good masks of the last `steady_s` or so.

    Attributes:
        score: smallest predicted IoU.
        score_drop: largest share by which the score may be below the object's usual one.
        score_spread: largest number of usual deviations by which it may be below the usual one;
            what is less than 0.08 below does not count.
        area_jump: largest factor between its area and the usual one, either way.
        overlap: smallest IoU with the last good one, when that is `fresh_s` old or younger; of an
            object that was lost, with one from before that.
        steady: smallest IoU of two good masks, one after the other, that follow a doubtful one;
            where frames lie further apart than at 15 per second `overlap` does.
        found_s: so long a lost object has to be seen at one place to be found again.
        border: largest share of its outline that lies on the border of what the network sees.
        min_area: in px.
        hold_s: after so long without a good mask the object is lost.
        fresh_s: see `overlap`.
        steady_s: how long good masks count for what is usual.

    Raises:
        SessionError: a value that cannot be.
    """

    score: float = 0.5
    score_drop: float = 0.2
    score_spread: float = 4.0
    area_jump: float = 2.4
    overlap: float = 0.5
    steady: float = 0.7
    found_s: float = 0.4
    border: float = 0.35
    min_area: int = 20
    hold_s: float = 0.12
    fresh_s: float = 0.5
    steady_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("score", "score_drop", "overlap", "steady", "border"):
            if not 0 <= getattr(self, name) <= 1:
                raise SessionError(f"gate: {name} is {getattr(self, name)}; expected 0 to 1")
        for name in ("score_spread", "hold_s", "found_s", "fresh_s", "steady_s"):
            if not getattr(self, name) > 0:
                raise SessionError(f"gate: {name} is {getattr(self, name)}; expected above 0")
        for name in ("area_jump", "min_area"):
            if not getattr(self, name) >= 1:
                raise SessionError(f"gate: {name} is {getattr(self, name)}; expected 1 or more")


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

    Nothing of a doubtful mask is fed back. Until the first good mask the user's own question is
    asked, and the object is doubtful, not lost, for there is nothing yet that could be lost. A lost
    object is looked for where it was last and where it was before it began to go, in turn; it is
    found when all answers for a while look like it and lie still where it was, for while the probe
    moves its neighbours pass by there.

    Frames' own times are the only clock, so a replay of the same frames gives the same verdicts.

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
        self._usual = Usual(settings.steady_s)
        self._next = question
        self._last: Mask | None = None  # good
        self._good_s = self._doubt_s = 0.0
        self._lost = self._doubtful = False
        self._candidate: Mask | None = None  # good after a doubtful one, to be seen again
        self._candidate_s = 0.0  # its time
        self._seen: tuple[float, tuple[float, float]] | None = None  # since when, and where first
        self._tries = 0
        self.reason = ""

    def ask(self) -> Question:
        """What to ask of the next frame."""
        return self._next

    def update(
        self,
        mask: Mask,
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
        mask = np.asarray(mask != 0, np.uint8)
        size = int(np.count_nonzero(mask))
        self.reason = self._doubt(mask, size, score, time_s, area)
        if self._lost:
            return self._search(mask, size, score, logits, time_s)
        if self.reason:
            self._candidate = None
        elif not self._doubtful or self._last is None or self._is_steady(mask, time_s):
            self._take(mask, size, score, logits, time_s)
            return Verdict.GOOD
        else:
            self.reason = "it was doubtful before"
        if not self._doubtful:
            self._doubtful, self._doubt_s = True, time_s
        nothing_yet = self._last is None and size >= self._settings.min_area
        # A clock that went back says nothing of how long it has been.
        if nothing_yet or 0 <= time_s - self._doubt_s < self._settings.hold_s:
            return Verdict.DOUBTFUL
        self._give_up()
        return Verdict.LOST

    def lose(self, reason: str) -> None:
        """Another scene or size has come: where the object was says nothing any more of where it
        is. It is looked for there nevertheless."""
        self.reason = reason
        self._give_up()

    def _doubt(self, mask: Mask, size: int, score: float, time_s: float, area: Box) -> str:
        """Why a mask may not be believed; empty: it may."""
        limits, usual = self._settings, self._usual
        if size < limits.min_area:
            return f"the mask has {size} px"
        # What is found again has to be the more alike, for it may be anything.
        spread = limits.score_spread * usual.spread * (0.5 if self._lost else 1.0)
        least = max(
            limits.score,
            usual.score * (1 - limits.score_drop),
            usual.score - max(spread, _NARROW),
        )
        if not score >= least:
            return f"score {score:.2f} below {least:.2f}"
        factor = usual.factor(size)
        if factor > limits.area_jump:
            return f"area {factor:.1f} times the usual one, or that part of it"
        if not self._lost and self._last is not None and time_s - self._good_s <= limits.fresh_s:
            overlap = iou(mask, self._last)
            if overlap < limits.overlap:
                return f"overlap {overlap:.2f} with the mask before, below {limits.overlap:.2f}"
        share = border_share(mask, area)
        if share > limits.border:
            return f"{share:.0%} of its outline on the border"
        return ""

    def _take(
        self, mask: Mask, size: int, score: float, logits: NDArray[np.float32], time_s: float
    ) -> None:
        """A good mask: ask from here on."""
        self._usual.add(mask, size, score, time_s)
        self._last, self._good_s = mask, time_s
        self._lost = self._doubtful = False
        self._next = self._at(interior_point(mask), logits)

    def _is_steady(self, mask: Mask, time_s: float) -> bool:
        """Whether the frame before had about the same mask; else this one is kept for the next.

        What passes by while the probe moves is not.
        """
        before, passed = self._candidate, time_s - self._candidate_s
        self._candidate, self._candidate_s = mask, time_s
        limits = self._settings
        least = limits.steady if passed <= _NEIGHBOURS_S else min(limits.steady, limits.overlap)
        return before is not None and iou(mask, before) >= least

    def _give_up(self) -> None:
        self._lost, self._candidate, self._seen, self._tries = True, None, None, 0
        self._look_elsewhere()

    def _search(
        self, mask: Mask, size: int, score: float, logits: NDArray[np.float32], time_s: float
    ) -> Verdict:
        """An answer about a lost object: all for a while have to be like it, where it was."""
        limits, home = self._settings, self._usual.home
        if not self.reason and home is not None and iou(mask, home) < limits.overlap:
            self.reason = "it lies elsewhere"
        if self.reason:
            # A frame or two of an object that is hard to see do not make all begin again.
            if self._seen is None or not 0 <= time_s - self._candidate_s <= _GRACE_S:
                self._seen = None
                self._look_elsewhere()
            return Verdict.LOST
        seen = self._seen
        if seen is None or time_s < seen[0] or not self._is_still(mask, size, seen[1]):
            seen = self._seen = time_s, centre(mask)
        self._candidate_s = time_s
        if time_s - seen[0] >= limits.found_s:
            self._take(mask, size, score, logits, time_s)
            return Verdict.GOOD
        self.reason = "it may be found again"
        self._next = self._at(interior_point(mask), None)
        return Verdict.LOST

    def _is_still(self, mask: Mask, size: int, first: tuple[float, float]) -> bool:
        """Whether a candidate is where it was when it was first seen."""
        return math.dist(centre(mask), first) <= _STILL * math.sqrt(size / math.pi)

    def _look_elsewhere(self) -> None:
        """Where to ask for a lost object: where it was last, and where it was before."""
        places = [interior_point(m) for m in (self._usual.home, self._last) if m is not None]
        if not places:
            self._next = self._first
            return
        self._next = self._at(places[self._tries % len(places)], None)
        self._tries += 1

    def _at(self, point: tuple[int, int] | None, logits: NDArray[np.float32] | None) -> Question:
        """One positive point, and the negative ones that the user gave."""
        assert point is not None, "masks that are kept are not empty"
        outside = self._first.labels == 0
        return Question(
            np.concatenate([np.asarray([point], np.float64), self._first.points[outside]]),
            np.concatenate([np.ones(1, np.int64), self._first.labels[outside]]),
            None,
            np.array(logits, np.float32) if self._use_logits and logits is not None else None,
        )


class Usual:
    """What an object is like: means over its good masks.

    Args:
        steady_s: how long a mask counts.

    Attributes:
        score: mean predicted IoU; 0 before the first.
        home: a good mask from before the last `steady_s` or so, of about the usual area; None
            before the first.
    """

    def __init__(self, steady_s: float) -> None:
        self._steady_s = steady_s
        self.score = 0.0
        self._variance = _AT_FIRST**2
        self._log_area = 0.0
        self._count = 0
        self._time_s = 0.0
        self.home: Mask | None = None
        self._newer: tuple[float, Mask] | None = None

    def add(self, mask: Mask, size: int, score: float, time_s: float) -> None:
        """Count a good mask; one after a long time does not make all the others forgotten, and
        times that go back count as none."""
        passed = min(max(time_s - self._time_s, 0.0), self._steady_s / 5)
        self._count += 1
        # At first all count alike.
        share = max(1 / self._count, 1 - math.exp(-passed / self._steady_s))
        before = self.score
        self.score += share * (score - before)
        # Of few masks nobody knows: the deviation begins as that of a few who differ.
        share_of_square = max(1 / (self._count + _BEFORE), 1 - math.exp(-passed / self._steady_s))
        apart = (score - before) * (score - self.score) if self._count > 1 else _AT_FIRST**2
        self._variance += share_of_square * (apart - self._variance)
        self._log_area += share * (math.log(size) - self._log_area)
        self._time_s = time_s
        if self.home is None or self._newer is None:
            self.home, self._newer = mask, (time_s, mask)
        elif not 0 <= time_s - self._newer[0] < self._steady_s and self.factor(size) < _LIKE:
            self.home, self._newer = self._newer[1], (time_s, mask)

    @property
    def spread(self) -> float:
        """Standard deviation of the score."""
        return math.sqrt(self._variance)

    def factor(self, size: int) -> float:
        """Between an area and the usual one, 1 or more; 1 before the first."""
        return math.exp(abs(math.log(size) - self._log_area)) if self._count else 1.0


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks of 0 and 1; 0 if they differ in size."""
    if one.shape != other.shape:
        return 0.0
    both = int(np.count_nonzero(one & other))
    return both / max(int(np.count_nonzero(one | other)), 1)


def centre(mask: Mask) -> tuple[float, float]:
    """(x, y) of the centre of gravity of a mask that is not empty, px."""
    moments = cv2.moments(mask, True)
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def border_share(mask: Mask, area: Box) -> float:
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
