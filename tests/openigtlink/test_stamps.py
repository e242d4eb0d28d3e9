"""Time stamps keep every bit."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from samedge.openigtlink.stamps import (
    MOST,
    seconds_from_ticks,
    ticks_at,
    ticks_from_ns,
    ticks_from_seconds,
)


def test_known_moments() -> None:
    """2017-01-20 00:00:00.5 UTC: 1484870400 seconds, and half of 2^32."""
    assert ticks_from_seconds(1484870400.5) == (1484870400 << 32) | 1 << 31
    assert ticks_from_ns(1484870400_500_000_000) == (1484870400 << 32) | 1 << 31
    assert seconds_from_ticks((1484870400 << 32) | 1 << 31) == 1484870400.5


def test_they_end_in_1970_and_2106() -> None:
    assert ticks_from_seconds(-1.0) == ticks_from_ns(-1) == 0
    assert ticks_from_seconds(1e12) == ticks_from_ns(10**22) == MOST


@given(st.integers(0, (1 << 32) * 10**9 - 1))
def test_nanoseconds_survive(nanoseconds: int) -> None:
    ticks = ticks_from_ns(nanoseconds)
    assert -((-ticks * 10**9) >> 32) == nanoseconds


def test_a_moment_of_this_machine() -> None:
    before = time.time_ns()
    ticks = ticks_at(time.monotonic() - 3.0)
    assert ticks_from_ns(before - 3_100_000_000) <= ticks <= ticks_from_ns(time.time_ns())
