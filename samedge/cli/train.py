"""`samedge train`: a data set and a recipe in, weights in the official layout out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from samedge.cli.checkpoint_options import checkpoint_options, told
from samedge.cli.completion import Choice
from samedge.cli.terminal.printing import Printer, common_options
from samedge.cli.training import (
    SETTINGS,
    TrainingProgress,
    nothing_else,
    options_from,
    print_outcome,
    print_plan,
    run_options,
)
from samedge.train.recipes import RECIPES

EPILOG = """\b
Examples:
  samedge train US30K -o run --recipe samus --init sam_vit_b.pth
  samedge train US30K -o run --recipe full --config narrow.json --epochs 40 --ema 0.999
  samedge train data -o run --recipe samed --init sam_vit_b.pth --precision bf16-mixed
  samedge train US30K own -o run --times 1,4 --recipe samus --init sam_vit_b.pth
  samedge train US30K -o run --resume
  samedge train US30K -o run --recipe samus --init samus.pth --dry-run
  torchrun --nproc-per-node 4 -m samedge train US30K -o run --recipe medsam --init sam_vit_b.pth
"""


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, ...]:
    if value is None:
        return ()
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= 1000 for part in parts):
        raise click.BadParameter(f"'{value}': expected whole numbers from 1 to 1000, as 1,1,4")
    return tuple(int(part) for part in parts)


@click.command(epilog=EPILOG)
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run."
)
@click.option("--recipe", type=Choice(list(RECIPES)), help="How to train; see docs/training.md.")
@click.option(
    "--init",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Checkpoint to begin with, of the family itself or SAM's; twice for files that belong "
    "together.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="JSON or TOML with config fields: sizes of a new network, or of its new parts.",
)
@click.option(
    "--times",
    callback=_numbers,
    metavar="N,N",
    help="How often the samples of each DATA count in an epoch.  [default: once]",
)
@run_options
@checkpoint_options
@common_options
def command(
    data: tuple[Path, ...],
    output: Path,
    times: tuple[int, ...],
    recipe: str | None,
    init: tuple[Path, ...],
    config: Path | None,
    resume: bool,
    dry_run: bool,
    split: str,
    held_out: str,
    quiet: bool,
    as_json: bool,
    **rest: Any,
) -> None:
    """Fine-tune on DATA, a folder in the layout of US30K or one with images and labels.

    Several folders are trained on together, as one data set; their lists to score on, too.

    Every recipe trains what its original project trains, with that project's loss and optimiser.
    The folder of the run gets the best and the last weights as that project would write them, the
    state to resume from, logs, and a sheet of validation masks per epoch. A run that was stopped,
    however it was, continues with --resume to the same numbers.
    """
    from samedge.train.run import resume as resume_run
    from samedge.train.run import train
    from samedge.train.start import read_config

    printer = Printer(quiet, as_json)
    says = told(rest)
    said = {k: v for k, v in rest.items() if k in SETTINGS and v is not None}
    if resume:
        nothing_else(recipe=recipe, times=times, init=init, config=config, **said)
        with TrainingProgress(printer) as progress:
            outcome = resume_run(data, output, options_from(rest, progress))
        print_outcome(printer, outcome, output)
        return
    if recipe is None:
        raise click.UsageError(f"Missing option '--recipe': one of {', '.join(RECIPES)}.")
    fields = read_config(config) if config is not None else None
    arguments: dict[str, Any] = {"init": list(init), "config": fields, "says": says}
    if dry_run:
        _print_plan(printer, (data, split, times), recipe, arguments, said)
        return
    with TrainingProgress(printer) as progress:
        options = options_from(rest, progress)
        said |= {"split": split, "held_out": held_out, "options": options, "times": times}
        outcome = train(data, output, recipe, **arguments, **said)
    print_outcome(printer, outcome, output)


def _print_plan(
    printer: Printer,
    data: tuple[tuple[Path, ...], str, tuple[int, ...]],
    recipe_name: str,
    arguments: dict[str, Any],
    said: dict[str, Any],
) -> None:
    """What would be trained, and how; reads the checkpoint and the lists of the data set."""
    from samedge.train.data.joined import open_sources
    from samedge.train.recipes import recipe as find_recipe
    from samedge.train.run import begin
    from samedge.train.settings import settings_for

    recipe = find_recipe(recipe_name)
    samples = open_sources(*data)
    begun = begin(recipe, samples, seed=said.get("seed") or 0, **arguments)
    settings = settings_for(recipe, len(samples), **said)
    print_plan(printer, begun.model, recipe, settings, len(samples), list(begun.notes))
