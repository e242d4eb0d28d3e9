"""`samedge export`: checkpoint -> model -> fold -> bundle, or bundle -> other precisions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.checkpoint_options import checkpoint_options, told
from samedge.cli.completion import NameList
from samedge.cli.filetype import BUNDLE, kind_of, size_text
from samedge.cli.inspect import print_parity
from samedge.cli.resources import Resources
from samedge.cli.terminal.printing import Printer, common_options, write
from samedge.cli.terminal.steps import Steps
from samedge.errors import ParityError

if TYPE_CHECKING:
    from samedge.bundle import Bundle
    from samedge.export import ExportResult
    from samedge.export.int8.calibration_data import CalibrationData
    from samedge.families import Family
    from samedge.fold import FoldedModel

PRECISIONS = ("fp32", "fp16", "int8")
REPORT = "int8-report.html"
_BF16 = "bf16 needs no graph of its own: export fp32, and run the bundle with --precision bf16"
_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}  # of a weight


EPILOG = """\b
Examples:
  samedge export samus.pth -o samus.samedge
  samedge export medsam_vit_b.pth --family medsam -o medsam.samedge
  samedge export sam_vit_b.pth lora.pth --classes synapse -o samed.samedge
  samedge export msa.pth --classes cup,disc -o fundus.samedge
  samedge export msa.pth --chunk 4 -o msa3d.samedge
  samedge export samus.samedge --precision fp32,fp16 -o samus-gpu.samedge
  samedge export samus.samedge --precision int8 --calibration clips/ -o samus-int8.samedge
"""


@click.command(epilog=EPILOG)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("checkpoint2", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Bundle to write."
)
@checkpoint_options
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=NameList(PRECISIONS, elsewhere={"bf16": _BF16}),
    metavar="LIST",
    help="Graphs to write: fp32, fp16 (for TensorRT), int8.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Frames for INT8 like those that the model will see: a folder of images, a US30K folder "
    "or list, a video, DICOM.  [default: the self-test frames]",
)
@click.option(
    "--calibration-frames",
    type=click.IntRange(1),
    metavar="N",
    help="Take so many of them, evenly spread.  [default: 64]",
)
@click.option("--force", is_flag=True, help="Replace an existing bundle.")
@click.option("--zip", "as_zip", is_flag=True, help="Write one file instead of a folder.")
@click.option(
    "--half-weights",
    is_flag=True,
    help="Store weights in 16 bits: half the size, computed in float32 all the same.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Fold and report what it would write: nothing is run or written.",
)
@click.option(
    "--ignore-memory", is_flag=True, help="Try it where the memory seems too small for the model."
)
@common_options
def command(
    checkpoint: Path,
    checkpoint2: Path | None,
    output: Path,
    precision: tuple[str, ...],
    force: bool,
    as_zip: bool,
    half_weights: bool,
    dry_run: bool,
    calibration: Path | None,
    calibration_frames: int | None,
    ignore_memory: bool,
    quiet: bool,
    as_json: bool,
    **says: Any,
) -> None:
    """Fold CHECKPOINT and write it as a bundle that runs without PyTorch.

    CHECKPOINT may also be a bundle with float32 graphs: it is copied, and the graphs of other
    precisions are made from those. That needs neither the checkpoint nor PyTorch.

    A second file completes the first: SAMed's LoRA file behind the SAM checkpoint that it was
    trained on, or SAM weights poured into a SAMUS model. The bundle is compared with the unfolded
    model before it gets its name: if it differs too much the command ends with exit code 5 and
    leaves nothing behind. Memory and disk space are looked at before the work begins.
    """
    printer = Printer(quiet, as_json)
    if not dry_run:
        _check_output(output, force)
    options: dict[str, Any] = {"overwrite": force, "zip": as_zip}
    options["check_memory"] = not ignore_memory
    if kind_of(checkpoint) == BUNDLE:
        _refuse_for_bundles(checkpoint2, half_weights, dry_run, told(says))
        _from_bundle(
            printer, checkpoint, output, precision, (calibration, calibration_frames), options
        )
        return
    from samedge.checkpoint import open_checkpoint
    from samedge.fold import fold

    files = [checkpoint] if checkpoint2 is None else [checkpoint, checkpoint2]
    with Steps(printer) as step:
        step.begin("reading the checkpoint")
        opened = open_checkpoint(*files, **says)
        printer.line(opened.describe())
        for question in opened.questions:  # also with --quiet: another answer, other masks
            write(sys.stderr, f"warning: {question}\n")
        resources = Resources.of(opened, precision)
        if not dry_run and (note := resources.require(output, as_zip, ignore_memory)):
            printer.line(note)
        step.begin("building the model")
        model = opened.build(copy=False)
        del opened
        folded = fold(model, check_memory=not ignore_memory, compare=not dry_run, progress=step)
        del model
        frames = _frames(calibration, calibration_frames, folded.family, step)
        result = None
        if not dry_run:
            options |= {
                "half_weights": half_weights,
                "consume": True,
                "progress": step,
                "calibration": frames,
            }
            result = _write(folded, output, precision, options)
    printer.line(f"\n{folded.report}\n")
    if result is None:
        _print_plan(printer, folded, output, precision, half_weights, resources)
        return
    _finish(printer, result, output)


def _refuse_for_bundles(
    second: Path | None, half_weights: bool, dry_run: bool, says: dict[str, Any]
) -> None:
    given = [f"--{name.replace('_', '-')}" for name in says]
    given += [name for name, on in (("--half-weights", half_weights), ("--dry-run", dry_run)) if on]
    given += [f"a second file ({second.name})"] if second is not None else []
    if given:
        raise click.UsageError(
            f"{', '.join(given)} cannot be said of a bundle, whose model is finished; give the "
            "checkpoint instead"
        )


def _from_bundle(
    printer: Printer,
    source: Path,
    output: Path,
    precisions: tuple[str, ...],
    calibration: tuple[Path | None, int | None],
    options: dict[str, Any],
) -> None:
    from samedge.bundle import Bundle

    with Steps(printer) as step:
        opened = Bundle.open(source)
        options["calibration"] = _frames(*calibration, opened.family, step)
        result = _write(opened, output, precisions, {**options, "progress": step})
    _finish(printer, result, output)


def _frames(
    path: Path | None, limit: int | None, family: Family, step: Steps
) -> CalibrationData | None:
    """Frames to calibrate with, if any were named; what is odd about them is told."""
    if path is None:
        return None
    from samedge.cli.calibration import calibration_data

    def warn(text: str) -> None:
        write(sys.stderr, f"warning: {text}\n")

    step.begin("reading the calibration frames")
    data = calibration_data(path, family, limit, warn)
    for warning in data.warnings:
        warn(warning)
    return data


def _finish(printer: Printer, result: ExportResult, output: Path) -> None:
    """Print what was made.

    Raises:
        ParityError: a precision that was asked for was refused.
    """
    manifest = result.bundle.manifest
    size, refused = manifest.size, {"refused": result.refused} if result.refused else {}
    printer.json({"bundle": str(output), "bytes": size, **manifest.as_mapping(), **refused})
    print_parity(printer, "Parity with the float32 reference", manifest.parity)
    if "int8" in result.precisions and manifest.calibration is not None:
        layers = manifest.calibration["layers"]
        kept = [layer["name"] for layer in layers if layer["kept"]]
        printer.line(
            f"INT8: {len(layers) - len(kept)} of {len(layers)} layers"
            + (f"; in higher precision: {', '.join(kept)}" if kept else "")
            + f". All of them with plots: {REPORT} in the bundle"
        )
    checked = {row.precision for row in manifest.parity if row.backend == "openvino"}
    if "fp32" in checked and "bf16" not in checked:
        printer.line(
            "bf16 is not native here and was not checked: a device that has it runs this bundle in "
            f"fp32 all the same, until it is exported once more there: samedge export {output} "
            "-o NEW"
        )
    printer.line(f"Wrote {output} ({size_text(size)}). Next: samedge verify {output}")
    if result.refused:
        raise ParityError("; ".join(result.refused.values()))


def _check_output(output: Path, force: bool) -> None:
    """Find out before the work, not after it, that the result has no place to go."""
    from samedge.bundle import BundleWriter

    with BundleWriter(output, overwrite=force):
        pass


def _write(
    source: FoldedModel | Bundle, output: Path, precisions: tuple[str, ...], options: dict[str, Any]
) -> ExportResult:
    from samedge.export import export

    return export(source, output, precisions, **options)


def _print_plan(
    printer: Printer,
    folded: FoldedModel,
    output: Path,
    precisions: tuple[str, ...],
    half_weights: bool,
    resources: Resources,
) -> None:
    report = folded.report
    sizes = {
        f"{name}.{precision}.onnx": (2 if half_weights else _BYTES[precision])
        * sum(p.numel() for p in part.parameters())
        for precision in precisions
        for name, part in (("encoder", folded.encoder), ("decoder", folded.decoder))
    }
    printer.json(
        {
            "dry_run": True,
            "bundle": str(output),
            "files": sizes,
            "memory": resources.to_json(),
            "fold_report": report.to_json(),
        }
    )
    rows = [(name, f"about {size_text(size)}") for name, size in sizes.items()]
    rows += [("selftest/", "a few frames, prompts and results"), ("manifest.json", "a few kB")]
    printer.table(f"Would write {output}", ("file", "size"), rows)
    printer.table("Memory that it would take", ("step", "at its peak"), resources.rows())
    printer.line("Dry run: nothing was written.")
