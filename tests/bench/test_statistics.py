"""Bounds hold as often as they say, and verdicts are right as often as they must be."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.bench.schedule import FLAT, Plan, measure
from samedge.bench.statistics import (
    Bounded,
    Verdict,
    paired_ratio,
    percentile,
    summarise,
    unpaired_ratio,
    verdict,
)
from samedge.errors import NotSupportedError
from tests.bench.clocks import FakeClock, Worker


@pytest.mark.parametrize(("percent", "true"), [(50, 0.6931), (90, 2.3026), (99, 4.6052)])
@pytest.mark.parametrize("count", [30, 200, 1000])
def test_bounds_of_percentiles_hold(percent: float, true: float, count: int) -> None:
    random = np.random.default_rng(count)
    held = 0
    for _ in range(400):
        found = percentile(random.exponential(1.0, count), percent)
        low = -np.inf if found.low is None else found.low
        high = np.inf if found.high is None else found.high
        held += low <= true <= high
    assert held / 400 >= 0.93


def test_bounds_are_not_wider_than_they_need_be() -> None:
    random = np.random.default_rng(3)
    found = [percentile(random.exponential(1.0, 1000), 50) for _ in range(4000)]
    held = sum(bool(f.low and f.high and f.low <= 0.6931 <= f.high) for f in found)
    assert 0.94 <= held / 4000 <= 0.97


@pytest.mark.parametrize(("count", "bounded"), [(100, False), (367, False), (368, True)])
def test_a_p99_of_few_frames_has_no_upper_bound(count: int, bounded: bool) -> None:
    assert (percentile(np.arange(count), 99).high is not None) == bounded


def test_one_sample_bounds_nothing() -> None:
    assert percentile([3.0], 50) == Bounded(3.0, None, None)


def test_percentiles_interpolate_like_numpy() -> None:
    values = [5.0, 1.0, 4.0, 2.0]
    assert summarise(values).p90.value == pytest.approx(np.percentile(values, 90))


def test_the_order_of_samples_matters_to_jitter_alone() -> None:
    calm, wild = summarise([1.0] * 50 + [2.0] * 50), summarise([1.0, 2.0] * 50)
    assert calm.p50 == wild.p50
    assert calm.jitter < 0.02
    assert wild.jitter == 1.0


def test_missed_deadlines_are_counted() -> None:
    assert summarise([1.0, 40.0, 33.0, 50.0], deadline_ms=33.4).missed == 2
    assert summarise([1.0]).missed is None


def test_nothing_to_summarise() -> None:
    with pytest.raises(NotSupportedError, match="at least one"):
        summarise([])


def test_a_ratio_is_taken_round_by_round() -> None:
    # The machine slows down threefold; each round's ratio stays 2.
    slow, fast = [20.0, 40.0, 60.0, 30.0, 20.0], [10.0, 20.0, 30.0, 15.0, 10.0]
    found = paired_ratio(slow, fast)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("rounds", [5, 10, 20])
def test_bounds_of_ratios_hold(rounds: int) -> None:
    random = np.random.default_rng(rounds)
    held = 0
    for _ in range(200):
        machine = random.normal(0, 0.3, rounds)  # of which both of a round see the same
        slow = np.exp(machine + random.normal(np.log(1.2), 0.05, rounds))
        fast = np.exp(machine + random.normal(0, 0.05, rounds))
        found = paired_ratio(list(slow), list(fast))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.2 <= found.high
    assert held / 200 >= 0.90


def test_too_few_rounds_bound_nothing() -> None:
    found = paired_ratio([2.0, 2.1, 2.0, 2.2], [1.0, 1.0, 1.0, 1.0])
    assert found.value > 2
    assert verdict(found) is Verdict.CANNOT_TELL
    assert verdict(unpaired_ratio([2.0] * 4, [1.0] * 9)) is Verdict.CANNOT_TELL


def test_blocks_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(NotSupportedError, match="in turn"):
        paired_ratio([1.0, 2.0], [1.0])
    with pytest.raises(NotSupportedError):
        unpaired_ratio([], [1.0])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.99, 1.01, Verdict.SAME),
        (1.001, 1.015, Verdict.SAME),
        (1.03, 1.07, Verdict.FASTER),
        (1.005, 1.07, Verdict.FASTER),
        (0.90, 0.99, Verdict.SLOWER),
        (0.95, 1.05, Verdict.CANNOT_TELL),
        (None, None, Verdict.CANNOT_TELL),
    ],
)
def test_verdicts(low: float | None, high: float | None, expected: Verdict) -> None:
    assert verdict(Bounded(1.0, low, high), 0.02) is expected


def run_of(random: np.random.Generator, times: float, rounds: int) -> Verdict:
    """Two contenders on a noisy machine; the second takes `times` the time of the first."""
    clock = FakeClock()

    def noisy(scale: float) -> Worker:
        return Worker(clock, lambda _: scale * float(random.gamma(60.0, 20.0 / 60.0)), str(scale))

    contenders = [noisy(1.0), noisy(times + 1e-9)]
    found = measure(contenders, Plan(rounds=rounds, frames=10, warmup=0), clock)
    first, second = (
        [float(np.median(block.latency_ms)) for block in found.blocks[(c.name, FLAT)]]
        for c in contenders
    )
    return verdict(paired_ratio(first, second))


def test_equal_contenders_are_called_equal_in_19_of_20_runs() -> None:
    random = np.random.default_rng(16)
    found = [run_of(random, 1.0, 10) for _ in range(200)]
    wrong = sum(v in (Verdict.FASTER, Verdict.SLOWER) for v in found)
    assert wrong <= 10 + 4  # 5 %, and what chance adds to 200 runs


def test_five_percent_are_found_with_enough_rounds() -> None:
    random = np.random.default_rng(5)
    few = sum(run_of(random, 1.05, 5) is Verdict.SLOWER for _ in range(20))
    many = sum(run_of(random, 1.05, 60) is Verdict.SLOWER for _ in range(20))
    assert many >= 19 > few


def test_two_runs_are_compared_by_their_blocks() -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        slow = np.exp(random.normal(np.log(1.2), 0.05, 12))
        fast = np.exp(random.normal(0, 0.03, 9))
        found = unpaired_ratio(list(slow), list(fast))
        held += bool(found.low and found.high and found.low <= 1.2 <= found.high)
    assert held / 200 >= 0.90
