"""What a command prints: results on stdout, progress and errors on stderr.

A reader that closes the pipe early (`samedge doctor | head -1`) changes neither the work of a
command nor its exit code: whatever is printed after that is dropped.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from samedge._wording import printable
from samedge.errors import OutputError

Function = TypeVar("Function", bound=Callable[..., Any])

_LEAST_WIDTH = 40  # of a table, whatever a terminal says


def common_options(function: Function) -> Function:
    """Add `--quiet` and `--json` to a command; its function gets `quiet` and `as_json`."""
    function = click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else."
    )(function)
    return click.option(
        "-q", "--quiet", is_flag=True, help="Print nothing but errors (and what --json asks for)."
    )(function)


def verbose_option(function: Function) -> Function:
    """Add `--verbose` to a command; its function gets `verbose`."""
    return click.option(
        "-v", "--verbose", is_flag=True, help="Also tell why this engine and precision were taken."
    )(function)


@dataclass(frozen=True)
class Printer:
    """Prints what a command has to say, as its `--quiet` and `--json` ask.

    Attributes:
        quiet: print only JSON, if asked for.
        as_json: print one JSON value instead of text.
        verbose: print reasons as well.
    """

    quiet: bool = False
    as_json: bool = False
    verbose: bool = False

    @property
    def text_wanted(self) -> bool:
        """Whether lines and tables are printed at all."""
        return not self.quiet and not self.as_json

    @property
    def progress_wanted(self) -> bool:
        """Whether to show progress on stderr: somebody is looking and did not ask for silence."""
        return not self.quiet and sys.stderr is not None and sys.stderr.isatty()

    def line(self, text: str = "") -> None:
        """One line of plain text; what goes on in further ones is indented there."""
        if self.text_wanted:
            write(sys.stdout, printable(text) + "\n")

    def block(self, text: str) -> None:
        """Several lines of plain text, which samedge has laid out."""
        if self.text_wanted:
            write(sys.stdout, "\n".join(map(printable, text.split("\n"))) + "\n")

    def detail(self, text: str) -> None:
        """A line for `--verbose` alone."""
        if self.verbose:
            self.line(text)

    def engine(self, about: Mapping[str, Any]) -> None:
        """What runs here, as `Session.describe` tells it; with `--verbose` also why."""
        self.line(f"{about['title']} on {about['device']}: {about['backend']} {about['precision']}")
        self.detail(f"why: {about['why']}")

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        optional: Sequence[str] = (),
    ) -> None:
        """A table that fits the terminal, and an empty line; see `samedge.tables.render_table`."""
        if self.text_wanted:
            from samedge.tables import render_table

            cells = [[_cell(str(cell)) for cell in row] for row in rows]
            terminal = sys.stdout is not None and sys.stdout.isatty()
            width = table_width()
            text = render_table(printable(title), columns, cells, width, terminal, optional)
            write(sys.stdout, f"{text}\n\n")

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


def table_width() -> int | None:
    """Columns of text that a table may take: the terminal's, or what $COLUMNS says.

    Into a file or a pipe a table is as wide as it needs to be (`grep` wants whole lines), unless
    $COLUMNS says how wide: a shell does not export it by itself.
    """
    terminal = sys.stdout is not None and sys.stdout.isatty()
    if not terminal and not os.environ.get("COLUMNS", "").isdecimal():
        return None
    return max(shutil.get_terminal_size((80, 24)).columns, _LEAST_WIDTH)


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


def _cell(text: str) -> str:
    return printable(text).replace("\n", "?")


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
