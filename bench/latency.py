"""Latencies and their comparison: percentiles instead of means, turns instead of blocks.

Two programs are compared by running them in turn, round by round, and taking the ratio of each
round. Whatever else the machine does then slows both, and the spread of the ratios shows how far
the result can be trusted. The order is reversed in every second round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from samedge.errors import NotSupportedError
from samedge.progress import Progress, Step, silent

Contender = Callable[[], float | None]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Summary:
    """Latencies of one program, in milliseconds. The mean is left out: it hides the tail."""

    count: int
    p50: float
    p90: float
    p99: float
    best: float
    worst: float

    def to_json(self) -> dict[str, float]:
        """Plain values for a report."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one program is as another: median over rounds, and p10 to p90."""

    median: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Plain values for a report."""
        return asdict(self)


def summarise(samples_ms: Sequence[float]) -> Summary:
    """Percentiles (linear interpolation) of latencies.

    Raises:
        NotSupportedError: there are no samples.
    """
    if not len(samples_ms):
        raise NotSupportedError("there is nothing to summarise: measure at least one frame")
    values = np.asarray(samples_ms, np.float64)
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    return Summary(
        len(values), float(p50), float(p90), float(p99), float(values.min()), float(values.max())
    )


def speed_ratio(slow_ms: Sequence[float], fast_ms: Sequence[float]) -> Ratio:
    """`slow / fast` of each round, which must have been taken in turn (see `alternate`).

    Raises:
        NotSupportedError: the two were not measured equally often.
    """
    if len(slow_ms) != len(fast_ms) or not len(slow_ms):
        raise NotSupportedError(
            f"{len(slow_ms)} and {len(fast_ms)} samples cannot be paired; measure both in turn"
        )
    ratios = np.asarray(slow_ms, np.float64) / np.asarray(fast_ms, np.float64)
    low, median, high = np.percentile(ratios, (10, 50, 90))
    return Ratio(float(median), float(low), float(high))


def alternate(
    contenders: Mapping[str, Contender],
    rounds: int,
    warmup: int = 1,
    pause_s: float = 0.0,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress = silent,
) -> dict[str, list[float]]:
    """Run all contenders in turn, `rounds` times, and keep every latency.

    Args:
        contenders: name -> call. A call may return its own milliseconds, if only a part of what it
            does is to be counted; otherwise the whole call is.
        rounds: measured rounds.
        warmup: rounds before those, not counted.
        pause_s: seconds between two calls, so that one's idle threads stop spinning before the
            next one starts.
        clock: seconds; a test passes its own.
        sleep: waits; a test passes its own.
        progress: told the rounds that are done, warm-up included.

    Returns:
        Name -> milliseconds of each round, in order.
    """
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(warmup + rounds):
        for name in names if number % 2 == 0 else reversed(names):
            if pause_s:
                sleep(pause_s)
            start = clock()
            own = contenders[name]()
            elapsed = (clock() - start) * 1e3
            if number >= warmup:
                samples[name].append(elapsed if own is None else own)
        progress(Step("measuring", number + 1, warmup + rounds))
    return samples
