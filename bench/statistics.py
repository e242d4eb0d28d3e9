"""Percentiles, ratios and verdicts, each with the bounds within which it is known.

* Percentiles are bounded by order statistics: which two of the sorted samples enclose the true
  percentile in 95 % of all runs is a binomial question, whatever the distribution looks like. With
  too few samples there is no upper bound of a p99, and none is made up: it is None.
* Ratios come from blocks of frames that were taken in turn. One block is one observation, because
  frames behind each other are alike: 10 blocks of 30 frames say 10 things about the machine, not
  300. Bounds are a studentised bootstrap over the blocks' log ratios (Efron and Tibshirani, An
  Introduction to the Bootstrap, 12.5).
* A verdict is one of four words, and "cannot tell" is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import NotSupportedError

CONFIDENCE = 0.95
MARGIN = 0.02  # differences that nobody would change anything for
LEAST_ROUNDS = 5  # below that, the bounds of a ratio would not hold
_RESAMPLES = 4000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounded:
    """A value, and bounds that hold in 95 % of all runs.

    Attributes:
        value: the estimate.
        low, high: its bounds; None where there are too few samples to bound it on that side.
    """

    value: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """Plain values for a report."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Summary:
    """Latencies of one contender, in milliseconds. The mean is left out: it hides the tail.

    Attributes:
        count: frames.
        p50, p90, p99: percentiles with their bounds.
        best, worst: of all frames.
        jitter: mean change from one frame to the next.
        missed: frames that took longer than the deadline; None without one.
    """

    count: int
    p50: Bounded
    p90: Bounded
    p99: Bounded
    best: float
    worst: float
    jitter: float
    missed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {
            "count": self.count,
            **{name: getattr(self, name).to_json() for name in ("p50", "p90", "p99")},
            **{name: getattr(self, name) for name in ("best", "worst", "jitter", "missed")},
        }


class Verdict(str, Enum):
    """What a ratio allows to be said."""

    SAME = "same"
    FASTER = "faster"
    SLOWER = "slower"
    CANNOT_TELL = "cannot tell"


def percentile(
    samples: Sequence[float] | Array, percent: float, confidence: float = CONFIDENCE
) -> Bounded:
    """A percentile and its bounds by order statistics.

    Args:
        samples: at least one.
        percent: 0 < percent < 100.
        confidence: that the true percentile lies between the bounds.

    Raises:
        NotSupportedError: there are no samples.
    """
    values = np.sort(np.asarray(samples, np.float64))
    if not len(values):
        raise NotSupportedError("there is nothing to summarise: measure at least one frame")
    share, outside = percent / 100, (1 - confidence) / 2
    # below[k]: probability that at most k of the samples lie below the true percentile.
    below = _binomial_cdf(len(values), share)
    # The sample number l (1-based) is above the percentile if fewer than l samples are below it.
    low = int(np.searchsorted(below, outside, side="right"))
    high = int(np.searchsorted(below, 1 - outside, side="left")) + 1
    return Bounded(
        float(np.percentile(values, percent)),
        float(values[low - 1]) if low >= 1 else None,
        float(values[high - 1]) if high <= len(values) else None,
    )


def frames_for_bounds(percent: float, confidence: float = CONFIDENCE) -> int:
    """How many frames it takes until a percentile has an upper bound, and a lower one.

    Args:
        percent: 0 < percent < 100.
        confidence: as for `percentile`.
    """
    share = max(percent, 100 - percent) / 100
    return math.ceil(math.log((1 - confidence) / 2) / math.log(share))


def summarise(samples_ms: Sequence[float] | Array, deadline_ms: float | None = None) -> Summary:
    """Percentiles, extremes, jitter and missed deadlines of latencies in the order they were taken.

    Raises:
        NotSupportedError: there are no samples.
    """
    p50, p90, p99 = (percentile(samples_ms, percent) for percent in (50, 90, 99))
    values = np.asarray(samples_ms, np.float64)
    return Summary(
        len(values),
        p50,
        p90,
        p99,
        float(values.min()),
        float(values.max()),
        float(np.abs(np.diff(values)).mean()) if len(values) > 1 else 0.0,
        None if deadline_ms is None else int(np.count_nonzero(values > deadline_ms)),
    )


def paired_ratio(slow_ms: Sequence[float], fast_ms: Sequence[float]) -> Bounded:
    """How many times as fast the second is as the first, from blocks that were taken in turn.

    Args:
        slow_ms, fast_ms: a typical latency (the median) of each block, round by round: the two
            numbers of one round saw the same machine.

    Returns:
        `slow / fast`: the geometric mean over the rounds, with bounds from 5 rounds on.

    Raises:
        NotSupportedError: the two have no, or not equally many, blocks.
    """
    if len(slow_ms) != len(fast_ms) or not len(slow_ms):
        raise NotSupportedError(
            f"{len(slow_ms)} and {len(fast_ms)} blocks cannot be paired; measure both in turn"
        )
    return _exponential(_bounded_mean(_logs(slow_ms) - _logs(fast_ms)))


def unpaired_ratio(slow_ms: Sequence[float], fast_ms: Sequence[float]) -> Bounded:
    """As `paired_ratio`, of blocks from two runs that have nothing in common.

    Raises:
        NotSupportedError: one of them has no blocks.
    """
    if not len(slow_ms) or not len(fast_ms):
        raise NotSupportedError("there is nothing to compare: one of the two has no blocks")
    slow, fast = _logs(slow_ms), _logs(fast_ms)
    value = float(slow.mean() - fast.mean())
    if min(len(slow), len(fast)) < LEAST_ROUNDS:
        return Bounded(math.exp(value), None, None)
    random = np.random.default_rng(0)
    parts = [_resampled(values, random) for values in (slow, fast)]
    error = math.hypot(*(_standard_error(values) for values in (slow, fast)))
    errors = np.hypot(parts[0][1], parts[1][1])
    return _exponential(_studentised(value, error, parts[0][0] - parts[1][0] - value, errors))


def verdict(times_as_fast: Bounded, margin: float = MARGIN) -> Verdict:
    """What may be said of a ratio.

    Args:
        times_as_fast: above 1 means faster.
        margin: a difference that does not matter: 0.02 for 2 %.

    Returns:
        SAME if both bounds are within the margin, FASTER or SLOWER if both are on one side of 1,
        else CANNOT_TELL.
    """
    low, high = times_as_fast.low, times_as_fast.high
    if low is None or high is None:
        return Verdict.CANNOT_TELL
    if 1 / (1 + margin) <= low <= high <= 1 + margin:
        return Verdict.SAME
    if low > 1:
        return Verdict.FASTER
    return Verdict.SLOWER if high < 1 else Verdict.CANNOT_TELL


def _binomial_cdf(count: int, share: float) -> Array:
    """P(at most k of `count` successes) for k = 0 .. count; exact for any number of frames."""
    logs = np.array([math.lgamma(n + 1) for n in range(count + 1)])
    k = np.arange(count + 1)
    chosen = logs[count] - logs - logs[::-1]
    return np.cumsum(np.exp(chosen + k * math.log(share) + (count - k) * math.log1p(-share)))


def _logs(values: Sequence[float]) -> Array:
    logs: Array = np.log(np.asarray(values, np.float64))
    return logs


def _bounded_mean(values: Array) -> Bounded:
    mean = float(values.mean())
    if len(values) < LEAST_ROUNDS:
        return Bounded(mean, None, None)
    means, errors = _resampled(values, np.random.default_rng(0))
    return _studentised(mean, _standard_error(values), means - mean, errors)


def _resampled(values: Array, random: np.random.Generator) -> tuple[Array, Array]:
    """Means and their standard errors of bootstrap samples."""
    drawn = values[random.integers(0, len(values), (_RESAMPLES, len(values)))]
    return drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / math.sqrt(len(values))


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _studentised(value: float, error: float, differences: Array, errors: Array) -> Bounded:
    """Bounds of `value` from what its bootstrap samples were off by, each in its own error."""
    usable = errors > 1e-12 * max(1.0, abs(value))
    if error <= 1e-12 or not usable.any():  # every block the same: simulated clocks
        return Bounded(value, value, value)
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences[usable] / errors[usable], (outside, 1 - outside))
    return Bounded(value, float(value - high * error), float(value - low * error))


def _exponential(logs: Bounded) -> Bounded:
    low, high = (None if bound is None else math.exp(bound) for bound in (logs.low, logs.high))
    return Bounded(math.exp(logs.value), low, high)
