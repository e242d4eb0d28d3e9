"""Prompts of a whole source, before its frames are known: one for all, or those of a file."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from samedge.errors import PromptError
from samedge.families import Family
from samedge.prompts.file import PromptFile, read_prompts
from samedge.prompts.prompt import CENTER, PointText, Prompt

Prompts: TypeAlias = "PromptPlan | str | os.PathLike[str] | Sequence[PromptLike] | None"
PromptLike: TypeAlias = "PointText | tuple[float, float, float, float]"


def prompt_plan(prompts: Prompts) -> PromptPlan:
    """The plan of what a caller gave.

    Args:
        prompts: None; "center"; the path of a CSV file; points (x, y) or "center" of one object,
            and boxes (x0, y0, x1, y1), each its own object, in px; or a plan.

    Raises:
        PromptError: something else, or the file cannot be read.
    """
    if prompts is None or isinstance(prompts, PromptPlan):
        return prompts or PromptPlan()
    if isinstance(prompts, str) and prompts == CENTER:
        return PromptPlan([CENTER])
    if isinstance(prompts, (str, os.PathLike)):
        return PromptPlan(file=read_prompts(Path(prompts)))
    points: list[PointText] = []
    boxes: list[tuple[float, float, float, float]] = []
    for given in prompts:
        if isinstance(given, str) and given == CENTER:
            points.append(CENTER)
            continue
        try:
            numbers = () if isinstance(given, str) else tuple(float(v) for v in given)
        except (TypeError, ValueError):
            numbers = ()
        if not all(map(math.isfinite, numbers)) or len(numbers) not in (2, 4):
            raise PromptError(
                f"{given!r} came as a prompt; expected a point (x, y), a box (x0, y0, x1, y1), "
                "'center', the path of a CSV file, or a PromptPlan"
            )
        if len(numbers) == 2:
            points.append((numbers[0], numbers[1]))
        else:
            boxes.append((numbers[0], numbers[1], numbers[2], numbers[3]))
    return PromptPlan(points, boxes=boxes)


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
