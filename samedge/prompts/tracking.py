"""A prompt that follows its object through a loop: the innermost pixel of the last mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import PromptError
from samedge.prompts.prompt import Prompt

MIN_AREA_PX = 20

_NEARLY = 1e-3  # px of depth


def interior_point(mask: NDArray[np.uint8]) -> tuple[int, int] | None:
    """The pixel of the largest component that is farthest from the component's border.

    The frame's edge counts as border, so that a point never sticks to it. Components are connected
    over corners (8 neighbours); of equal ones, and of equally deep pixels, the first in reading
    order is taken.

    Args:
        mask: uint8 `[H, W]`, 0 or not 0.

    Returns:
        (x, y) in px, always inside the mask; None if the mask is empty.
    """
    x, y, width, height = cv2.boundingRect(np.asarray(mask, np.uint8))
    if not width:
        return None
    # What lies around the mask changes nothing, and would take most of the time.
    binary = np.ascontiguousarray(mask[y : y + height, x : x + width] != 0, np.uint8)
    count, components, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    component = binary
    if count > 2:
        labels = np.asarray(components, np.int32)
        areas = np.asarray(stats)[1:, cv2.CC_STAT_AREA]
        largest = 1 + np.flatnonzero(areas == areas.max())
        label = largest[0] if len(largest) == 1 else _first_in_reading_order(labels, largest)
        component = (labels == label).astype(np.uint8)
    depth = cv2.distanceTransform(np.pad(component, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Roots of one number differ in their last digit, by where cv2 was given memory; their squares
    # are whole numbers.
    deepest = np.flatnonzero(depth > np.max(depth) - _NEARLY)
    squares = np.rint(np.square(depth.ravel()[deepest], dtype=np.float64))
    row, column = divmod(int(deepest[np.argmax(squares)]), depth.shape[1])
    return x + column - 1, y + row - 1


def _first_in_reading_order(labels: NDArray[np.int32], wanted: NDArray[np.int64]) -> int:
    """cv2 numbers components block by block, which is nearly but not quite reading order."""
    flat = labels.ravel()
    return int(flat[np.argmax(np.isin(flat, wanted))])


class Tracker:
    """Moves the positive point of each object to the interior point of its last mask.

    After the first frame every object is prompted by one positive point (and by the negative
    points it was given, which stay where they are); a box is only used once, as it would hold the
    object back. An object whose mask is smaller than `min_area` px keeps its last point and counts
    as lost until a mask reappears there. Families that take mask prompts also get the last
    low-res logits of every object.

    Args:
        prompt: of the first frame.
        min_area: smallest mask, in px, that a point is taken from.
        use_logits: the family takes mask prompts.

    Raises:
        PromptError: there is no positive point and no box to start from.
    """

    def __init__(
        self, prompt: Prompt, min_area: int = MIN_AREA_PX, use_logits: bool = False
    ) -> None:
        if prompt.points is None and prompt.box is None:
            raise PromptError("tracking needs a point or a box to start from: give --point X,Y")
        self._prompt, self._min_area, self._use_logits = prompt, max(min_area, 1), use_logits
        self._points: list[tuple[float, float]] = [_start(prompt, i) for i in range(prompt.objects)]
        self._logits: list[NDArray[np.float32] | None] = [None] * prompt.objects
        self.lost = [False] * prompt.objects

    @property
    def prompt(self) -> Prompt:
        """What to ask of the next frame."""
        return self._prompt

    @property
    def logits(self) -> NDArray[np.float32] | None:
        """Mask prompt `[N, L, L]` for the next frame, once every object has had a mask."""
        known = [x for x in self._logits if x is not None]
        return np.stack(known) if self._use_logits and len(known) == len(self._logits) else None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `Session.segment`."""
        arguments = self._prompt.arguments()
        logits = self.logits
        return arguments if logits is None else arguments | {"mask": logits}

    def update(self, masks: NDArray[np.uint8], logits: NDArray[np.float32]) -> None:
        """Take in the answer to the last prompt.

        Args:
            masks: uint8 `[N, H, W]`, one per object.
            logits: float32 `[N, L, L]`, theirs.
        """
        for i in range(len(self._points)):
            area = int(np.count_nonzero(masks[i]))
            point = interior_point(masks[i]) if area >= self._min_area else None
            self.lost[i] = point is None
            if point is not None:
                self._points[i] = (float(point[0]), float(point[1]))
                self._logits[i] = logits[i]
        self._prompt = self._moved()

    def _moved(self) -> Prompt:
        positive = np.asarray(self._points, np.float64)[:, None, :]
        ones = np.ones((len(self._points), 1), np.int64)
        first = self._prompt
        if first.points is None or first.labels is None:
            return Prompt(positive, ones)
        # Only one object can have negative points (PromptPlan.check), so rows stay equally long.
        keep = first.labels[0] == 0
        points = np.concatenate([positive, np.asarray(first.points)[:, keep]], axis=1)
        labels = np.concatenate([ones, np.asarray(first.labels)[:, keep]], axis=1)
        return replace(first, points=points, labels=labels, box=None)


def _start(prompt: Prompt, index: int) -> tuple[float, float]:
    """Where an object is before it has a mask: its first positive point, or its box's centre."""
    if prompt.points is not None and prompt.labels is not None:
        positive = prompt.points[index][prompt.labels[index] == 1]
        if len(positive):
            return float(positive[0, 0]), float(positive[0, 1])
    if prompt.box is not None:
        x0, y0, x1, y1 = (float(v) for v in prompt.box[index])
        return (x0 + x1) / 2, (y0 + y1) / 2
    raise PromptError("tracking needs a point inside each object; all points given have label 0")
