"""Figures as people read them: three digits, bounds behind, "?" for a bound that is not known."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from samedge._wording import printable
from samedge.bench.statistics import Bounded

UNKNOWN = "?"
_DIGITS = 3


def figure(value: float) -> str:
    """Three digits, and all of those before the point: "0.0123", "1.23", "12.3", "1234"; very small
    and very large ones as "1.2e-09"."""
    if value == 0:
        return "0"
    size = abs(float(f"{value:.{_DIGITS - 1}e}"))
    if not 1e-4 <= size < 1e9:
        return f"{value:.1e}"
    before = len(str(int(size))) if size >= 1 else -_zeros(size)
    return f"{value:.{max(_DIGITS - before, 0)}f}"


def bounded(value: Bounded) -> str:
    """ "12.3 (11.9 to 13.0)", "12.3 (11.9 to ?)"; "12.3 (?)" where neither bound is known."""
    if value.low is None and value.high is None:
        return f"{figure(value.value)} ({UNKNOWN})"
    low, high = (UNKNOWN if b is None else figure(b) for b in (value.low, value.high))
    return f"{figure(value.value)} ({low} to {high})"


def share(part: float, whole: float) -> str:
    """ "2.5 %" of something; what is not nothing never reads as "0 %", nor as "100 %"."""
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "less than 0.1 %"
    if percent in (0, 100):
        return f"{percent:.0f} %"
    return f"{min(percent, 99.9):.1f} %" if not 1 <= percent < 99 else f"{percent:.2g} %"


def said(value: Any) -> str:
    """A plain value of a report as a cell; nothing for what is no single value."""
    if value is None or isinstance(value, list | tuple | Mapping):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return figure(value) if isinstance(value, float) else printable(str(value))


def keys(records: Iterable[Mapping[str, Any]], first: Iterable[str] = ()) -> list[str]:
    """Names of all values that any of the records has and a cell can show, `first` ones first."""
    found = dict.fromkeys(k for one in records for k, v in one.items() if said(v))
    return [key for key in first if key in found] + [k for k in found if k not in set(first)]


def wrapped(text: str, width: int | None) -> str:
    """A sentence in lines of that width; None: in one."""
    return text if width is None else "\n".join(textwrap.wrap(text, width))


def _zeros(size: float) -> int:
    """Zeros behind the point."""
    count = 0
    while size < 0.1:
        size, count = size * 10, count + 1
    return count
