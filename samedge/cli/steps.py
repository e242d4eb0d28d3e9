"""Progress of a command on stderr: one line per step, or a live one on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from samedge.cli.printing import Printer, write

if TYPE_CHECKING:
    from rich.status import Status


class Steps:
    """A context manager that is called with the name of each step as it begins.

    On a terminal the running step turns, and is replaced by its duration when it is done; elsewhere
    (a log file) each step is one line. Nothing is printed with `--quiet`.
    """

    def __init__(self, printer: Printer) -> None:
        self._quiet = printer.quiet
        self._live = printer.progress_wanted
        self._status: Status | None = None
        self._step = ""
        self._start = 0.0

    def __call__(self, step: str) -> None:
        """The step before has ended, `step` begins."""
        self._finish()
        self._step, self._start = step, time.monotonic()
        if self._live:
            from rich.console import Console
            from rich.status import Status

            console = Console(stderr=True, markup=False)
            self._status = Status(f"{step} ...", console=console)
            self._status.start()

    def part(self, done: int, of: int) -> None:
        """Of the running step `done` of `of` parts are done."""
        if self._status is not None and of:
            filled = 20 * done // of
            self._status.update(
                f"{self._step} {'#' * filled}{'.' * (20 - filled)} {done} of {of} ..."
            )

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        elif self._status is not None:
            self._status.stop()

    def _finish(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._step and not self._quiet:
            seconds = time.monotonic() - self._start
            write(sys.stderr, f"  {self._step}  ({seconds:.1f} s)\n")
        self._step = ""
