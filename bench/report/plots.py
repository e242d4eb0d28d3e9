"""Plots of every frame, as SVG that takes its colours from the page around it.

A plot is `WIDTH` units wide and drawn as wide as its place, so that its words stay readable on a
phone. Rows keep their colour all over the page: classes "c0" to "c7", and "again" from the ninth
row on, whose lines are dashed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from samedge._wording import printable
from samedge.bench.report.axes import Axis
from samedge.bench.report.figures import figure
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.schedule import FLAT

WIDTH, COLOURS = 480, 8
_LEFT, _RIGHT = 46, 12
_MOST = 1500  # dots of one mode: more are thinned, and the worst stay
_WIDE = 8.0  # worst to best; from there on the axis is logarithmic
_ROUNDS = 40  # lines between more of them would be all that is seen


def text_of(words: str) -> str:
    """Foreign text as HTML."""
    return escape(printable(words), quote=True)


def colour(number: int) -> str:
    """Classes of the row of that number."""
    return f"c{number % COLOURS}" + " again" * (number >= COLOURS)


def timeline(row: Row, deadline_ms: float | None) -> str:
    """Latencies of one row, frame by frame: a stall is seen, and what waited behind it."""
    top, height = 8, 150
    values = [value for mode in row.modes.values() for value in mode.frames]
    y = _latency_axis(values, deadline_ms, top + height, top)
    parts = list(_grid_y(y))
    for number, (name, mode) in enumerate(row.modes.items()):
        if number == 0:
            parts += _round_lines(mode, top, height)
        x = Axis(0, max(len(mode.frames) - 1, 1), _LEFT + 4, WIDTH - _RIGHT - 4)
        dots = "".join(f"M{x.at(n):.1f} {y.at(v):.1f}h0" for n, v in _thinned(mode.frames))
        kind = "flat" if name == FLAT else f"m{number}"
        parts.append(f'<path class="dots {kind}" d="{dots}"/>')
    if deadline_ms is not None and y.low < deadline_ms < y.high:
        parts.append(_deadline_y(deadline_ms, y))
    label = f"Latency of each frame of {row.name}"
    return _svg(parts, top + height + 8, label)


def tail(report: Report, mode: str) -> str:
    """How many frames take longer than so many milliseconds, on a logarithmic axis: the tail that
    an average hides is half of the plot."""
    top, height = 8, 250
    rows = [(n, row.modes[mode]) for n, row in enumerate(report.rows) if mode in row.modes]
    values = [value for _, found in rows for value in found.frames]
    most = max(len(found.frames) for _, found in rows)
    y = Axis(min(0.5 / most, 0.05), 1.0, top + height, top, log=True)
    x = _latency_axis(values, report.deadline_ms, _LEFT, WIDTH - _RIGHT)
    parts = []
    for share in (0.5, 0.1, 0.01, 0.001, 1e-4):
        if share >= y.low:
            words = f"p{100 * (1 - share):.6g}"
            parts.append(_line(_LEFT, y.at(share), WIDTH - _RIGHT, y.at(share), "grid"))
            parts.append(_words(_LEFT - 6, y.at(share) + 4, words, "end"))
    for tick in x.ticks(6):
        parts.append(_line(x.at(tick), top, x.at(tick), top + height, "grid"))
        parts.append(_words(x.at(tick), top + height + 18, figure_of(tick), "middle"))
    parts.append(_words(WIDTH - _RIGHT, top + height + 36, "ms", "end"))
    for number, found in rows:
        parts.append(f'<path class="line {colour(number)}" d="{_steps(found, x, y)}"/>')
    if report.deadline_ms is not None and x.low < report.deadline_ms < x.high:
        at = x.at(report.deadline_ms)
        parts.append(_line(at, top, at, top + height, "deadline"))
        parts.append(_words(at + 4, top + 14, f"{figure(report.deadline_ms)} ms", "start"))
    label = f"Share of frames that take longer, {mode}"
    return _svg(parts, top + height + 42, label)


def figure_of(tick: float) -> str:
    """A value at an axis, without zeros at its end."""
    return f"{tick:.6g}"


def _steps(mode: Mode, x: Axis, y: Axis) -> str:
    """The share of frames above each latency: one step down at each of them."""
    values = np.sort(np.asarray(mode.frames))
    count = len(values)
    # Few of the many in the middle; each one in the tail.
    picked = sorted({*range(0, count, max(1, count // 300)), *range(max(0, count - 100), count)})
    path = f"M{x.at(float(values[0])):.1f} {y.at(1.0):.1f}"
    for index in picked:
        path += f"H{x.at(float(values[index])):.1f}V{y.at(1 - (index + 1) / count or y.low):.1f}"
    return path


def _latency_axis(
    values: Sequence[float], deadline_ms: float | None, start: float, end: float
) -> Axis:
    """From nothing to the worst; logarithmic if the worst is far from the best."""
    low, high = min(values), max(values)
    if deadline_ms is not None and deadline_ms < 3 * high:
        high = max(high, 1.1 * deadline_ms)
    if low > 0 and high / low > _WIDE:
        return Axis(low / 1.2, high * 1.2, start, end, log=True)
    return Axis(0.0, 1.05 * high if high > 0 else 1.0, start, end)


def _thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """At most so many, the worst of each few."""
    size = -(-len(values) // _MOST)
    found = []
    for first in range(0, len(values), size):
        few = values[first : first + size]
        worst = max(range(len(few)), key=few.__getitem__)
        found.append((first + worst, few[worst]))
    return found


def _round_lines(mode: Mode, top: float, height: float) -> Iterator[str]:
    lengths = [len(block) for block in mode.latency_ms]
    if len(lengths) > _ROUNDS or sum(lengths) < 3:
        return
    x = Axis(0, sum(lengths) - 1, _LEFT + 4, WIDTH - _RIGHT - 4)
    at = 0
    for length in lengths[:-1]:
        at += length
        yield _line(x.at(at - 0.5), top, x.at(at - 0.5), top + height, "round")


def _grid_y(y: Axis) -> Iterator[str]:
    for tick in y.ticks(4):
        yield _line(_LEFT, y.at(tick), WIDTH - _RIGHT, y.at(tick), "grid")
        yield _words(_LEFT - 6, y.at(tick) + 4, figure_of(tick), "end")


def _deadline_y(deadline_ms: float, y: Axis) -> str:
    at = y.at(deadline_ms)
    return _line(_LEFT, at, WIDTH - _RIGHT, at, "deadline")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _words(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text_of(words)}</text>'


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{text_of(label)}">'
        f"{''.join(parts)}</svg>"
    )
