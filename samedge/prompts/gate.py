"""Whether the mask of a moving object may be believed: the quality gate of live tracking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray


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
