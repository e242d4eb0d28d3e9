"""Entries in, a report out: what every benchmark of this package goes through."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

from samedge.bench.contenders.entry import Entry
from samedge.bench.report.values import Layer, Mode, Report, Row
from samedge.bench.schedule import Call, Clock, Measured, Plan, SystemClock, flat_out, measure
from samedge.errors import ParityError
from samedge.machine.condition import Watch
from samedge.machine.fingerprint import fingerprint
from samedge.progress import Progress, silent

_EMPTY_FRAMES = 2000


class Observer(Protocol):
    """What looks at the machine meanwhile; `samedge.machine.condition.Watch` is one."""

    def look(self) -> object:
        """Take a sample."""
        ...

    def joules(self) -> float | None:
        """A counter of energy that only grows."""
        ...

    def condition(self) -> Mapping[str, Any]:
        """What was seen since the first sample."""
        ...


def measured_report(
    title: str,
    entries: Iterable[Entry],
    plan: Plan,
    source: str = "",
    command: str = "",
    notes: Iterable[str] = (),
    rate_asked: bool = False,
    layers: Iterable[Layer] = (),
    clock: Clock | None = None,
    progress: Progress = silent,
    watch: Observer | None = None,
    part: str = "",
) -> Report:
    """Measure all entries in turn and report them.

    Args:
        title: of the report.
        entries: those without a contender are reported as refused.
        plan: how much of each.
        source, command, notes, layers, part: as for `Report`.
        rate_asked: count missed deadlines at the plan's rate, also flat out.
        clock, watch: a test passes its own.
        progress: told each round.

    Raises:
        ParityError: every entry was refused; nothing was timed.
    """
    entries = list(entries)
    timed = [entry.contender for entry in entries if entry.contender is not None]
    if not timed:
        reasons = "; ".join(f"{e.row.name}: {e.row.refused}" for e in entries)
        raise ParityError(f"nothing was timed: {reasons}")
    clock, watch = clock or SystemClock(), watch or Watch()
    watch.look()
    start = clock.now()
    found = measure(timed, plan, clock, progress, watch.joules, watch.look)
    return Report(
        title=title,
        rows=tuple(_row(entry.row, found, start) for entry in entries),
        machine=fingerprint(),
        condition=watch.condition(),
        plan={**asdict(plan), "fps": plan.fps if rate_asked else None},
        source=source,
        command=command,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        layers=tuple(layers),
        overhead_us=overhead_us(clock),
        interrupted=found.interrupted,
        notes=tuple(notes),
        part=part,
    )


def overhead_us(clock: Clock) -> float:
    """What the loop around a frame takes, in microseconds: of a contender that does nothing."""
    empty = Call("nothing", lambda _: None)
    block = flat_out(empty, _EMPTY_FRAMES, clock)
    return block.seconds / _EMPTY_FRAMES * 1e6


def _row(row: Row, found: Measured, start: float) -> Row:
    modes = {
        mode: Mode.of(blocks, start)
        for (name, mode), blocks in found.blocks.items()
        if name == row.name and blocks
    }
    warmup = found.warmups.get(row.name)
    notes = row.notes
    if warmup is not None and warmup.frames and not warmup.settled:
        notes += (f"latencies had not settled after {warmup.frames} frames of warm-up",)
    return replace(row, modes=modes, warmup=asdict(warmup) if warmup else {}, notes=notes)
