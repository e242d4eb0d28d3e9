"""What a report means for somebody with a camera, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from samedge._wording import printable
from samedge.bench.report.figures import bounded, figure, share
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.schedule import FLAT, KEPT_WARM, PACED, STREAM
from samedge.bench.statistics import Bounded, Summary, frames_for_bounds, percentile, summarise

CAMERA_FPS = 30.0  # of a cart's video output, where no other rate was asked for
_CHANCE, _MANY = 0.01, 0.05  # shares of late frames
_ADVICE = 2  # more is not read
_COSTS = 1.1  # pauses that make a frame slower by less are not worth a processor that never rests


class State(Enum):
    """How a row does at a rate."""

    KEEPS_UP = "keeps up"
    LATE = "keeps up, but not with every frame"
    BEHIND = "does not keep up, though the work alone would be fast enough"
    LIMIT = "is at its limit"
    CANNOT = "cannot keep up"


@dataclass(frozen=True)
class Judged:
    """A row at a rate.

    Attributes:
        row: a contender.
        mode: its frames that are judged.
        paced: whether they came one by one, as from a camera.
        deadline_ms: between two frames of the camera.
        latency: of those frames.
        service: of the work alone.
    """

    row: Row
    mode: Mode
    paced: bool
    deadline_ms: float
    latency: Summary
    service: Bounded

    @classmethod
    def of(cls, row: Row, deadline_ms: float) -> Judged | None:
        """Of a row's paced frames, else of those flat out, else of its stream; None without any."""
        name = next((mode for mode in (PACED, FLAT, STREAM) if mode in row.modes), None)
        if name is None:
            return None
        mode = row.modes[name]
        service = percentile([value for block in mode.service_ms for value in block], 50)
        return cls(row, mode, name != FLAT, deadline_ms, mode.summary(deadline_ms), service)

    @property
    def late(self) -> int:
        """Frames whose answer came after the next one was due."""
        return self.latency.missed or 0

    @property
    def state(self) -> State:
        """The median of the work decides whether it can, the latencies whether it did."""
        low = self.service.value if self.service.low is None else self.service.low
        if low >= self.deadline_ms:
            return State.CANNOT
        high = self.service.value if self.service.high is None else self.service.high
        if high >= self.deadline_ms:
            return State.LIMIT
        if 2 * self.late > self.latency.count:
            return State.BEHIND
        return State.LATE if self.late else State.KEEPS_UP

    @property
    def rank(self) -> tuple[float, float]:
        """The least is the best: of those with at most 1 % late frames, which chance decides, the
        fastest."""
        return max(self.late / self.latency.count, _CHANCE), self.latency.p50.value


def conclusion(report: Report) -> str:
    """What a user with a camera should conclude, in one sentence.

    The rate is the one that the report was asked for, else 30 frames per second; the row is the
    best one that is not a baseline.
    """
    rate = report.plan.get("fps") or CAMERA_FPS
    rows = [row for row in report.rows if not row.baseline]
    found = [judged for row in rows if (judged := Judged.of(row, 1e3 / rate))]
    if not found:
        return _nothing(report)
    best = min(found, key=lambda judged: judged.rank)
    if report.part:
        p50 = bounded(best.latency.p50)
        said = f"Only the {report.part} was timed, which says nothing about a whole frame: the "
        said += f"fastest is {best.row.name} with a median of {p50} ms"
    else:
        said = f"With {rate:g} frames per second, {best.row.name} {_verdict(best)}"
        said += "".join(f"; {one}" for one in islice(_advice(best, found, rate), _ADVICE))
    return printable(said + "".join(f"; {doubt}" for doubt in _doubts(report, best)) + ".")


def _nothing(report: Report) -> str:
    refused = [row.name for row in report.rows if row.refused]
    if report.interrupted:
        return "Nothing can be concluded: it was interrupted before one round was complete."
    if refused:
        return printable(
            f"Nothing can be concluded: what was to be timed was refused ({', '.join(refused)})."
        )
    if all(row.baseline for row in report.rows):
        return "Nothing can be concluded: only baselines were timed."
    return f"Nothing can be concluded: nothing was timed {FLAT}, {PACED} or as a {STREAM}."


def _verdict(best: Judged) -> str:
    """What the row does, and the figures for it."""
    state, deadline = best.state, figure(best.deadline_ms)
    if state in (State.CANNOT, State.LIMIT):
        return (
            f"{state.value}: the work on a frame takes {bounded(best.service)} ms, and the next "
            f"one comes after {deadline} ms"
        )
    count = f"{best.late} of {best.latency.count}"
    if not best.paced:
        over = f"{count} frames took longer than {deadline} ms" if best.late else _none(best)
        can = "should keep up" if state is State.KEEPS_UP else "may keep up"
        return f"{can}: flat out {over}, and {_tail(best)}"
    if best.late:
        late = f"{share(best.late, best.latency.count)} of its frames ({count}) came late"
        does = "keeps up, but" if state is State.LATE else "does not keep up:"
        return f"{does} {late}, and {_tail(best)}"
    return f"keeps up: {_none(best)}, and {_tail(best)}"


def _none(best: Judged) -> str:
    return f"none of {best.latency.count} frames took longer than {figure(best.deadline_ms)} ms"


def _tail(best: Judged) -> str:
    p99 = best.latency.p99
    if p99.high is not None:
        return f"p99 is {bounded(p99)} ms"
    needed = frames_for_bounds(99)
    least = figure(p99.value if p99.low is None else p99.low)
    return f"p99 is at least {least} ms (a bound from above takes {needed} frames)"


def _advice(best: Judged, found: list[Judged], rate: float) -> Iterator[str]:
    """What else can be done with it, or instead."""
    if best.state is State.KEEPS_UP:
        yield from _others(best, found)
        if not best.paced:
            yield (
                f"frames with pauses between them are often slower, so measure with --fps {rate:g}"
            )
        return
    if not best.paced:
        yield f"measure with --fps {rate:g}, since frames with pauses between them are slower"
    yield from _others(best, found)
    yield from _warmth(best)
    if {str(judged.row.about.get("precision", "")) for judged in found} == {"fp32"}:
        yield "a lower precision may be fast enough (--precision all)"
    if best.late > _MANY * best.latency.count:
        yield from _slower(best, rate)


def _others(best: Judged, found: list[Judged]) -> Iterator[str]:
    names = [
        judged.row.name
        for judged in found
        if judged is not best and judged.paced == best.paced and judged.state is State.KEEPS_UP
    ]
    if not names:
        return
    more = "" if len(names) == 1 else f" and {len(names) - 1} more"
    if best.state is not State.KEEPS_UP:
        yield f"{names[0]}{more} had no late frame"
    elif best.paced:
        yield f"so {'do' if more else 'does'} {names[0]}{more}"
    else:
        yield f"so should {names[0]}{more}"


def _warmth(best: Judged) -> Iterator[str]:
    """Whether it is the pauses that hurt."""
    if not best.paced:
        return
    warm = best.row.modes.get(KEPT_WARM)
    if warm is not None:
        summary = summarise(warm.frames, best.deadline_ms)
        missed = summary.missed or 0
        if missed / summary.count < best.late / best.latency.count:
            yield (
                f"for a client that spins while it waits (--keep-warm) {missed} of "
                f"{summary.count} were late"
            )
        return
    cost = best.row.times_flat(PACED)
    if cost is not None and cost.low is not None and cost.low >= _COSTS:
        yield (
            f"frames with pauses between them take {bounded(cost)} times as long as flat out, so "
            "see what --keep-warm does"
        )


def _slower(best: Judged, rate: float) -> Iterator[str]:
    """The rate at which the work on 99 % of its frames, as far as is known, would be done."""
    p99 = percentile([value for block in best.mode.service_ms for value in block], 99)
    able = math.floor(1e3 / (p99.value if p99.high is None else p99.high))
    if 1 <= able < rate:
        yield f"{able} frames per second is what it can do with hardly any frame late"
    elif able < 1:
        yield "it cannot even do one frame per second"


def _doubts(report: Report, best: Judged) -> Iterator[str]:
    if report.interrupted:
        yield f"the run was interrupted, so this rests on {best.latency.count} frames"
    if report.warnings:
        yield "but the run was not clean, so measure again before you rely on it"
