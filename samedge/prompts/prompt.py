"""What a session is asked about a frame: points, labels and boxes, as a user gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import PromptError

CENTER = "center"
PointText = tuple[float, float] | str


@dataclass(frozen=True, eq=False)
class Prompt:
    """Prompts of N objects in frame pixels.

    Attributes:
        points: float64 `[N, P, 2]` as (x, y), or N arrays `[P_i, 2]`, or None.
        labels: int64 `[N, P]`, or N arrays `[P_i]`, 1 inside the object and 0 outside; or None.
        box: float64 `[N, 4]` as (x0, y0, x1, y1), or None.
        numbers: what the objects are called, from 1; empty: 1 to N.
    """

    points: NDArray[np.float64] | tuple[NDArray[np.float64], ...] | None = None
    labels: NDArray[np.int64] | tuple[NDArray[np.int64], ...] | None = None
    box: NDArray[np.float64] | None = None
    numbers: tuple[int, ...] = ()

    @property
    def objects(self) -> int:
        """Number of objects; a prompt without anything is one object, found by the model."""
        given = self.points if self.points is not None else self.box
        return 1 if given is None else len(given)

    def number(self, index: int) -> int:
        """What object `index` (from 0) is called, from 1."""
        return self.numbers[index] if self.numbers else index + 1

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `Session.segment`, and for one slice of `segment_slices`."""
        return {
            "points": list(self.points) if isinstance(self.points, tuple) else self.points,
            "labels": list(self.labels) if isinstance(self.labels, tuple) else self.labels,
            "box": self.box,
        }

    def to_json(self, index: int) -> dict[str, Any]:
        """Prompt of one object as JSON values."""
        values: dict[str, Any] = {}
        if self.points is not None and self.labels is not None:
            values["points"] = [[round(float(v), 2) for v in xy] for xy in self.points[index]]
            values["labels"] = [int(v) for v in self.labels[index]]
        if self.box is not None:
            values["box"] = [round(float(v), 2) for v in self.box[index]]
        return values


def parse_point(text: str) -> PointText:
    """`"120,80.5"` -> (120.0, 80.5); `"center"` stays a word until the frame is known.

    Raises:
        PromptError: anything else.
    """
    if text.strip().lower() in (CENTER, "centre"):
        return CENTER
    x, y = _numbers(text, 2, "a point is X,Y in pixels (for instance 120,80) or the word 'center'")
    return x, y


def parse_box(text: str) -> tuple[float, float, float, float]:
    """`"10,20,200,180"` -> (10.0, 20.0, 200.0, 180.0).

    Raises:
        PromptError: not four numbers, or the second corner is not right of and below the first.
    """
    rule = "a box is X0,Y0,X1,Y1 in pixels, for instance 10,20,200,180"
    x0, y0, x1, y1 = _numbers(text, 4, rule)
    if x1 <= x0 or y1 <= y0:
        raise PromptError(f"'{text}' is empty: X1 must exceed X0, and Y1 Y0; {rule}")
    return x0, y0, x1, y1


def _numbers(text: str, count: int, rule: str) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise PromptError(f"cannot read '{text}': {rule}")
    return values
