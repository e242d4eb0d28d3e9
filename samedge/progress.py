"""Progress of long work on stderr: a bar on a terminal, one line per stage elsewhere.

    with progress("Folding", total=12) as bar:
        for name in blocks:
            ...
            bar.advance(1, name)

rich is imported only when a bar is drawn, so library code may use this freely. stdout stays clean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What a stage of work tells about how far it is."""

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """`steps` more are done; `detail` names what is being done now."""


class NullProgress:
    """Says nothing: `--quiet`, and stages whose start has been told in a log."""

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """See `Progress.advance`."""


@contextmanager
def progress(title: str, total: int | None = None, quiet: bool = False) -> Iterator[Progress]:
    """Progress of one stage, for as long as the block lasts.

    Args:
        title: what the stage does, for people.
        total: number of steps; None if it is not known (a moving bar without a percentage).
        quiet: say nothing at all.
    """
    if quiet or sys.stderr is None:
        yield NullProgress()
    elif not sys.stderr.isatty():
        print(f"{title} ...", file=sys.stderr, flush=True)
        yield NullProgress()
    else:
        with _rich_bar(title, total) as bar:
            yield bar


@contextmanager
def _rich_bar(title: str, total: int | None) -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(escape(title), total=total, detail="")

        class Bar:
            """One stage as a line of rich's display."""

            def advance(self, steps: int = 1, detail: str = "") -> None:
                """See `Progress.advance`."""
                bars.update(task, advance=steps, detail=escape(detail))

        yield Bar()
        bars.update(task, detail="")
