"""`samedge bench`: frame latency on this device."""

from __future__ import annotations

from pathlib import Path

import click

from samedge.cli.completion import engine_options, engines_option
from samedge.cli.terminal.printing import (
    Printer,
    common_options,
    plain,
    table_width,
    verbose_option,
)
from samedge.files.whole import check_target, write_json


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@engine_options()
@engines_option
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="Image, folder, video or DICOM to take frames from; without it, synthetic speckle.",
)
@click.option("--frames", default=50, show_default=True, type=click.IntRange(1))
@click.option("--warmup", default=5, show_default=True, type=click.IntRange(0))
@click.option("--threads", type=click.IntRange(1), help="CPU threads; default: physical cores.")
@click.option(
    "--eager",
    "eager_checkpoint",
    type=click.Path(path_type=Path),
    help="Checkpoint to run in eager PyTorch in the same run, alternating; gives the ratio.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Also write the report as JSON."
)
@verbose_option
@common_options
def command(
    bundle: Path,
    backend: str,
    precision: str,
    engines: Path | None,
    source: Path | None,
    frames: int,
    warmup: int,
    threads: int | None,
    eager_checkpoint: Path | None,
    output: Path | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure the latency of BUNDLE on this device: per frame and per stage, after a warm-up.

    Prints p50, p90, p99 and frames per second. With --eager the original model runs in PyTorch in
    the same run, frame by frame in turn, and the speed is given as a ratio: absolute times of two
    runs on a busy machine cannot be compared.
    """
    from samedge import bench

    printer = Printer(quiet, as_json, verbose)
    if output is not None:
        check_target(output)
    report = bench.run(
        bundle,
        backend=backend,
        precision=precision,
        engines=engines,
        source=source,
        frames=frames,
        warmup=warmup,
        eager_checkpoint=eager_checkpoint,
        threads=threads,
    )
    if output is not None:
        write_json(output, plain(report))
    printer.json(report)
    printer.detail(f"why: {report.get('why')}\n")
    printer.block(bench.render(report, table_width()))
