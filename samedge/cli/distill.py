"""`samedge distill`: a large model's encoder taught to a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from samedge.cli.checkpoint_options import checkpoint_options, told
from samedge.cli.completion import FiniteRange
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

EPILOG = """\b
Examples:
  samedge distill sam_vit_b.pth frames -o student --config narrow.json --epochs 50
  samedge distill samus.pth US30K -o student --config narrow.json --train-decoder
  samedge distill medsam_vit_b.pth frames --family medsam -o student --config small.toml
  samedge distill sam_vit_b.pth frames -o student --resume
"""


@click.command(epilog=EPILOG)
@click.argument("teacher", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the run."
)
@click.option(
    "--with",
    "more",
    type=click.Path(path_type=Path),
    help="Second file of the teacher: SAMed's LoRA file.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="JSON or TOML with sizes of the student and its family (samus, sam, medsam, mobile_sam or "
    "litemedsam).",
)
@click.option(
    "--train-decoder", is_flag=True, help="Train the decoder that the teacher lends, as well."
)
@click.option("--embedding-weight", type=FiniteRange(0), help="Of the squared error.  [default: 1]")
@click.option("--cosine-weight", type=FiniteRange(0), help="Of the cosine.  [default: 1]")
@click.option("--mask-weight", type=FiniteRange(0), help="Of the masks.  [default: 1]")
@run_options
@checkpoint_options
@common_options
def command(
    teacher: Path,
    data: Path,
    output: Path,
    more: Path | None,
    config: Path | None,
    train_decoder: bool,
    resume: bool,
    dry_run: bool,
    split: str,
    held_out: str,
    quiet: bool,
    as_json: bool,
    **rest: Any,
) -> None:
    """Train a small model to see what TEACHER sees, on DATA.

    DATA is a labelled data set, or a folder of images without labels. The student's image encoder
    learns the teacher's image embedding; prompt encoder and mask decoder are the teacher's, if it
    is SAM, MedSAM, MobileSAM, LiteMedSAM or SAMUS, and are otherwise trained on the labels. Where
    the two grids of tokens differ, the teacher's embedding is resized (bilinear) to the student's.
    The student is one of these families, of its own size, and exports like any other.
    """
    from samedge.train.distill.distilling import distill, resume_distillation
    from samedge.train.start import read_config

    printer = Printer(quiet, as_json)
    files = [teacher] if more is None else [teacher, more]
    says = told(rest)
    said = {k: v for k, v in rest.items() if k in SETTINGS and v is not None}
    weights = _weights(rest)
    if resume:
        nothing_else(config=config, train_decoder=train_decoder, **weights, **said)
        with TrainingProgress(printer) as progress:
            options = options_from(rest, progress)
            outcome = resume_distillation(files, data, output, says=says, options=options)
        print_outcome(printer, outcome, output)
        return
    fields = read_config(config) if config is not None else {}
    if dry_run:
        _print_plan(printer, files, data, split, fields, says, said)
        return
    from samedge.train.distill.task import DistillWeights

    with TrainingProgress(printer) as progress:
        outcome = distill(
            files,
            data,
            output,
            config=fields,
            says=says,
            weights=DistillWeights(**weights),
            train_decoder=train_decoder,
            split=split,
            held_out=held_out,
            options=options_from(rest, progress),
            **said,
        )
    print_outcome(printer, outcome, output)


def _weights(rest: dict[str, Any]) -> dict[str, float]:
    """Those that were given, by the names in `DistillWeights`."""
    named = {name: rest[f"{name}_weight"] for name in ("embedding", "cosine", "mask")}
    return {name: value for name, value in named.items() if value is not None}


def _print_plan(
    printer: Printer,
    files: list[Path],
    data: Path,
    split: str,
    fields: dict[str, Any],
    says: dict[str, Any],
    said: dict[str, Any],
) -> None:
    from samedge.checkpoint import open_checkpoint
    from samedge.train.distill.distilling import make_pair, open_images
    from samedge.train.recipes import FULL
    from samedge.train.settings import settings_for

    samples, _, labelled = open_images(data, split, None)
    opened = open_checkpoint(files[0], *files[1:], **says)
    pair = make_pair(opened, fields, said.get("seed") or 0, labelled)
    kind = "labelled" if labelled else "without labels"
    notes = [f"teacher: {opened.family.title}, {opened.parameters / 1e6:.2f} M", pair.note, kind]
    settings = settings_for(FULL, len(samples), **said)
    print_plan(printer, pair.student, FULL, settings, len(samples), notes)
