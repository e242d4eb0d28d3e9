"""A report as text for a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from samedge._wording import printable
from samedge.bench.report.conclusion import conclusion
from samedge.bench.report.figures import UNKNOWN, bounded, figure, keys, said, wrapped
from samedge.bench.report.machine import machine_line
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.schedule import FLAT, STREAM
from samedge.bench.statistics import LEAST_ROUNDS, frames_for_bounds
from samedge.tables import render_table

WAIT, REST = "wait", "rest"
# What of a load is told, in this order, and then whatever else there is.
_LOAD = ("start_s", "load_s", "first_frame_ms", "resident_mb", "peak_mb")
_KINDS, _LAYERS = 6, 10  # of each part
Table = tuple[str, list[str], list[list[str]], list[str]]  # title, heads, cells, heads to spare


def render(report: Report, width: int | None = None) -> str:
    """A report as text: tables, what a reader has to know, and what to conclude at the end.

    Args:
        report: of one run.
        width: columns of text that there are; None: as many as the tables need.
    """
    parts = [
        render_table(title, heads, cells, width, optional=spare, lines=2)
        for title, heads, cells, spare in tables(report)
        if cells
    ]
    # Layers or starts alone say nothing about frames.
    timed = report.modes or report.interrupted
    concluded = [conclusion(report)] if timed else []
    lines = [wrapped(line, width) for line in [*notes(report), *concluded]]
    return "\n\n".join([*parts, "\n".join(lines)])


def tables(report: Report) -> Iterator[Table]:
    """All tables of a report; those that it has nothing for have no rows."""
    yield latency_table(report)
    yield ratio_table(report)
    yield pacing_table(report)
    yield stage_table(report)
    yield load_table(report)
    yield extra_table(report)
    yield from layer_tables(report)


def latency_table(report: Report) -> Table:
    """Percentiles, extremes and rates of each row in each mode."""
    deadline = report.deadline_ms
    heads = ["what", "mode", "p50 ms", "p90 ms", "p99 ms", "max ms", "jitter ms", "frames/s"]
    heads += [late_head(deadline)] if deadline else []
    energy = any(mode.joules is not None for _, _, mode in timed(report))
    heads += ["J/frame"] if energy else []
    cells = []
    for row, name, mode in timed(report):
        found = mode.summary(deadline)
        line = [printable(row.name), printable(name), bounded(found.p50), figure(found.p90.value)]
        line += [bounded(found.p99), figure(found.worst), figure(found.jitter), figure(mode.fps)]
        line += [f"{found.missed} of {found.count}"] if deadline else []
        joules = mode.joules_per_frame
        line += ["" if joules is None else figure(joules)] if energy else []
        cells.append(line)
    spare = ["jitter ms", "p90 ms", "J/frame", "max ms", "frames/s"]
    return printable(report.title), heads, cells, spare


def ratio_table(report: Report) -> Table:
    """Each row against what it is compared with."""
    cells = []
    for row, name, _ in timed(report):
        for other in report.yardsticks(row):
            found = report.ratio(row, other, name)
            if found is not None:
                ratio, verdict = found
                words = [row.name, name, other.name, bounded(ratio), verdict.value]
                cells.append([printable(word) for word in words])
    heads = ["what", "mode", "compared with", "times as fast", "verdict"]
    return "How many times as fast, by blocks taken in turn", heads, cells, []


def pacing_table(report: Report) -> Table:
    """What pauses between frames cost each row."""
    modes = [mode for mode in report.modes if mode not in (FLAT, STREAM)]
    cells = []
    for row in report.rows:
        ratios = {mode: row.times_flat(mode) for mode in modes}
        if any(ratios.values()):
            flat = row.modes[FLAT].summary().p50.value
            line = [printable(row.name), figure(flat)]
            for mode, ratio in ratios.items():
                p50 = row.modes[mode].summary().p50.value if mode in row.modes else None
                line += ["" if p50 is None else figure(p50), bounded(ratio) if ratio else ""]
            cells.append(line)
    heads = ["what", "flat out, p50 ms"]
    for mode in map(printable, modes):
        heads += [f"{mode}, p50 ms", f"{mode} / flat out"]
    return "What pauses between frames cost", heads, cells, []


def stage_table(report: Report) -> Table:
    """Medians of each stage, of the wait before them and of what no stage has."""
    of_rows = [(row, name, mode, stage_medians(mode)) for row, name, mode in timed(report)]
    of_rows = [item for item in of_rows if item[2].stages_ms]
    names = keys((stages for *_, stages in of_rows), first=(WAIT,))
    names = [name for name in names if any(stages.get(name) for *_, stages in of_rows)]
    names.sort(key=REST.__eq__)  # of rows with different stages: last
    cells = [
        [printable(row.name), printable(mode)]
        + [figure(stages[name]) if name in stages else "" for name in names]
        for row, mode, _, stages in of_rows
    ]
    return "Stages, p50 ms", ["what", "mode", *map(printable, names)], cells, []


def stage_medians(mode: Mode) -> dict[str, float]:
    """Stage -> median, with the wait before them and what no stage accounts for."""
    service = [value for block in mode.service_ms for value in block]
    stages = {
        name: [value for block in blocks for value in block]
        for name, blocks in mode.stages_ms.items()
    }
    told = [sum(values) for values in zip(*stages.values(), strict=True)] or [0.0] * len(service)
    rest = [max(0.0, own - known) for own, known in zip(service, told, strict=True)]
    return {
        WAIT: max(0.0, median(mode.wait_ms)),
        **{name: median(values) for name, values in stages.items()},
        REST: median(rest),
    }


def load_table(report: Report) -> Table:
    """Start, first frame and memory, each from a process of its own."""
    loads = [(row, cache, part) for row in report.rows for cache, part in row.load.items()]
    names = keys((part for *_, part in loads), _LOAD)
    cells = [
        [printable(row.name), printable(cache), *(said(part.get(name)) for name in names)]
        for row, cache, part in loads
    ]
    heads = ["what", "cache", *(printable(worded(name)) for name in names)]
    return "Start and memory", heads, cells, []


def extra_table(report: Report) -> Table:
    """Further figures."""
    rows = [row for row in report.rows if any(said(value) for value in row.extra.values())]
    names = keys(row.extra for row in rows)
    cells = [[printable(row.name), *(said(row.extra.get(name)) for name in names)] for row in rows]
    return "Further figures", ["what", *(printable(worded(name)) for name in names)], cells, []


def layer_tables(report: Report) -> Iterator[Table]:
    """Time per kind of layer, and the slowest layers."""
    sums: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    parts: dict[tuple[str, str], float] = defaultdict(float)
    for layer in report.layers:
        sums[layer.row, layer.part, layer.kind].append(layer.ms)
        parts[layer.row, layer.part] += layer.ms
    kinds = []
    for part, total in parts.items():
        found = [(kind, ms) for (*of, kind), ms in sums.items() if tuple(of) == part]
        found.sort(key=lambda item: -sum(item[1]))
        kinds += [
            [
                *map(printable, (*part, kind)),
                str(len(ms)),
                figure(sum(ms)),
                _percent(sum(ms), total),
            ]
            for kind, ms in found[:_KINDS]
        ]
    heads = ["what", "part", "kind", "layers", "ms", "of the part"]
    yield "Time per kind of layer, the largest first", heads, kinds, []
    slowest = []
    for part in parts:
        layers = [layer for layer in report.layers if (layer.row, layer.part) == part]
        for one in sorted(layers, key=lambda layer: -layer.ms)[:_LAYERS]:
            words = (one.row, one.part, one.name, one.kind, one.kernel)
            slowest.append([*map(printable, words), figure(one.ms)])
    heads = ["what", "part", "layer", "kind", "kernel", "ms"]
    yield "Slowest layers", heads, slowest, ["kernel", "kind"]


def notes(report: Report) -> list[str]:
    """Sentences below the tables, the most important last."""
    lines = [*_bounds_note(report), *_rows_notes(report), *report.notes]
    if report.overhead_us is not None:
        lines.append(f"Measuring adds {figure(report.overhead_us)} \u00b5s to a frame.")
    if report.source:
        lines.append(f"Frames: {report.source}.")
    lines += [line] if (line := machine_line(report.machine)) else []
    lines += [f"Not timed: {row.name}: {row.refused}" for row in report.rows if row.refused]
    lines += [f"This run is not clean: {warning}" for warning in report.warnings]
    if report.interrupted:
        lines.append("Interrupted: these are the rounds that were complete.")
    return [printable(line) for line in lines]


def timed(report: Report) -> Iterator[tuple[Row, str, Mode]]:
    """Rows with the modes that they were measured in."""
    for row in report.rows:
        for name, mode in row.modes.items():
            yield row, name, mode


def late_head(deadline_ms: float) -> str:
    """Heading of the frames that came too late."""
    return f"over {figure(deadline_ms)} ms"


def worded(name: str) -> str:
    """A key of a record as a heading: "first_frame_ms" is "first frame ms"."""
    return name.replace("_", " ").removesuffix(" mb") + " MB" * name.endswith("_mb")


def _bounds_note(report: Report) -> Iterator[str]:
    counts = [len(mode.frames) for _, _, mode in timed(report)]
    if counts:
        yield "In brackets: bounds that hold in 95 % of all runs."
    needed = frames_for_bounds(99)
    if counts and min(counts) < needed:
        yield (
            f"{UNKNOWN}: too few frames to bound it. A p99 has an upper bound from {needed} "
            f"frames on; here there were {min(counts)}."
        )
    behind: dict[str, list[str]] = defaultdict(list)
    for row, name, mode in timed(report):
        if mode.falls_behind:
            behind[row.name].append(name)
    if behind:
        which = "; ".join(f"{row} ({', '.join(modes)})" for row, modes in behind.items())
        yield (
            f"Falling behind: {which}. Frames queue up, so the latency says for how long it was "
            "measured: no ratio is made of it."
        )
    rounds = [len(mode.latency_ms) for _, _, mode in timed(report)]
    ratios = ratio_table(report)[2] or pacing_table(report)[2]
    if ratios and min(rounds) < LEAST_ROUNDS:
        yield f"A ratio has bounds from {LEAST_ROUNDS} rounds on; here there were {min(rounds)}."


def _rows_notes(report: Report) -> Iterator[str]:
    """Each note once, with the rows that it is about."""
    names: dict[str, list[str]] = defaultdict(list)
    for row in report.rows:
        for note in row.notes:
            names[note].append(row.name)
    for note, of in names.items():
        yield note if len(of) == len(report.rows) > 1 else f"{', '.join(of)}: {note}"


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole > 0 else ""
