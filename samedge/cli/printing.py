"""What a command prints: results on stdout, progress and errors on stderr.

A reader that closes the pipe early (`samedge doctor | head -1`) changes neither the work of a
command nor its exit code: whatever is printed after that is dropped.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from samedge.errors import OutputError

Function = TypeVar("Function", bound=Callable[..., Any])


def common_options(function: Function) -> Function:
    """Add `--quiet` and `--json` to a command; its function gets `quiet` and `as_json`."""
    function = click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else."
    )(function)
    return click.option(
        "-q", "--quiet", is_flag=True, help="Print nothing but errors (and what --json asks for)."
    )(function)


@dataclass(frozen=True)
class Printer:
    """Prints what a command has to say, as its `--quiet` and `--json` ask.

    Attributes:
        quiet: print only JSON, if asked for.
        as_json: print one JSON value instead of text.
    """

    quiet: bool = False
    as_json: bool = False

    @property
    def text_wanted(self) -> bool:
        """Whether lines and tables are printed at all."""
        return not self.quiet and not self.as_json

    @property
    def progress_wanted(self) -> bool:
        """Whether to show progress on stderr: somebody is looking and did not ask for silence."""
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()

    def line(self, text: str = "") -> None:
        """One line, or several, of plain text."""
        if self.text_wanted:
            write(sys.stdout, printable(text) + "\n")

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = ""
    ) -> None:
        """A table; columns whose cells are all numbers are aligned to the right."""
        if self.text_wanted:
            write(sys.stdout, render_table(title, columns, rows, note))

    def json(self, value: object) -> None:
        """The result as JSON, if it was asked for. NaN and infinity become null."""
        if self.as_json:
            write(sys.stdout, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")

    def json_file(self, path: Path) -> None:
        """A JSON file as the result, if JSON was asked for; in pieces, since it may be large."""
        if self.as_json:
            with path.open(encoding="utf-8") as file:
                while piece := file.read(1 << 20):
                    write(sys.stdout, piece)


def render_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = ""
) -> str:
    """The table as text, with colours if stdout is a terminal that has them."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=printable(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_header=any(columns),
        pad_edge=True,
    )
    for index, column in enumerate(columns):
        numbers = all(_is_number(str(row[index])) for row in rows)
        table.add_column(column, justify="right" if numbers and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    buffer = io.StringIO()
    terminal = sys.stdout is not None and sys.stdout.isatty()
    # Into a file or a pipe a table is as wide as it needs to be: `grep` wants whole lines.
    console = Console(
        file=buffer,
        force_terminal=terminal,
        width=None if terminal else 200,
        markup=False,
        highlight=False,
        emoji=False,
    )
    console.print(table)
    if note:
        console.print(note, soft_wrap=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().split("\n")) + "\n\n"


def write(stream: IO[str] | None, text: str) -> None:
    """Write to stdout or stderr, now. A closed pipe, or no stream at all, swallows the text.

    Raises:
        OutputError: anything else went wrong, for instance a full disk behind a redirection.
    """
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        discard(stream)
    except UnicodeEncodeError:
        # A terminal without UTF-8 gets '?' for what it cannot show, not an error.
        encoding = getattr(stream, "encoding", None) or "ascii"
        write(stream, text.encode(encoding, "replace").decode(encoding))
    except OSError as error:
        discard(stream)
        raise OutputError(f"cannot print the result: {error.strerror or error}") from error


def discard(stream: IO[str]) -> None:
    """Let everything that is still in the stream's buffer, and all that follows, go nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream without a descriptor has no buffer to flush
        return


def printable(text: str) -> str:
    """`text` without control characters: a name in a foreign file must not steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def _is_number(text: str) -> bool:
    head = text.strip().split(" ")[0].rstrip("%")
    try:
        float(head.replace(",", ""))
    except ValueError:
        return head in ("", "-")
    return True


def plain(value: object) -> object:
    """`value` with plain JSON types only."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
