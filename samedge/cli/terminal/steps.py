"""Progress of a command on stderr: one line per step, a live one on a terminal, or bars there."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from samedge.cli.terminal.printing import Printer, write
from samedge.progress import Progress, Step, silent

if TYPE_CHECKING:
    from rich.progress import ProgressColumn
    from rich.status import Status

_CELLS = 20  # of the bar in a step's line


class Steps:
    """A `Progress`, and a context manager, for work that has one step after the other.

    On a terminal the running step turns, with a bar if it has parts, and is replaced by its
    duration when it is done; elsewhere (a log file) each step is one line. The last phase that a
    step told stays in its line: what came out. Nothing is printed with `--quiet`.
    """

    def __init__(self, printer: Printer) -> None:
        self._quiet = printer.quiet
        self._live = printer.progress_wanted
        self._status: Status | None = None
        self._name = self._phase = ""
        self._start = 0.0

    def __call__(self, step: Step, /) -> None:
        """The step before has ended if `step` is another one, or begins anew."""
        if step.name != self._name or not step.of:
            self.begin(step.name)
        self._phase = step.phase
        if self._status is not None and step.of:
            filled = _CELLS * step.done // step.of
            bar = "#" * filled + "." * (_CELLS - filled)
            self._status.update(f"{step.name} {bar} {step.done} of {step.of} ...")

    def begin(self, name: str) -> None:
        """The step before has ended, a step of the command's own begins."""
        self._finish()
        self._name, self._phase, self._start = name, "", time.monotonic()
        if self._live:
            from rich.console import Console
            from rich.status import Status

            console = Console(stderr=True, markup=False)
            self._status = Status(f"{name} ...", console=console)
            self._status.start()

    def end(self) -> None:
        """The running step has ended, and no other begins."""
        self._finish()

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
        if self._name and not self._quiet:
            seconds = time.monotonic() - self._start
            said = f": {self._phase}" if self._phase else ""
            write(sys.stderr, f"  {self._name}{said}  ({seconds:.1f} s)\n")
        self._name = ""


@contextmanager
def progress_bars(printer: Printer, unit: str = "") -> Iterator[Progress]:
    """A bar for each step, several at a time if need be; on a terminal, nothing elsewhere.

    Args:
        printer: knows whether somebody is looking.
        unit: what the parts are, in the plural: then they are counted, and the time left is shown.
            Otherwise the time that went by.
    """
    if not printer.progress_wanted:
        yield silent
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(*_columns(unit), console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(step: Step, /) -> None:
            if unit and step.of == 1:  # one picture needs no bar
                return
            text = escape(f"{step.name}: {step.phase}" if step.phase else step.name)
            if step.name not in tasks:
                tasks[step.name] = bars.add_task(text, total=step.of or None)
            bars.update(
                tasks[step.name], description=text, completed=step.done, total=step.of or None
            )
            if unit and step.of and step.done >= step.of:  # seen full once, then room for the next
                bars.refresh()
                bars.remove_task(tasks.pop(step.name))

        yield tell


def _columns(unit: str) -> list[ProgressColumn]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    head: list[ProgressColumn] = [TextColumn("  {task.description}"), BarColumn()]
    if not unit:
        return [*head, TimeElapsedColumn()]
    return [*head, MofNCompleteColumn(), TextColumn(f"{unit}, left"), TimeRemainingColumn()]
