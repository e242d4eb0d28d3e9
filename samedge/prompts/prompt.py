"""What a session is asked about a frame: points, labels and boxes, as a user gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import PromptError
from samedge.families import Family

if TYPE_CHECKING:
    from samedge.prompts.file import PromptFile

CENTER = "center"
PointText = tuple[float, float] | str


@dataclass(frozen=True)
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


def missing_prompt(family: Family) -> str:
    """Message for a family that needs a prompt and got none, with an example."""
    examples = {"point": "--point 120,80", "box": "--box 10,20,200,180"}
    wanted = [example for kind, example in examples.items() if kind in family.prompts]
    centre = ", or --point center for the middle" if "point" in family.prompts else ""
    return f"{family.title} has to be told what to segment: give {' or '.join(wanted)}{centre}"


@dataclass(frozen=True)
class PromptPlan:
    """Prompts as given, before the frame's size is known.

    Attributes:
        points: (x, y) or "center", in order.
        labels: one per point; empty means all 1.
        boxes: each its own object.
        separate: each point is its own object; otherwise all points belong to one.
        file: prompts of single frames; the others get the points and boxes above, if there are any.
    """

    points: Sequence[PointText] = ()
    labels: Sequence[int] = ()
    boxes: Sequence[tuple[float, float, float, float]] = ()
    separate: bool = False
    file: PromptFile | None = None

    @property
    def has_default(self) -> bool:
        """There is a prompt for frames that have none of their own."""
        return bool(self.points or self.boxes)

    @property
    def is_empty(self) -> bool:
        """Nothing is asked."""
        return not self.has_default and self.file is None

    def check(self, family: Family) -> None:
        """Refuse combinations that mean nothing, and prompts that the family does not take.

        Raises:
            PromptError: with what to give instead.
        """
        self.check_combination()
        if self.is_empty and family.prompts:
            raise PromptError(missing_prompt(family))
        if not self.is_empty and not family.prompts:
            raise PromptError(
                f"{family.title} finds its structures by itself and takes no prompts; leave "
                "--point, --box and --prompts out"
            )
        own = "" if self.file is None else self.file.kind
        for kind, given in (("point", self.points), ("box", self.boxes)):
            if (given or own == kind) and kind not in family.prompts:
                takes = " and ".join(family.prompts)
                raise PromptError(
                    f"{family.title} was not trained with {kind} prompts; it takes {takes} prompts"
                )

    def check_frames(self, total: int, limit: int | None, source: str) -> None:
        """Compare the file of prompts with the frames of a source.

        Args:
            total: number of frames.
            limit: only so many are segmented; None: all.
            source: name, for messages.

        Raises:
            PromptError: frames without a prompt, or prompts without a frame.
        """
        if self.file is None:
            return
        beyond = [frame for frame in self.file.frames if frame >= total]
        if beyond:
            raise PromptError(
                f"{self.file.name} has a prompt for frame {beyond[0]} (line "
                f"{self.file.lines[beyond[0]]}), but {source} has {total} frames; they count from 0"
            )
        wanted = range(total if limit is None else min(total, limit))
        missing = [frame for frame in wanted if frame not in self.file.frames]
        if missing and not self.has_default:
            some = ", ".join(str(frame) for frame in missing[:5])
            more = ", ..." if len(missing) > 5 else ""
            raise PromptError(
                f"{self.file.name} has no prompt for {len(missing)} of {len(wanted)} frames of "
                f"{source} ({some}{more}); add them, or give --point or --box for all the others"
            )

    def check_combination(self) -> None:
        """Refuse combinations that mean nothing for any family.

        Raises:
            PromptError: with what to give instead.
        """
        if self.labels and len(self.labels) != len(self.points):
            raise PromptError(
                f"{len(self.points)} points but {len(self.labels)} labels: "
                "give one label per point, in the same order, or none (all are 1 then)"
            )
        if self.separate and 0 in self.labels:
            raise PromptError(
                "with every point its own object there is nothing a label 0 could exclude from; "
                "segment the objects one after the other"
            )
        if len(self.boxes) > 1 and self.points and not self.separate:
            raise PromptError(
                f"{len(self.boxes)} boxes are {len(self.boxes)} objects, but the points belong to "
                "one: make each point its own object too (--objects), one per box"
            )
        if self.boxes and self.points and self.separate and len(self.boxes) != len(self.points):
            raise PromptError(
                f"{len(self.boxes)} boxes and {len(self.points)} points as separate objects: "
                "they are paired in order, so give as many of both"
            )

    def resolve(
        self,
        height: int,
        width: int,
        crop: tuple[int, int, int, int] | None = None,
        frame: int = 0,
    ) -> Prompt:
        """The prompt for a frame: "center" becomes the middle of the crop, or of the frame.

        Args:
            height, width: of the frame, in px.
            crop: what the network sees of it.
            frame: its number, from 0, for prompts of single frames.

        Raises:
            PromptError: the file of prompts has none for this frame.
        """
        if self.file is not None:
            if frame in self.file.frames:
                return self.file.frames[frame]
            if not self.has_default:
                raise PromptError(
                    f"{self.file.name} has no prompt for frame {frame}; add it, or give --point or "
                    "--box for all frames without one"
                )
        x0, y0, x1, y1 = crop or (0, 0, width, height)
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        xy = [middle if isinstance(p, str) else p for p in self.points]
        points = np.asarray(xy, np.float64).reshape((-1, 1, 2) if self.separate else (1, -1, 2))
        labels = np.asarray(self.labels or [1] * len(xy), np.int64).reshape(points.shape[:2])
        return Prompt(
            points if xy else None,
            labels if xy else None,
            np.asarray(self.boxes, np.float64).reshape(-1, 4) if self.boxes else None,
        )
