"""A clock that moves only when somebody works or waits, and contenders that work on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class FakeClock:
    """Seconds, as `samedge.bench.schedule.Clock`.

    Attributes:
        slept, spun: seconds in all that were waited in either way.
    """

    def __init__(self) -> None:
        self.time, self.slept, self.spun = 100.0, 0.0, 0.0

    def now(self) -> float:
        return self.time

    def sleep_until(self, when: float) -> None:
        self.slept += max(0.0, when - self.time)
        self.time = max(self.time, when)

    def spin_until(self, when: float) -> None:
        self.spun += max(0.0, when - self.time)
        self.time = max(self.time, when)


class Worker:
    """A contender whose frames take what `milliseconds(index of the call)` says."""

    def __init__(
        self,
        clock: FakeClock,
        milliseconds: float | Callable[[int], float],
        name: str = "worker",
        counted: str = "",
        stages: Mapping[str, float] | None = None,
    ) -> None:
        self.clock, self.name, self.counted, self.stages = clock, name, counted, stages or {}
        self.milliseconds: Any = milliseconds
        self.calls: list[int] = []

    def frame(self, index: int) -> Mapping[str, float]:
        took = self.milliseconds
        self.clock.time += (took(len(self.calls)) if callable(took) else took) / 1e3
        self.calls.append(index)
        return self.stages
