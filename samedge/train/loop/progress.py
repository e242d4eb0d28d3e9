"""How far a run is, and how long it will take."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingReport:
    """After a step, or after a validation.

    Attributes:
        step, steps: optimiser steps, done and in all.
        epoch: from 0.
        loss: of this step.
        lr: learning rate of this step.
        images_per_s: lately, over all processes; without validations.
        remaining_s: estimate of what is left, in s.
        dice, best: last and best score; None before the first validation.
        validated: a validation has just ended.
        empty: held-out samples that were empty in label and mask in the last one, a Dice of 1 each.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    lr: float
    images_per_s: float
    remaining_s: float
    dice: float | None = None
    best: float | None = None
    validated: bool = False
    empty: int = 0


class Clock:
    """Time per step, as a moving average, and the time that validations take besides."""

    _WEIGHT = 0.05

    def __init__(self) -> None:
        self._last = self._begin = time.monotonic()
        self._first_step: int | None = None
        self.per_step_s = 0.0

    def step(self) -> None:
        """A step has ended."""
        now = time.monotonic()
        took, self._last = now - self._last, now
        weight = self._WEIGHT if self.per_step_s else 1.0
        self.per_step_s += weight * (took - self.per_step_s)

    def skip(self) -> None:
        """What happened since the last step was none."""
        self._last = time.monotonic()

    def remaining(self, step: int, steps: int) -> float:
        """Seconds for the rest, at the pace of this run so far, validations included."""
        if self._first_step is None:
            self._first_step = step - 1
        pace = (time.monotonic() - self._begin) / (step - self._first_step)
        return pace * (steps - step)
