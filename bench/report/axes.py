"""Axes of plots: where a value lies, and which values are written beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` over the pixels from `start` to `end`.

    Attributes:
        low, high: values at the ends; low < high.
        start, end: pixels there; start > end for an axis that goes up.
        log: the distance is that of the logarithms; low > 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value; of one beyond the ends that of the end."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values between the ends, about that many."""
        if self.log:
            return self._log_ticks(count)
        step = round_up((self.high - self.low) / max(count, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]

    def _log_ticks(self, count: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found: list[float] = []
        for steps in ((1.0,), (1.0, 3.0), _STEPS[:3]):
            every = [step * 10.0**n for n in decades for step in steps]
            inside = [tick for tick in every if self.low <= tick <= self.high]
            if not found or len(inside) <= count:
                found = inside
        return found if len(found) <= 2 * count else found[:: len(found) // count]


def round_up(value: float) -> float:
    """The next one of 1, 2, 5, 10, 20, ... and of their tenths; value > 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return power * next(step for step in _STEPS if value <= step * power * (1 + 1e-9))
