"""One line on stderr that says how a stream is doing, again and again in the same place."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from samedge._wording import printable
from samedge.cli.terminal.printing import Printer, table_width, write

if TYPE_CHECKING:
    from samedge.stream.live.parts import Status
    from samedge.stream.live.states import Alarm

_EVERY_S = 0.25
_SELDOM_S = 10.0  # into a file


class LiveLine:
    """Prints a stream's status: on a terminal in one line that is written over, elsewhere a line
    every ten seconds; alarms as lines of their own. Nothing with `--quiet`.

    Args:
        printer: knows whether somebody is looking.
        now: the clock, in s.
    """

    def __init__(self, printer: Printer, now: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._terminal = printer.quiet, printer.progress_wanted
        self._now, self._next, self._shown = now, 0.0, False

    def show(self, status: Status) -> None:
        """The status, if it is time for it."""
        now = self._now()
        if self._quiet or now < self._next:
            return
        self._next = now + (_EVERY_S if self._terminal else _SELDOM_S)
        text = status_text(status)
        if self._terminal:
            width = (table_width() or 80) - 1
            write(sys.stderr, f"\r\x1b[K{text[:width]}")
            self._shown = True
        else:
            write(sys.stderr, text + "\n")

    def alarm(self, alarm: Alarm) -> None:
        """A line that stays."""
        if self._quiet:
            return
        self.clear()
        write(sys.stderr, f"  ! {printable(alarm.message)}\n")

    def clear(self) -> None:
        """The line goes; what is printed next begins in an empty one."""
        if self._shown:
            write(sys.stderr, "\r\x1b[K")
            self._shown = False


def status_text(status: Status) -> str:
    """`live 00:01:05 | 30.0 fps | 14 ms (p95 19) | 2 dropped | object 1: 5321 px`."""
    minutes, seconds = divmod(int(status.seconds), 60)
    parts = [
        f"{status.state.value} {minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}",
        f"{status.rate:.1f} of {status.source_rate:.1f} fps",
    ]
    if status.latency_ms is not None:
        parts.append(f"{status.latency_ms[0]:.0f} ms (p95 {status.latency_ms[1]:.0f})")
    parts.append(f"{status.dropped} dropped")
    parts += [
        f"{printable(name)}: {'-' if area is None else f'{area} px'}"
        for name, area in status.objects
    ]
    return " | ".join(parts)
