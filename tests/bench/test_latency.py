"""Percentiles, ratios and turns, with a clock that is told what to show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from samedge.bench.latency import alternate, speed_ratio, summarise
from samedge.errors import NotSupportedError
from samedge.progress import Step


class FakeClock:
    """Time passes only when somebody works or sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.log.append("sleep")
        self.now += seconds

    def work(self, name: str, *milliseconds: float) -> Callable[[], None]:
        """A call that takes these times in turn."""
        times = list(milliseconds)

        def call() -> None:
            self.log.append(name)
            self.now += times[self.log.count(name) % len(times) - 1] / 1e3

        return call


def test_percentiles_show_the_tail() -> None:
    summary = summarise([1.0] * 98 + [50.0, 100.0])
    assert summary.p50 == summary.p90 == 1.0
    assert summary.p99 > 25.0
    assert (summary.best, summary.worst, summary.count) == (1.0, 100.0, 100)
    assert "mean" not in summary.to_json()


def test_percentiles_interpolate_like_numpy() -> None:
    values = [5.0, 1.0, 4.0, 2.0]
    summary = summarise(values)
    assert summary.p50 == pytest.approx(3.0)
    assert summary.p90 == pytest.approx(np.percentile(values, 90))


def test_nothing_to_summarise() -> None:
    with pytest.raises(NotSupportedError, match="at least one"):
        summarise([])


def test_ratio_is_taken_round_by_round() -> None:
    # The machine slows down threefold; each round's ratio stays 2.
    ratio = speed_ratio([20.0, 40.0, 60.0], [10.0, 20.0, 30.0])
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_spread_of_the_ratio() -> None:
    ratio = speed_ratio([10.0, 20.0, 30.0], [10.0, 10.0, 10.0])
    assert ratio.low < ratio.median == 2.0 < ratio.high


def test_unpaired_samples_are_refused() -> None:
    with pytest.raises(NotSupportedError, match="in turn"):
        speed_ratio([1.0, 2.0], [1.0])


def test_contenders_take_turns_and_the_order_reverses() -> None:
    clock = FakeClock()
    contenders = {name: clock.work(name, 1.0) for name in "abc"}
    alternate(contenders, rounds=2, warmup=1, clock=clock)
    assert "".join(clock.log) == "abc" + "cba" + "abc"


def test_warm_up_is_not_counted() -> None:
    clock = FakeClock()
    samples = alternate({"a": clock.work("a", 500.0, 7.0, 7.0)}, 2, warmup=1, clock=clock)
    assert samples["a"] == pytest.approx([7.0, 7.0])


def test_pauses_are_not_counted() -> None:
    clock = FakeClock()
    samples = alternate(
        {"a": clock.work("a", 3.0)}, 2, warmup=0, pause_s=1.0, clock=clock, sleep=clock.sleep
    )
    assert clock.log == ["sleep", "a", "sleep", "a"]
    assert samples["a"] == pytest.approx([3.0, 3.0])


def test_a_contender_may_report_its_own_part() -> None:
    clock = FakeClock()
    work = clock.work("a", 9.0)

    def call() -> float:
        work()
        return 4.0

    assert alternate({"a": call}, 3, warmup=1, clock=clock)["a"] == [4.0, 4.0, 4.0]


def test_progress_counts_all_rounds() -> None:
    seen: list[Step] = []
    alternate({"a": lambda: None}, 2, warmup=1, progress=seen.append)
    assert [(step.done, step.of) for step in seen] == [(1, 3), (2, 3), (3, 3)]
