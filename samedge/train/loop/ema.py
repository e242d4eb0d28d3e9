"""An exponential moving average of what is trained, which is what gets scored and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Ema:
    """`average = d * average + (1 - d) * weight` after every step.

    Args:
        parameters: those that are trained, and the running statistics that belong to them.
        decay: d; 0 switches the average off: it is the weights themselves. In the first steps d is
            at most `(1 + step) / (10 + step)`, so that the start is forgotten.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self._parameters: list[Tensor] = list(parameters)
        self.average: list[Tensor] = [p.detach().clone() for p in parameters] if decay else []

    def update(self, step: int) -> None:
        """Take the weights after `step` (from 1) into the average."""
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self._parameters, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the average for weights."""
        if not self.decay:
            yield
            return
        own = [p.data for p in self._parameters]
        for parameter, average in zip(self._parameters, self.average, strict=True):
            parameter.data = average
        try:
            yield
        finally:
            for parameter, data in zip(self._parameters, own, strict=True):
                parameter.data = data

    def load(self, average: Sequence[Tensor]) -> None:
        """Continue with an average from a saved state."""
        for mine, saved in zip(self.average, average, strict=True):
            if saved.shape != mine.shape:  # copying would stretch it
                raise ValueError(f"an average of shape {list(saved.shape)} for {list(mine.shape)}")
            mine.copy_(saved)
