"""A report as one page for a browser, which needs nothing but itself.

It holds no script, and its own policy forbids the browser to fetch anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samedge.bench.report.bars import legend, load_bars, ratio_bars, stage_bars
from samedge.bench.report.conclusion import conclusion
from samedge.bench.report.figures import said
from samedge.bench.report.machine import leaves
from samedge.bench.report.plots import colour, tail, text_of, timeline
from samedge.bench.report.table import (
    Table,
    extra_table,
    latency_table,
    layer_tables,
    load_table,
    notes,
    pacing_table,
    ratio_table,
    stage_table,
)
from samedge.bench.report.values import Report
from samedge.bench.schedule import FLAT
from samedge.tables import is_number

_STYLE = Path(__file__).with_name("page.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_METHOD = (
    "Contenders take turns, block by block, and every second round goes backwards, so that what "
    "the machine does besides meets all of them. Flat out asks for the next frame as soon as the "
    "last one is done. Paced has frames arrive at fixed times, as from a camera, and counts from "
    "when a frame was due: a stall is charged to every frame that it delays, and no frame is left "
    "out. Bounds of percentiles come from order statistics, those of ratios from a bootstrap over "
    "the blocks; both hold in 95 % of all runs. What did not pass its comparison is not timed."
)


def page(report: Report) -> str:
    """The whole text of the page."""
    title = text_of(report.title)
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: latency</title><style>{_STYLE.read_text(encoding='utf-8')}</style>"
    )
    body = "".join(_sections(report))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )


def _sections(report: Report) -> Iterator[str]:
    yield f'<p class="conclusion">{text_of(conclusion(report))}</p>'
    yield from _warnings(report)
    yield _section("Latency", _table(latency_table(report)))
    yield _section("Times as fast, with 95 % intervals", ratio_bars(report))
    yield from _plots(report)
    yield _section("What pauses between frames cost", _table(pacing_table(report)))
    yield _section("Where a frame's time goes, p50", stage_bars(report))
    yield _details("Stages in figures", _table(stage_table(report)))
    loads = "".join(
        f"<figure><figcaption>{text_of(t)}</figcaption>{b}</figure>" for t, b in load_bars(report)
    )
    yield _section("Start and memory", f'<div class="grid">{loads}</div>' if loads else "")
    yield _details("Start and memory in figures", _table(load_table(report)))
    yield _section("Further figures", _table(extra_table(report)))
    for table in layer_tables(report):
        yield _details(table[0], _table(table))
    yield _details("Ratios in figures", _table(ratio_table(report)))
    yield from _about(report)


def _warnings(report: Report) -> Iterator[str]:
    """What spoils the figures, or lacks among them, before anybody reads one."""
    lines = [f"This run is not clean: {warning}" for warning in report.warnings]
    if report.interrupted:
        lines.append("Interrupted: these are the rounds that were complete.")
    lines += [f"Not timed: {row.name}: {row.refused}" for row in report.rows if row.refused]
    if lines:
        yield f'<ul class="warnings">{"".join(f"<li>{text_of(line)}</li>" for line in lines)}</ul>'


def _plots(report: Report) -> Iterator[str]:
    rows = [(n, row) for n, row in enumerate(report.rows) if row.modes]
    if not rows:
        return
    plots = "".join(
        f"<figure><figcaption>{text_of(row.name)}</figcaption>"
        f"{timeline(row, report.deadline_ms)}</figure>"
        for _, row in rows
    )
    due = " Dashed: the next frame is due." if report.deadline_ms else ""
    kinds = [(mode, "flat" if mode == FLAT else f"m{n}") for n, mode in enumerate(report.modes)]
    note = (
        "Milliseconds of each frame, in the order they were taken. Dotted: between two rounds."
        + due
    )
    yield _section(
        "Latency over time",
        f'{legend(kinds)}<p class="note">{note}</p><div class="grid">{plots}</div>',
    )
    tails = "".join(
        f"<figure><figcaption>{text_of(mode)}</figcaption>{tail(report, mode)}</figure>"
        for mode in report.modes
    )
    keys = legend([(row.name, colour(n)) for n, row in rows])
    note = "Where a line crosses p99, one frame in a hundred takes longer." + due
    yield _section("The tail", f'{keys}<p class="note">{note}</p><div class="grid">{tails}</div>')


def _about(report: Report) -> Iterator[str]:
    """How it was measured, where, and how to do it again."""
    shown = {f"Not timed: {row.name}: {row.refused}" for row in report.rows}
    lines = [
        line
        for line in notes(report)
        if not line.startswith(("This run is not clean", "Interrupted:")) and line not in shown
    ]
    items = "".join(f"<li>{text_of(line)}</li>" for line in lines)
    again = f"<pre>{text_of(report.command)}</pre>" if report.command else ""
    made = f'<p class="note">Measured {text_of(report.made)}.</p>' if report.made else ""
    yield _section("How it was measured", f"<p>{_METHOD}</p><ul>{items}</ul>{again}{made}")
    for title, record in (
        ("Plan", report.plan),
        ("Machine", report.machine),
        ("Its condition", report.condition),
    ):
        yield _details(title, _record(record))


def _record(record: Mapping[str, Any]) -> str:
    items = "".join(
        f"<dt>{text_of(name)}</dt><dd>{text_of(words)}</dd>"
        for name, value in leaves(record)
        if (words := said(value))
    )
    return f"<dl>{items}</dl>" if items else ""


def _table(table: Table) -> str:
    """Cells as they are in a terminal; columns of numbers to the right."""
    _, heads, cells, _ = table
    if not cells:
        return ""
    numbers = [all(is_number(line[n]) for line in cells) for n in range(len(heads))]
    kinds = [' class="n"' if number else "" for number in numbers]
    head = "".join(f"<th{k}>{text_of(h)}</th>" for h, k in zip(heads, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{k}>{text_of(cell)}</td>" for cell, k in zip(line, kinds, strict=True))
        + "</tr>"
        for line in cells
    )
    drawn = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{drawn}</div>'


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{text_of(title)}</h2>{inner}</section>" if inner else ""


def _details(title: str, inner: str) -> str:
    return f"<details><summary>{text_of(title)}</summary>{inner}</details>" if inner else ""
