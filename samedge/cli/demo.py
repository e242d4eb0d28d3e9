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
from samedge.errors import BundleError, PromptError

if TYPE_CHECKING:
    from samedge.bundle import Bundle
    from samedge.prompts.prompt import PointText
    from samedge.stream.job import SegmentResult

READY = "samus-demo.samedge"  # in samedge/data; docs/demo-model.md
SIMULATED = "Trained on simulated images only: not for any use on patients."
NOTICE = "Untrained weights: these masks mean nothing."
SYNTHETIC = "synthetic"  # in file names
CHAMBER = "178,95"  # px; inside the left ventricle in the first frame of the example loop


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
    "--point", default=CHAMBER, show_default=True, metavar="X,Y", help="Start of the tracking, px."
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
    point: str,
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
    a small SAMUS that comes with samedge, trained on simulated images; it needs no torch.
    --checkpoint and --untrained go the whole way from weights to a bundle, which is used again if
    it is in the folder and intact. A model without prompts segments each frame by itself.
    """
    from samedge.prompts.prompt import parse_point

    if sum((checkpoint is not None, bundle is not None, untrained)) > 1:
        raise click.UsageError("give one of --checkpoint, --bundle and --untrained")
    try:
        click_at = parse_point(point)
    except PromptError as error:
        raise click.UsageError(str(error)) from error
    printer = Printer(quiet, as_json, verbose)
    engine = {"backend": backend, "precision": precision, "threads": threads}
    ready = None if checkpoint is not None or untrained else bundle or ready_bundle()
    result = _run(output, checkpoint, ready, click_at, frames, engine, printer)
    _print(result, printer)


def _run(
    output: Path,
    checkpoint: Path | None,
    bundle_path: Path | None,
    point: PointText,
    frames: int | None,
    engine: dict[str, Any],
    printer: Printer,
) -> SegmentResult:
    from samedge.bundle import Bundle
    from samedge.files.whole import make_folder
    from samedge.stream.job import segment

    loop = example_loop()
    make_folder(output)
    with Steps(printer) as step:
        if bundle_path is not None:
            bundle = Bundle.open(bundle_path)
        elif checkpoint is not None:
            bundle = _from_checkpoint(checkpoint, output, step)
        else:
            bundle = _from_formula(output, step)
        notice = _notice(bundle.path)

        def started(about: Mapping[str, Any]) -> None:
            step.end()
            printer.line()
            printer.engine(about)
            if notice:
                printer.line(notice)

        # A family without prompts finds its object by itself in every frame.
        prompted = bool(bundle.family.prompts)
        step.begin("starting the engine")
        return segment(
            bundle,
            loop,
            [point] if prompted else None,
            track=prompted,
            frames=frames,
            output=output,
            overwrite=True,
            notice=notice,
            on_start=started,
            progress=step,
            **engine,
        )


def ready_bundle() -> Path:
    """Path of the bundle that comes with samedge: a narrow SAMUS."""
    return Path(__file__).parents[1] / "data" / READY


def _notice(bundle: Path) -> str:
    """What has to stand on the pictures about where the weights come from."""
    if f"-{SYNTHETIC}-" in bundle.name:
        return NOTICE
    return SIMULATED if bundle == ready_bundle() else ""


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
