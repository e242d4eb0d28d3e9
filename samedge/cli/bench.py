"""`samedge bench`: frame latency on this device; `samedge bench compare`: two reports of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.completion import (
    FiniteRange,
    NameList,
    complete_backends,
    complete_precisions,
    engines_option,
)
from samedge.cli.terminal.printing import (
    Printer,
    common_options,
    table_width,
    verbose_option,
)
from samedge.cli.terminal.still_line import StillLine
from samedge.errors import Cancelled, ParityError
from samedge.files.whole import check_target

if TYPE_CHECKING:
    from samedge.bench.report.values import Report

# As `samedge.bench.contenders.baselines.BASELINES` has them, which needs torch.
BASELINES = ("eager", "compile", "onnxruntime", "openvino")
REGRESSED = 7  # exit code
_WORDS = "samedge.cli.bench.words"  # of the command line, for the report

EPILOG = """\b
Examples:
  samedge bench samus.samedge                                  back to back, what load would take
  samedge bench samus.samedge --fps 30                         and as from a camera of 30 fps
  samedge bench a.samedge b.samedge --precision all --threads 1,4
  samedge bench samus.samedge --checkpoint samus.pth --baseline eager,onnxruntime
  samedge bench samus.samedge --fps 30 -o new.json --html new.html
  samedge bench compare old.json new.json --threshold 5%
\b
'compare' as the first word is the second command; a bundle of that name is ./compare.
Two runs can be compared only on one machine. docs/benchmark.md tells how all this is measured.
"""


COMPARE_EPILOG = """\b
Exit codes: 0 nothing regressed, 7 a row is slower beyond the threshold or is refused now.
\b
Examples:
  samedge bench samus.samedge -o old.json
  samedge bench samus.samedge -o new.json
  samedge bench compare old.json new.json --threshold 5%
"""


def _share(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """ "5%" or "0.05"."""
    parts = re.fullmatch(r"\s*([0-9.]+)\s*(%?)\s*", value)
    try:
        share = float(parts[1]) / (100 if parts[2] else 1) if parts else math.nan
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise click.BadParameter(f"'{value}': expected a share from 0% to less than 100%, like 5%")
    return share


@click.command(name="compare", epilog=COMPARE_EPILOG)
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--threshold",
    default="5%",
    show_default=True,
    metavar="SHARE",
    callback=_share,
    help="A row that is slower by more has regressed.",
)
@common_options
def compare(before: Path, after: Path, threshold: float, quiet: bool, as_json: bool) -> None:
    """Compare two reports of samedge bench (-o), BEFORE and AFTER, row by row and mode by mode.

    Each is the same, faster, slower, or cannot be told: too few rounds, or too much else going on.
    The two runs saw different moments of the machine; what else differs is told as a doubt.
    """
    from samedge.bench.compare import compare as compared
    from samedge.bench.report.values import Report

    printer = Printer(quiet, as_json)
    found = compared(Report.read(before), Report.read(after), threshold)
    printer.json(found.to_json())
    printer.block(found.render(table_width()))
    if found.regressed:
        click.get_current_context().exit(REGRESSED)


class _BenchCommand(click.Command):
    """`samedge bench`, of which `compare` as the first word makes another command.

    Attributes:
        words: first word -> the command that it makes.
    """

    words: Mapping[str, click.Command] = MappingProxyType({"compare": compare})

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """As click's own; of the command that is meant."""
        other = self.words.get(args[0]) if args else None
        if other is None:
            words = list(args)
            made = super().make_context(info_name, args, parent, **extra)
            made.meta[_WORDS] = words
            return made
        return other.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


def _threads(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[int | None, ...]:
    if value is None:
        return (None,)
    words = [word.strip() for word in value.split(",")]
    if not all(word.isascii() and word.isdecimal() and int(word) for word in words):
        raise click.BadParameter(f"'{value}': expected numbers of threads from 1 up, like 1,2,4")
    return tuple(dict.fromkeys(map(int, words)))


def _names(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    """Names with commas between them; what is not known is the runtime's to say."""
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    if not names:
        raise click.BadParameter("expected auto, all, or names with commas between them")
    return tuple(dict.fromkeys(names))


@click.command(cls=_BenchCommand, epilog=EPILOG)
@click.argument(
    "bundles", metavar="BUNDLE...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@click.option(
    "--backend",
    "backends",
    default="auto",
    show_default=True,
    metavar="NAMES",
    callback=_names,
    shell_complete=complete_backends,
    help="Engines: auto, all that run here, or names: openvino,triton.",
)
@click.option(
    "--precision",
    "precisions",
    default="auto",
    show_default=True,
    metavar="NAMES",
    callback=_names,
    shell_complete=complete_precisions,
    help="auto, all that run here, or names: fp32,bf16.",
)
@click.option(
    "--threads",
    metavar="N,N",
    callback=_threads,
    help="CPU threads, also several numbers; default: physical cores.",
)
@engines_option
@click.option(
    "--fps",
    type=FiniteRange(0.1, 1000),
    help="Also frames that arrive at this rate, as from a camera; counts late ones.",
)
@click.option(
    "--keep-warm",
    is_flag=True,
    help="Also with a client that spins while it waits for a frame (30 fps, or --fps).",
)
@click.option(
    "--stream",
    is_flag=True,
    help="Also from source to sink, as samedge stream runs it (30 fps, or --fps).",
)
@click.option("--layers", is_flag=True, help="Also what each layer takes, by the engine's profile.")
@click.option("--native", is_flag=True, help="Also libsamedge, the C library (make capi).")
@click.option(
    "--checkpoint",
    "--eager",
    "checkpoint",
    multiple=True,
    type=click.Path(path_type=Path),
    help="What the first bundle was exported from, for the baselines; alone it means "
    "--baseline eager (and so does --eager, its old name).",
)
@click.option(
    "--baseline",
    "baselines",
    type=NameList(BASELINES),
    default=(),
    metavar="NAMES",
    help="What there is without samedge, in turn with it: eager (PyTorch), compile "
    "(torch.compile), onnxruntime and openvino (a plain ONNX export).",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="Image, folder, video or DICOM to take frames from; without it, synthetic speckle.",
)
@click.option(
    "--frames",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="Of each, in each mode, over all rounds.",
)
@click.option(
    "--rounds",
    default=10,
    show_default=True,
    type=click.IntRange(1),
    help="Blocks of frames that all take in turn; 5 or more give bounds of ratios.",
)
@click.option(
    "--warmup",
    default=50,
    show_default=True,
    type=click.IntRange(0),
    help="Frames at most before those; it ends when latencies have settled.",
)
@click.option("--no-startup", is_flag=True, help="Leave out load times and memory.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the report as JSON, with every frame's time.",
)
@click.option("--csv", type=click.Path(path_type=Path), help="Write a line per row and mode.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with plots.")
@verbose_option
@common_options
def command(
    bundles: tuple[Path, ...],
    output: Path | None,
    csv: Path | None,
    html: Path | None,
    no_startup: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
    checkpoint: tuple[Path, ...],
    **asked: Any,
) -> None:
    """Measure the latency of BUNDLEs on this device, in turn, per frame and per stage.

    Every combination of bundle, backend, precision and number of threads answers the bundle's
    self-test, is warmed up, and is measured in blocks that take turns, so that whatever else the
    machine does meets all of them. One that fails its self-test is never timed (exit code 5).

    Back to back ("flat out") a frame is asked for when the last is done. At --fps a frame is due
    when a camera would send it, and late from then on: a stall is charged to every frame behind it.

    Ctrl-C ends it; whole rounds are written and printed (exit code 130).
    """
    from samedge import bench
    from samedge.bench.entry import repeating

    printer = Printer(quiet, as_json, verbose)
    for target in (output, csv, html):
        if target is not None:
            check_target(target)
    with StillLine(printer) as progress:
        report = bench.run(
            bundles,
            checkpoint=checkpoint or None,
            startup=not no_startup,
            progress=progress,
            **asked,
        )
    if report.interrupted and not report.modes:
        raise Cancelled("cancelled before a round was complete: nothing was measured")
    report = report.with_command(
        repeating("samedge bench", click.get_current_context().meta[_WORDS])
    )
    bench.write(report, output, csv, html)
    printer.json(report.to_json())
    for row in report.rows:
        if why := row.about.get("why"):
            printer.detail(f"why {row.name}: {why}")
    printer.block(bench.render(report, table_width()))
    _judge(report)


def _judge(report: Report) -> None:
    """How the command ends.

    Raises:
        Cancelled: the user ended it.
        ParityError: something was not timed.
    """
    if report.interrupted:
        rounds = min(len(mode.seconds) for row in report.rows for mode in row.modes.values())
        raise Cancelled(f"cancelled; the report has what was measured by then: {rounds} rounds")
    # A baseline that does not run here (no compiler, say) is not samedge's to answer for.
    refused = [row.name for row in report.rows if row.refused and not row.baseline]
    if refused:
        raise ParityError(f"not timed: {'; '.join(refused)} (the report says why)")
