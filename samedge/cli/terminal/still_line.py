"""Progress that costs nothing between its steps: a line on stderr, and no thread that turns it."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from samedge._wording import printable
from samedge.cli.terminal.printing import Printer, table_width, write
from samedge.progress import Step

_CELLS = 20


class StillLine:
    """A `Progress`, and a context manager, for work whose time is measured.

    On a terminal a line is written over at every step, by the thread that works; elsewhere (a log
    file) there is a line for each name of a step. Nothing with `--quiet`.
    """

    def __init__(self, printer: Printer) -> None:
        self._quiet, self._terminal = printer.quiet, printer.progress_wanted
        self._name, self._start, self._shown = "", 0.0, False

    def __call__(self, step: Step, /) -> None:
        """Where the work is."""
        new = step.name != self._name
        if new:
            self._name, self._start = step.name, time.monotonic()
        if self._quiet:
            return
        if self._terminal:
            width = (table_width() or 80) - 1
            write(sys.stderr, f"\r\x1b[K{printable(self._text(step))[:width]}")
            self._shown = True
        elif new:
            write(sys.stderr, f"  {printable(step.name)}\n")

    def __enter__(self) -> StillLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            write(sys.stderr, "\r\x1b[K")
            self._shown = False

    def _text(self, step: Step) -> str:
        text = f"  {step.name}"
        if step.of:
            filled = _CELLS * step.done // step.of
            text += f" {'#' * filled}{'.' * (_CELLS - filled)} {step.done} of {step.of}"
            if step.done:
                left = (time.monotonic() - self._start) / step.done * (step.of - step.done)
                text += f", {left:.0f} s left"
        return f"{text}: {step.phase}" if step.phase else text
