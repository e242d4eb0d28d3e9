"""Time stamps of OpenIGTLink: 32.32 fixed point seconds since 1970, UTC, as whole numbers.

A float64 has 53 bits and would lose the last ten of them.
"""

from __future__ import annotations

import time

TICKS = 1 << 32  # in a second
MOST = (1 << 64) - 1


def ticks_from_ns(nanoseconds: int) -> int:
    """Nanoseconds since 1970 as ticks, kept to 1970..2106."""
    return min(max((nanoseconds * TICKS) // 10**9, 0), MOST)


def ticks_from_seconds(seconds: float) -> int:
    """Seconds since 1970 as ticks, kept to 1970..2106."""
    return min(max(round(seconds * TICKS), 0), MOST)


def seconds_from_ticks(ticks: int) -> float:
    """Ticks as seconds since 1970, rounded to a float."""
    return ticks / TICKS


def ticks_at(monotonic_s: float) -> int:
    """What the wall clock said, as ticks, when `time.monotonic` was `monotonic_s`."""
    ago = int((time.monotonic() - monotonic_s) * 1e9)
    return ticks_from_ns(time.time_ns() - ago)
