"""A report as CSV: a line per row and mode, raw numbers under plain names."""

from __future__ import annotations

import csv
import io
from typing import Any

from samedge.bench.report.table import stage_medians
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.statistics import Bounded
from samedge.files.cells import plain

Line = dict[str, Any]


def to_csv(report: Report) -> str:
    """The text of the file; columns are those that any line has. Rows that were refused have one
    line, with the reason."""
    lines = [line for row in report.rows for line in _lines(report, row)]
    text = io.StringIO()
    names = dict.fromkeys(plain(name) for line in lines for name in line)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({plain(name): _cell(value) for name, value in line.items()})
    return text.getvalue()


def _lines(report: Report, row: Row) -> list[Line]:
    what: Line = {"what": row.name, "mode": "", "baseline": int(row.baseline)}
    what |= {f"about {name}": value for name, value in row.about.items()}
    tail: Line = {
        f"{cache} {name}": value for cache, part in row.load.items() for name, value in part.items()
    }
    tail |= {f"extra {name}": value for name, value in row.extra.items()}
    tail |= {"refused": row.refused}
    modes = [
        {**what, "mode": name, **_figures(report, mode), **_ratio(report, row, name), **tail}
        for name, mode in row.modes.items()
    ]
    return modes or [{**what, **tail}]


def _figures(report: Report, mode: Mode) -> Line:
    found = mode.summary(report.deadline_ms)
    line: Line = {"frames": found.count, "rounds": len(mode.latency_ms)}
    for name in ("p50", "p90", "p99"):
        line |= _bounds(f"{name}_ms", getattr(found, name))
    line |= {"best_ms": found.best, "worst_ms": found.worst, "jitter_ms": found.jitter}
    line |= {"fps": mode.fps, "deadline_ms": report.deadline_ms, "missed": found.missed}
    line |= {"joules_per_frame": mode.joules_per_frame}
    return line | {f"p50 of {name}_ms": value for name, value in stage_medians(mode).items()}


def _ratio(report: Report, row: Row, mode: str) -> Line:
    """Against the first yardstick."""
    other = report.yardstick(row)
    found = report.ratio(row, other, mode) if other else None
    line: Line = {"against": other.name if other and found else ""}
    if found is not None:
        line |= {**_bounds("times_as_fast", found[0]), "verdict": found[1].value}
    flat = row.times_flat(mode)
    return line | (_bounds("times_flat_out", flat) if flat else {})


def _bounds(name: str, value: Bounded) -> Line:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    return "" if isinstance(value, dict | list | tuple) else value
