"""Frames in turn, flat out and paced, on a clock that moves only when somebody works."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from samedge.bench.contenders.entry import Entry
from samedge.bench.measurement import measured_report
from samedge.bench.report.values import Row
from samedge.bench.schedule import (
    FLAT,
    KEPT_WARM,
    MODES,
    PACED,
    Plan,
    flat_out,
    measure,
    paced,
    warm_up,
)
from samedge.errors import NotSupportedError
from samedge.progress import Step
from tests.bench.clocks import FakeClock, Worker


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("milliseconds", [0.4, 5.0, 33.0])
def test_a_known_time_is_reported_in_every_mode(mode: str, milliseconds: float) -> None:
    clock = FakeClock()
    worker = Worker(clock, milliseconds)
    found = measure([worker], Plan(rounds=3, frames=20, modes=(mode,)), clock)
    latencies = [ms for block in found.blocks[("worker", mode)] for ms in block.latency_ms]
    assert len(latencies) == 60
    assert np.allclose(latencies, milliseconds, rtol=0.02)


def stalling(clock: FakeClock) -> Worker:
    """5 ms, but 200 ms more for frame 10."""
    return Worker(clock, lambda call: 205.0 if call == 10 else 5.0)


def test_a_stall_is_charged_to_every_frame_behind_it() -> None:
    clock = FakeClock()
    block = paced(stalling(clock), 30, 30.0, clock)
    latency = block.latency_ms
    assert latency[9] == pytest.approx(5.0)
    # The queue of 200 ms empties by 33.3 - 5 ms per frame.
    late = [5.0 + max(0.0, 200.0 - n * (1e3 / 30 - 5.0)) for n in range(20)]
    assert latency[10:] == pytest.approx(late)
    assert sum(ms > 5.1 for ms in latency) == 8
    assert max(block.service_ms[11:]) == pytest.approx(5.0)


def test_flat_out_it_hits_one_frame() -> None:
    clock = FakeClock()
    latency = flat_out(stalling(clock), 30, clock).latency_ms
    assert sum(ms > 5.1 for ms in latency) == 1


def test_one_that_is_too_slow_falls_behind_without_end() -> None:
    clock = FakeClock()
    latency = paced(Worker(clock, 50.0), 30, 30.0, clock).latency_ms
    assert np.allclose(np.diff(latency), 50.0 - 1e3 / 30)


def test_no_frame_is_left_out() -> None:
    clock = FakeClock()
    worker = stalling(clock)
    paced(worker, 30, 30.0, clock, first=60)
    assert worker.calls == list(range(60, 90))


def test_frames_arrive_at_the_rate() -> None:
    clock = FakeClock()
    block = paced(Worker(clock, 1.0), 25, 50.0, clock)
    assert np.allclose(np.diff(block.arrived), 0.02)
    assert clock.slept > 0.4
    assert clock.spun == 0


def test_kept_warm_never_sleeps() -> None:
    clock = FakeClock()
    paced(Worker(clock, 1.0), 25, 50.0, clock, keep_warm=True)
    assert clock.slept == 0
    assert clock.spun > 0.4


def test_one_stage_may_count_alone() -> None:
    clock = FakeClock()
    worker = Worker(clock, 9.0, counted="encoder", stages={"before": 5.0, "encoder": 4.0})
    assert flat_out(worker, 3, clock).latency_ms == pytest.approx([4.0] * 3)
    assert paced(worker, 3, 30.0, clock).latency_ms == pytest.approx([4.0] * 3)


def test_warm_up_ends_when_latencies_have_settled() -> None:
    clock = FakeClock()
    done = warm_up(Worker(clock, lambda call: 100.0 / (call + 1) if call < 12 else 5.0), 100, clock)
    assert done.settled
    assert 15 <= done.frames <= 25


def test_warm_up_that_never_settles_is_told() -> None:
    clock = FakeClock()
    worker = Worker(clock, lambda call: 10.0 * 1.1 ** (call // 5))
    done = warm_up(worker, 30, clock)
    assert (done.frames, done.settled) == (30, False)


def test_nobody_is_warmed_up_if_that_is_asked_for() -> None:
    clock = FakeClock()
    worker = Worker(clock, 1.0)
    measure([worker], Plan(rounds=1, frames=2, warmup=0), clock)
    assert worker.calls == [0, 1]


def test_contenders_and_modes_take_turns_and_the_order_reverses() -> None:
    clock = FakeClock()
    order: list[str] = []

    class Logged(Worker):
        def frame(self, index: int) -> Mapping[str, float]:
            order.append(self.name)
            return super().frame(index)

    contenders = [Logged(clock, 1.0, name) for name in "abc"]
    measure(contenders, Plan(rounds=2, frames=2, warmup=0, modes=(FLAT, PACED)), clock)
    assert "".join(order) == "aaaa" + "bbbb" + "cccc" + "cccc" + "bbbb" + "aaaa"


def test_threads_get_a_rest_before_every_block() -> None:
    clock = FakeClock()
    plan = Plan(rounds=4, frames=1, warmup=0, pause_s=0.5)
    found = measure([Worker(clock, 1.0)], plan, clock)
    assert clock.slept == pytest.approx(2.0)
    assert all(b.latency_ms == pytest.approx([1.0]) for b in found.blocks[("worker", FLAT)])


def test_energy_is_read_around_every_block() -> None:
    clock = FakeClock()
    found = measure(
        [Worker(clock, 10.0)], Plan(rounds=2, frames=5), clock, joules=lambda: clock.time * 20
    )
    # 20 W for 50 ms; the pause before is not in it.
    assert [b.joules for b in found.blocks[("worker", FLAT)]] == pytest.approx([1.0, 1.0])


def test_the_machine_is_looked_at_between_blocks() -> None:
    looks: list[float] = []
    clock = FakeClock()
    measure(
        [Worker(clock, 10.0)],
        Plan(rounds=3, frames=5, warmup=0),
        clock,
        between=lambda: looks.append(clock.time),
    )
    assert len(looks) == 3


@pytest.mark.parametrize("at", [0, 7, 23, 24, 47])
def test_ctrl_c_keeps_whole_rounds(at: int) -> None:
    clock = FakeClock()

    def interrupted(call: int) -> float:
        if call == at:
            raise KeyboardInterrupt
        return 1.0

    others = [Worker(clock, 1.0, "b"), Worker(clock, 1.0, "c")]
    contenders = [Worker(clock, interrupted, "a"), *others]
    plan = Plan(rounds=6, frames=4, warmup=0, modes=(FLAT, PACED))
    found = measure(contenders, plan, clock)
    assert found.interrupted
    assert found.rounds == at // 8
    assert {len(blocks) for blocks in found.blocks.values()} == {found.rounds}


def test_ctrl_c_makes_a_report_of_what_there_is() -> None:
    clock = FakeClock()

    def interrupted(call: int) -> float:
        if call == 25:
            raise KeyboardInterrupt
        return 1.0

    entry = Entry(Row("worker"), Worker(clock, interrupted))
    plan = Plan(rounds=10, frames=10, warmup=0)
    report = measured_report("a run", [entry], plan, clock=clock)
    assert report.interrupted
    assert report.rows[0].modes[FLAT].frames == pytest.approx([1.0] * 20)


def test_progress_counts_rounds() -> None:
    seen: list[Step] = []
    clock = FakeClock()
    measure([Worker(clock, 1.0)], Plan(rounds=2, frames=1), clock, seen.append)
    assert [(step.done, step.of) for step in seen] == [(0, 1), (0, 2), (1, 2), (2, 2)]


def test_two_contenders_of_one_name_are_refused() -> None:
    clock = FakeClock()
    with pytest.raises(NotSupportedError, match="names of their own"):
        measure([Worker(clock, 1.0), Worker(clock, 2.0)], Plan(), clock)


@pytest.mark.parametrize(
    "wrong",
    [{"rounds": 0}, {"frames": 0}, {"fps": 0.0}, {"fps": float("nan")}, {"modes": ("fast",)},
     {"modes": ()}],
)  # fmt: skip
def test_plans_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(NotSupportedError):
        Plan(**wrong)  # type: ignore[arg-type]
    assert KEPT_WARM in MODES
