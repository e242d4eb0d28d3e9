"""What `train` and `distill` have in common: options of a run, its progress, its outcome."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from samedge.cli.completion import Choice, FiniteRange
from samedge.cli.terminal.printing import Printer, write
from samedge.progress import Step
from samedge.train.settings import PRECISIONS

if TYPE_CHECKING:
    from rich.status import Status

    from samedge.models import PromptableModel
    from samedge.train.loop.progress import TrainingReport
    from samedge.train.loop.trainer import Outcome
    from samedge.train.recipes import Recipe
    from samedge.train.run import RunOptions
    from samedge.train.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

# Options that are fields of `Settings`.
SETTINGS = (
    "epochs",
    "steps",
    "batch",
    "accumulate",
    "lr",
    "warmup",
    "weight_decay",
    "clip",
    "seed",
    "precision",
    "ema",
    "patience",
    "save_every",
    "validate_every",
    "workers",
    "channels_last",
)
LOG_EVERY_S = 60.0
_FROM_RECIPE = "  [default: the recipe's]"


def run_options(function: Function) -> Function:
    """Add the options of a run to a command; its function gets them by their names."""
    for option in reversed(_options()):
        function = option(function)
    return function


def _options() -> list[Callable[[Function], Function]]:
    whole, positive = click.IntRange(1), FiniteRange(0, min_open=True)
    from_0 = click.IntRange(0)
    return [
        click.option("--epochs", type=whole, help="Passes over the data." + _FROM_RECIPE),
        click.option("--steps", type=whole, help="Optimiser steps, instead of --epochs."),
        click.option("--batch", type=whole, help="Images per step and process." + _FROM_RECIPE),
        click.option(
            "--accumulate", type=whole, help="Batches whose gradients make one step.  [default: 1]"
        ),
        click.option("--lr", type=positive, help="Learning rate after warm-up." + _FROM_RECIPE),
        click.option("--warmup", type=from_0, help="Steps of warm-up." + _FROM_RECIPE),
        click.option("--weight-decay", type=FiniteRange(0), help="Weight decay." + _FROM_RECIPE),
        click.option(
            "--clip", type=FiniteRange(0), help="Largest norm of the gradient." + _FROM_RECIPE
        ),
        click.option("--seed", type=from_0, help="Of everything random.  [default: 0]"),
        click.option(
            "--precision",
            type=Choice(PRECISIONS),
            help="Of the network; losses and weights are float32.  [default: 32-true]",
        ),
        click.option(
            "--ema",
            type=FiniteRange(0, 1, max_open=True),
            help="Decay of an average of the weights, which is what counts then.  [default: none]",
        ),
        click.option(
            "--patience", type=from_0, help="Stop after so many validations without a better score."
        ),
        click.option(
            "--validate-every", type=whole, help="Epochs between validations.  [default: 1]"
        ),
        click.option("--save-every", type=from_0, help="Save the state every so many steps, too."),
        click.option(
            "--workers", type=from_0, help="Processes that prepare samples.  [default: 0]"
        ),
        click.option(
            "--channels-last", is_flag=True, default=None, help="Memory format of convolutions."
        ),
        click.option(
            "--accelerator",
            type=Choice(("auto", "cpu", "cuda")),
            default="auto",
            show_default=True,
            help="Where to compute.",
        ),
        click.option(
            "--devices",
            type=whole,
            default=1,
            show_default=True,
            help="GPUs (or processes on a CPU) of this machine; torchrun says it itself.",
        ),
        click.option(
            "--format",
            "suffix",
            type=Choice((".pth", ".safetensors")),
            default=".pth",
            show_default=True,
            help="Of the weights.",
        ),
        click.option("--split", default="train", show_default=True, help="List to train on."),
        click.option("--held-out", default="val", show_default=True, help="List to score on."),
        click.option("--tensorboard", is_flag=True, help="Write TensorBoard files as well."),
        click.option("--resume", is_flag=True, help="Continue the run in the output folder."),
        click.option("--dry-run", is_flag=True, help="Print what would be trained, and stop."),
    ]


def options_from(values: dict[str, Any], progress: TrainingProgress) -> RunOptions:
    """`samedge.train.run.RunOptions` of a command's options."""
    from samedge.train.run import RunOptions

    names = ("accelerator", "devices", "suffix", "tensorboard")
    given = {name: values[name] for name in names}
    return RunOptions(**given, progress=progress, reading=progress.reading, note=progress.note)


def nothing_else(**said: Any) -> None:
    """A run continues as it began.

    Raises:
        click.UsageError: something else was asked for.
    """
    given = [name for name, value in said.items() if value]
    if given:
        raise click.UsageError(
            "--resume continues a run with the settings that it began with; leave out "
            f"--{given[0].replace('_', '-')}."
        )


class TrainingProgress:
    """Progress on stderr: a live line on a terminal, in a log file a line about every minute, and
    one per validation anywhere."""

    def __init__(self, printer: Printer, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = printer.quiet
        self._live = printer.progress_wanted
        self._status: Status | None = None
        self._clock, self._told = clock, -math.inf

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, now: TrainingReport) -> None:
        if now.validated:
            self._log(f"  epoch {now.epoch + 1}: {_line(now)}\n")
            if not self._live:
                return
        self._tell(_line(now))

    def reading(self, step: Step) -> None:
        """A sample was read, before the run begins."""
        self._tell(str(step))

    def _tell(self, text: str) -> None:
        """On a terminal now, in a log file when a minute has passed since its last line."""
        if self._live:
            self._show(text)
        elif self._clock() - self._told >= LOG_EVERY_S:
            self._log(f"  {text}\n")

    def _log(self, line: str) -> None:
        self._told = self._clock()
        if not self._quiet:
            write(sys.stderr, line)

    def note(self, text: str) -> None:
        """What was decided about the data."""
        if not self._quiet:
            write(sys.stderr, f"  note: {text}\n")

    def _show(self, text: str) -> None:
        from rich.console import Console
        from rich.status import Status

        if self._status is None:
            self._status = Status(text, console=Console(stderr=True, markup=False))
            self._status.start()
        self._status.update(text)


def _line(now: TrainingReport) -> str:
    dice = "" if now.dice is None else f", Dice {now.dice:.4f} (best {now.best:.4f})"
    if now.empty:
        dice += f", {now.empty} held-out samples empty in label and mask (Dice 1 each)"
    return (
        f"step {now.step} of {now.steps}, loss {now.loss:.4f}{dice}, {now.images_per_s:.1f} "
        f"images/s, {duration(now.remaining_s)} left"
    )


def duration(seconds: float) -> str:
    """ "1 h 05 min", "3 min 20 s", "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def print_outcome(printer: Printer, outcome: Outcome, folder: Path) -> None:
    """Where the weights are, how good they are, and what comes next; by one process of several."""
    if not outcome.reports:
        return
    printer.json(
        {
            "run": str(folder),
            "best": str(outcome.best),
            "last": str(outcome.last),
            "dice": outcome.dice,
            "held_out": outcome.scored,
            "both_empty": outcome.empty,
            "step": outcome.step,
            "best_step": outcome.best_step,
            "stopped_early": outcome.early,
        }
    )
    if outcome.dice is not None:
        early = "; stopped early, as nothing got better" if outcome.early else ""
        printer.line(f"Best Dice {outcome.dice:.4f}, after step {outcome.best_step}{early}.")
    if outcome.empty:
        printer.line(_about_empty(outcome))
    printer.line(f"Wrote {outcome.best} and {outcome.last}. Next: samedge inspect {outcome.best}")


def _about_empty(outcome: Outcome) -> str:
    """What a score is worth where masks of nothing agree with labels of nothing."""
    said = (
        f"In {outcome.empty} of {outcome.scored} held-out samples the mask and what it is compared "
        "with (the label, or the teacher's mask) are both empty, which counts as Dice 1"
    )
    if outcome.empty < outcome.scored:
        return f"{said}."
    return f"{said}: this score says nothing. Was the teacher trained, or has any label an object?"


def print_plan(
    printer: Printer,
    model: PromptableModel,
    recipe: Recipe,
    settings: Settings,
    samples: int,
    notes: Sequence[str],
) -> None:
    """What a run would train, and how."""
    from samedge.train.trainable import parameter_table

    table = parameter_table(model, recipe)
    printer.json(
        {
            "dry_run": True,
            "recipe": recipe.name,
            "samples": samples,
            "settings": settings.to_json(),
            "parameters": [asdict(row) for row in table],
            "notes": list(notes),
        }
    )
    printer.line(f"{recipe.title}: {recipe.about}")
    for note in notes:
        printer.line(f"  note       {note}")
    rows = [(r.part, str(r.tensors), f"{r.trained:,}", f"{r.frozen:,}") for r in table]
    printer.table("Parameters", ("part", "tensors", "trained", "frozen"), rows)
    shown = [(name, str(value)) for name, value in settings.to_json().items()]
    printer.table(f"Settings, for {samples} samples", ("setting", "value"), shown)
    printer.line("Dry run: nothing was written.")
