"""What the command-line modules of this package have in common: options, reports, errors."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from samedge.bench.report.sheet import Sheet
from samedge.bench.report.values import Report
from samedge.bench.schedule import Plan
from samedge.errors import ParityError, SamEdgeError
from samedge.machine.cpu import physical_cores
from samedge.progress import Step

INTERRUPTED = 130  # exit code, as a shell has it for Ctrl-C


def run(main: Callable[[], int]) -> None:
    """Run `main` and exit with its code, or with an error's message and code."""
    try:
        raise SystemExit(main())
    except SamEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:  # before there was anything to report
        raise SystemExit(INTERRUPTED) from None


def parser(module: str, about: str | None) -> argparse.ArgumentParser:
    """A parser that prints a module's docstring as its help.

    Args:
        module: its name, without "samedge.bench.".
        about: its docstring.
    """
    program = f"python -m samedge.bench.{module}"
    made = argparse.ArgumentParser(
        prog=program, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.set_defaults(program=program)
    return made


def add_plan(to: argparse.ArgumentParser, rounds: int = 10, frames: int = 10) -> None:
    """Options of a measurement in turn: `--threads`, `--rounds`, `--frames`."""
    to.add_argument("--threads", type=int, default=physical_cores(), help="of every contender")
    to.add_argument("--rounds", type=int, default=rounds, help="blocks of each, in turn")
    to.add_argument("--frames", type=int, default=frames, help="of a block")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options of `add_plan` ask for."""
    return Plan(rounds=options.rounds, frames=options.frames)


def add_files(to: argparse.ArgumentParser, page: bool = True) -> None:
    """Options for files: `--json`, `--csv`, and `--html` if there is a page of it."""
    to.add_argument("--json", type=Path, help="write everything here, every number as it was found")
    to.add_argument("--csv", type=Path, help="write the lines of the table here")
    if page:
        to.add_argument("--html", type=Path, help="write a page with plots here")


def parsed(
    by: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Options, once the files of `add_files` are known to be writable: before long work.

    Args:
        by: a parser of `parser`.
        arguments: None for the process's own.

    Raises:
        OutputError: a file cannot be written, or two are the same.
    """
    from samedge.bench.report import check_targets

    options = by.parse_args(arguments)
    check_targets(*(getattr(options, name, None) for name in ("json", "csv", "html")))
    return options


def finish(
    found: Report | Sheet, options: argparse.Namespace, arguments: Sequence[str] | None
) -> int:
    """Write the files of `add_files`, print the table; returns the exit code.

    It is that of a ParityError if a row that is no baseline was refused, and 130 after Ctrl-C.

    Args:
        found: without its command.
        options: of a parser of `parser`.
        arguments: that were parsed; None for the process's own.
    """
    from samedge.bench.report import render, write

    command = repeating(options.program, sys.argv[1:] if arguments is None else arguments)
    if isinstance(found, Sheet):
        found = found.signed(command)
        found.write(options.json, options.csv)
        print(found.render())
        return 0
    report = found.with_command(command)
    write(report, options.json, options.csv, options.html)
    print(render(report))
    if report.interrupted:
        return INTERRUPTED
    refused = any(row.refused and not row.baseline for row in report.rows)
    return ParityError.exit_code if refused else 0


def repeating(program: str, arguments: Sequence[str]) -> str:
    """The command of a report: of files the names alone, for their folders are nobody's business.

    Args:
        program: what was run.
        arguments: that it got.
    """
    names = [re.sub(r"^(-[\w-]+=)?.*/(?=[^/])", r"\1", word.rstrip("/")) for word in arguments]
    return f"{program} {shlex.join(names)}".strip()


def tell(step: Step, /) -> None:
    """Progress on stderr."""
    print(step, file=sys.stderr, flush=True)
