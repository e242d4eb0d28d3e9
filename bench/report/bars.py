"""Bars, as elements of a page: their words wrap and keep their size on a phone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from samedge.bench.report.axes import Axis
from samedge.bench.report.figures import bounded, figure, said
from samedge.bench.report.plots import colour, figure_of, text_of
from samedge.bench.report.table import REST, stage_medians, timed
from samedge.bench.report.values import Report
from samedge.bench.statistics import Bounded

# Of a load: what a bar shows, and its unit.
_LOADS = {
    "start_s": ("Start", "s"),
    "first_frame_ms": ("First frame", "ms"),
    "peak_mb": ("Peak memory", "MB"),
    "resident_mb": ("Resident memory", "MB"),
}


@dataclass(frozen=True)
class _Ratio:
    """One bar of a comparison."""

    label: str
    value: Bounded
    verdict: str
    number: int


def stage_bars(report: Report) -> str:
    """Where a frame's time goes, row by row; "" if no row tells."""
    found = [
        (f"{row.name}, {name}", stage_medians(mode))
        for row, name, mode in timed(report)
        if mode.stages_ms
    ]
    if not found:
        return ""
    names = list(dict.fromkeys(name for _, stages in found for name in stages))
    names = [name for name in names if any(stages.get(name) for _, stages in found)]
    names.sort(key=REST.__eq__)
    most = max(sum(stages.values()) for _, stages in found) or 1.0
    parts = [legend([(name, colour(n)) for n, name in enumerate(names)])]
    for label, stages in found:
        pieces = [
            f'<i class="{colour(n)}" style="width:{_percent(stages[name], most)}" '
            f'title="{text_of(name)}: {figure(stages[name])} ms"></i>'
            for n, name in enumerate(names)
            if stages.get(name)
        ]
        parts.append(_bar(label, f"{figure(sum(stages.values()))} ms", "".join(pieces)))
    return "".join(parts)


def ratio_bars(report: Report) -> str:
    """How many times as fast each row is as its yardsticks, with the interval; "" without one."""
    found = list(_ratios(report))
    if not found:
        return ""
    ends = [end for r in found for end in (r.value.value, r.value.low, r.value.high) if end]
    axis = Axis(min(0.8, *ends) / 1.1, max(1.25, *ends) * 1.1, 0, 100, log=True)
    parts = []
    for ratio in found:
        low, high = (ratio.value.low or ratio.value.value), (ratio.value.high or ratio.value.value)
        one, at = axis.at(1.0), axis.at(ratio.value.value)
        left, right = min(one, at), max(one, at)
        pieces = (
            f'<i class="from {colour(ratio.number)}" style="left:{left:.2f}%;'
            f'width:{right - left:.2f}%"></i>'
            f'<b style="left:{axis.at(low):.2f}%;width:{axis.at(high) - axis.at(low):.2f}%"></b>'
            f'<u style="left:{one:.2f}%"></u>'
        )
        words = f"{bounded(ratio.value)} {ratio.verdict}"
        parts.append(_bar(ratio.label, words, pieces))
    ticks = "".join(
        f'<span style="left:{axis.at(tick):.2f}%">{figure_of(tick)}</span>'
        for tick in axis.ticks(5)
    )
    return "".join(parts) + f'<div class="ticks">{ticks}</div>'


def load_bars(report: Report) -> Iterator[tuple[str, str]]:
    """(title, bars) of each figure of a start: seconds, first frame, memory."""
    loads = [
        (n, f"{row.name}, {cache}", part)
        for n, row in enumerate(report.rows)
        for cache, part in row.load.items()
    ]
    for key, (title, unit) in _LOADS.items():
        found = [(n, label, value) for n, label, part in loads if (value := _number(part, key))]
        most = max((value for *_, value in found), default=0.0)
        bars = [
            _bar(
                label,
                f"{said(value)} {unit}",
                f'<i class="{colour(n)}" style="width:{_percent(value, most)}"></i>',
            )
            for n, label, value in found
        ]
        if bars:
            yield title, "".join(bars)


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Names with the classes of their colours."""
    items = "".join(f'<li><i class="{kind}"></i>{text_of(name)}</li>' for name, kind in entries)
    return f'<ul class="legend">{items}</ul>'


def _ratios(report: Report) -> Iterator[_Ratio]:
    numbers = {row.name: n for n, row in enumerate(report.rows)}
    for row, name, _ in timed(report):
        for other in report.yardsticks(row):
            found = report.ratio(row, other, name)
            if found is not None:
                label = f"{row.name}, {name}, against {other.name}"
                yield _Ratio(label, found[0], found[1].value, numbers[row.name])


def _number(part: Mapping[str, object], key: str) -> float:
    """A positive figure, or 0."""
    value = part.get(key)
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0


def _bar(label: str, words: str, pieces: str) -> str:
    return (
        f'<div class="bar"><span>{text_of(label)}</span><em>{text_of(words)}</em>'
        f'<div class="track">{pieces}</div></div>'
    )


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f}%"
