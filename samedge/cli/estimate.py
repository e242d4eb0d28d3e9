"""`samedge estimate`: how fast a device cannot be."""

from __future__ import annotations

from pathlib import Path

import click

from samedge.bench.estimate.devices import BY_NAME, PRECISIONS
from samedge.cli.terminal.printing import Printer, common_options, table_width
from samedge.files.whole import check_target

ALL, HERE = "all", "here"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--device",
    "names",
    type=click.Choice([*BY_NAME, ALL, HERE]),
    multiple=True,
    default=[ALL],
    show_default=True,
    help="Repeat it for several; 'here' measures this machine's processor.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(list(PRECISIONS)),
    multiple=True,
    help="Repeat it for several; default: all that a device computes in.",
)
@click.option(
    "--mhz",
    type=click.FloatRange(min=0, min_open=True),
    help="Clock of the GPU instead of the data sheet's, for one --device in its fastest mode.",
)
@click.option("--sources", is_flag=True, help="Also print where every figure of a device is from.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Also write the result as JSON."
)
@common_options
def command(
    bundle: Path,
    names: tuple[str, ...],
    precisions: tuple[str, ...],
    mhz: float | None,
    sources: bool,
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say how fast BUNDLE cannot be on a device, from the device's data sheet.

    Counts the products and the weights of one frame and divides them by what the device can do at
    most. It is a bound and no prediction: engines are slower; how much cannot be said from here.
    A device whose bound is too slow is ruled out; on any other, measure with `samedge bench`.
    """
    from samedge.bench.estimate.command import estimate, sources_of

    named = BY_NAME if ALL in names else dict.fromkeys(name for name in names if name != HERE)
    chosen = list(named)
    if mhz is not None and (len(chosen) != 1 or HERE in names):
        raise click.UsageError("--mhz is the clock of one device: name it with --device")
    printer = Printer(quiet, as_json)
    if output is not None:
        check_target(output)
    found = estimate(bundle, chosen, precisions or tuple(PRECISIONS), mhz, HERE in names)
    if sources:
        found = sources_of(found, chosen)
    found.write(json=output)
    printer.json(found.to_json())
    printer.block(found.render(table_width()))
