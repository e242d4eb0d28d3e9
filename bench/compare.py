"""Two reports of the same thing: what became faster or slower, and what cannot be told.

The two runs have nothing in common but the names of their rows, so whatever else differs between
them (the machine, its libraries, the frames) is told as a doubt, and a run that was not clean as
well. The verdict goes by the medians of blocks; the p99 of both is shown beside it, and told if the
bounds of the two do not touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from samedge._wording import printable
from samedge.bench.report.figures import bounded, figure, said, wrapped
from samedge.bench.report.machine import differences
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.statistics import LEAST_ROUNDS, MARGIN, Bounded, Verdict, unpaired_ratio, verdict
from samedge.errors import NotSupportedError
from samedge.tables import render_table

THRESHOLD = 0.05
_MOST_DIFFERENCES = 12
_PLAN = ("fps", "rounds", "frames", "pause_s")


@dataclass(frozen=True)
class Change:
    """One row in one mode.

    Attributes:
        name, mode: which.
        before, after: their median latencies in ms, with bounds.
        p99_before, p99_after: the same of the p99.
        times_as_fast: the second, of the first; bounds from 5 rounds on.
        verdict: on that.
        regressed: it is slower, and by more than the threshold.
    """

    name: str
    mode: str
    before: Bounded
    after: Bounded
    p99_before: Bounded
    p99_after: Bounded
    times_as_fast: Bounded
    verdict: Verdict
    regressed: bool

    @property
    def tail(self) -> Verdict:
        """FASTER or SLOWER if the bounds of the two p99 do not touch, else CANNOT_TELL."""
        old, new = self.p99_before, self.p99_after
        if old.high is not None and new.low is not None and new.low > old.high:
            return Verdict.SLOWER
        if new.high is not None and old.low is not None and new.high < old.low:
            return Verdict.FASTER
        return Verdict.CANNOT_TELL


@dataclass(frozen=True)
class Comparison:
    """What two reports say together.

    Attributes:
        threshold: a row that is slower by more has regressed: 0.05 for 5 %.
        changes: of rows and modes that both were timed in.
        refused: rows that were timed before and are refused now, with the reason.
        only_before, only_after: "row, mode" that one report alone has.
        doubts: sentences on what differs between the runs besides what is compared.
    """

    threshold: float
    changes: tuple[Change, ...]
    refused: tuple[tuple[str, str], ...] = ()
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def regressed(self) -> bool:
        """A row is slower beyond the threshold, or is refused now: its numbers went wrong.

        Slower beyond the threshold: the verdict is "slower" and the estimate is beyond it. That the
        whole interval is beyond it is not asked for, or a row that is exactly as slow as the
        threshold would pass in half of all runs, and in nearly all with few rounds.
        """
        return bool(self.refused) or any(change.regressed for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "threshold": self.threshold,
            "regressed": self.regressed,
            "changes": [
                {**asdict(one), "verdict": one.verdict.value, "tail": one.tail.value}
                for one in self.changes
            ],
            "refused": [{"name": name, "reason": reason} for name, reason in self.refused],
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
            "doubts": list(self.doubts),
        }

    def render(self, width: int | None = None) -> str:
        """As text; `width` as for `render_table`."""
        heads = ["what", "mode", "p50 ms before", "after", "p99 ms before", "p99 after"]
        heads += ["times as fast", "verdict"]
        cells = [
            [
                printable(one.name),
                printable(one.mode),
                *(figure(p.value) for p in (one.before, one.after, one.p99_before, one.p99_after)),
                bounded(one.times_as_fast),
                one.verdict.value + (" (regressed)" if one.regressed else ""),
            ]
            for one in self.changes
        ]
        spare = ["p99 ms before", "p99 after", "p50 ms before", "after"]
        limit = f"{100 * self.threshold:.4g} %"
        title = f"Compared; slower by more than {limit} counts as a regression"
        table = [render_table(title, heads, cells, width, optional=spare, lines=2)] if cells else []
        return "\n".join([*table, *(wrapped(printable(line), width) for line in self.lines())])

    def lines(self) -> Iterator[str]:
        """Sentences below the table, the result last."""
        for one in self.changes:
            if one.tail is not Verdict.CANNOT_TELL:
                before, after = bounded(one.p99_before), bounded(one.p99_after)
                yield f"The p99 of {one.name}, {one.mode}, went from {before} to {after} ms."
        for side, names in (("first", self.only_before), ("second", self.only_after)):
            yield from (f"Only in the {side} report: {name}." for name in names)
        yield from (f"Refused now: {name}: {reason}" for name, reason in self.refused)
        yield from (f"Doubt: {doubt}." for doubt in self.doubts)
        yield self._result()

    def _result(self) -> str:
        if not self.changes and not self.refused:
            return "The two have no row in common: there is nothing to compare."
        counts = [(v, sum(one.verdict is v for one in self.changes)) for v in Verdict]
        found = ", ".join(f"{count} {v.value}" for v, count in counts if count)
        worse = [f"{one.name}, {one.mode}" for one in self.changes if one.regressed]
        worse += [name for name, _ in self.refused]
        end = f" Regressed: {'; '.join(worse)}." if worse else " Nothing regressed."
        return f"{found[:1].upper()}{found[1:]}.{end}" if found else end.strip()


def compare(before: Report, after: Report, threshold: float = THRESHOLD) -> Comparison:
    """Compare two reports, row by row and mode by mode.

    Args:
        before, after: of two runs.
        threshold: a row that is slower by more has regressed: 0.05 for 5 %.

    Raises:
        NotSupportedError: the threshold is no share.
    """
    if not 0 <= threshold < 10:
        raise NotSupportedError(
            f"a threshold of {threshold:g} came; expected a share from 0 on, such as 0.05 for 5 %"
        )
    old, new = _timed(before), _timed(after)
    refused = {row.name: row.refused for row in after.rows if row.refused}
    gone = [key for key in old if key not in new]
    lost = dict.fromkeys(name for name, _ in gone if name in refused)
    return Comparison(
        threshold,
        tuple(_change(*key, old[key], new[key], threshold) for key in old if key in new),
        tuple((name, refused[name]) for name in lost),
        tuple(", ".join(key) for key in gone if key[0] not in refused),
        tuple(", ".join(key) for key in new if key not in old),
        tuple(_doubts(before, after)),
    )


def _timed(report: Report) -> dict[tuple[str, str], Mode]:
    return {(row.name, name): mode for row in report.rows for name, mode in row.modes.items()}


def _change(name: str, mode: str, before: Mode, after: Mode, threshold: float) -> Change:
    old, new = before.summary(), after.summary()
    ratio = Bounded(1.0, None, None)
    if min(*before.block_ms, *after.block_ms) > 0:
        ratio = unpaired_ratio(before.block_ms, after.block_ms)
    found = verdict(ratio, min(MARGIN, threshold))
    worse = found is Verdict.SLOWER and ratio.value < 1 / (1 + threshold)
    return Change(name, mode, old.p50, new.p50, old.p99, new.p99, ratio, found, worse)


def _doubts(before: Report, after: Report) -> Iterator[str]:
    """What differs between two runs besides what is compared."""
    for which, report in (("first", before), ("second", after)):
        if report.warnings:
            yield f"the {which} run was not clean ({report.warnings[0].rstrip('.')})"
        if report.interrupted:
            yield f"the {which} run was interrupted"
        rounds = [len(mode.latency_ms) for mode in _timed(report).values()]
        if rounds and min(rounds) < LEAST_ROUNDS:
            yield f"the {which} run has fewer than {LEAST_ROUNDS} rounds, too few for a verdict"
    if not before.machine or not after.machine:
        yield "it is not known whether both ran on one machine"
    else:
        found = list(differences(before.machine, after.machine))
        yield from found[:_MOST_DIFFERENCES]
        if len(found) > _MOST_DIFFERENCES:
            yield f"{len(found) - _MOST_DIFFERENCES} more differences between the machines"
    yield from _differ("frames", before.source, after.source)
    yield from _differ(
        "what was timed", before.part or "whole frames", after.part or "whole frames"
    )
    for key in _PLAN:
        name = {"fps": "frames per second", "frames": "frames per block"}.get(key, key)
        yield from _differ(name, before.plan.get(key), after.plan.get(key))
    others = {row.name: row for row in after.rows}
    for row in before.rows:
        if row.name in others:
            yield from _rows_differ(row, others[row.name])


def _rows_differ(before: Row, after: Row) -> Iterator[str]:
    """Rows of one name that are not the same thing: other weights, threads, engine."""
    for difference in differences(before.about, after.about):
        yield f"{before.name}: {difference}"


def _differ(name: str, before: Any, after: Any) -> Iterator[str]:
    if before != after:
        yield f"{name}: {said(before) or 'none'}, then {said(after) or 'none'}"
