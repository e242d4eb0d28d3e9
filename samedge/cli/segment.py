"""`samedge segment`: images, videos and DICOM files -> masks, pictures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.printing import Printer, common_options
from samedge.errors import PromptError, SamEdgeError

if TYPE_CHECKING:
    from samedge.stream.frame import Box
    from samedge.stream.prompts import PromptPlan
    from samedge.stream.segmenting import Options

EPILOG = """\b
Several objects:
  --point 120,80 --point 90,60 --label 1 --label 0     one object: inside, outside
  --point 120,80 --point 300,90 --objects              two objects
  --box 10,20,90,80 --box 100,20,180,90                two objects (each box is one)
\b
The folder DIR afterwards:
  results.json            scores, areas, prompts, latency; written last
  masks/NAME.png          0 and 255, at the frame's size; with several masks
                          NAME_object1.png, or NAME_object1_mask1.png with --multimask
  overlays/NAME.png       single images and folders
  NAME.mp4                videos and cine loops
  NAME_contact.png        videos and cine loops: some frames, the area over time
\b
Pictures show what is burned into the frames. Areas are in mm2 where a DICOM file
gives the pixel spacing.
"""


def _points(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    from samedge.stream.prompts import parse_point

    return [_parsed(parse_point, v) for v in values]


def _boxes(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    from samedge.stream.prompts import parse_box

    return [_parsed(parse_box, v) for v in values]


def _crop(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Box | str | None:
    from samedge.stream.prompts import parse_box

    if value is None or value.strip().lower() == "auto":
        return None if value is None else "auto"
    box = _parsed(parse_box, value)
    if any(v != int(v) for v in box):
        raise click.BadParameter(f"'{value}': a crop is in whole pixels, or the word auto")
    x0, y0, x1, y1 = (int(v) for v in box)
    return x0, y0, x1, y1


def _parsed(parse: Any, value: str) -> Any:
    try:
        return parse(value)
    except PromptError as error:
        raise click.BadParameter(str(error)) from error


@click.command(epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to."
)
@click.option(
    "--point",
    "points",
    multiple=True,
    metavar="X,Y",
    callback=_points,
    help="Point in frame pixels, or 'center'. Repeat it for several.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    type=click.IntRange(0, 1),
    metavar="1|0",
    help="1 inside the object, 0 outside; one per point, in order. Default: all 1.",
)
@click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar="X0,Y0,X1,Y1",
    callback=_boxes,
    help="Box in frame pixels. Several boxes are several objects.",
)
@click.option("--objects", is_flag=True, help="Each point is an object of its own.")
@click.option("--multimask", is_flag=True, help="Several masks per object, where the model can.")
@click.option(
    "--crop",
    metavar="X0,Y0,X1,Y1|auto",
    callback=_crop,
    help="What the network sees of each frame; auto: the ultrasound region of a DICOM file.",
)
@click.option(
    "--track", is_flag=True, help="The points follow their objects through a loop or folder."
)
@click.option("--frames", type=click.IntRange(1), help="Only the first so many of each source.")
@click.option("--overlays/--no-overlays", default=True, help="Write pictures and video.")
@click.option("--masks/--no-masks", default=True, help="Write mask PNGs.")
@click.option("--backend", default="auto", show_default=True, help="Engine, e.g. openvino.")
@click.option("--precision", default="auto", show_default=True, help="auto, fp32 or bf16.")
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads.  [default: the physical cores]"
)
@common_options
def command(
    bundle: Path,
    source: tuple[Path, ...],
    output: Path,
    points: list[Any],
    labels: tuple[int, ...],
    boxes: list[Any],
    objects: bool,
    multimask: bool,
    crop: Box | str | None,
    track: bool,
    frames: int | None,
    overlays: bool,
    masks: bool,
    backend: str,
    precision: str,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Segment each SOURCE with BUNDLE: images, folders of images, videos, DICOM files.

    The same prompt is used for every frame, unless --track moves it. What a SOURCE is, is told by
    its content.
    """
    from samedge.stream.prompts import PromptPlan
    from samedge.stream.segmenting import Options

    plan = PromptPlan(points, labels, boxes, objects)
    try:
        plan.check_combination()
    except PromptError as error:
        raise click.UsageError(str(error)) from error
    options = Options(crop, multimask, track, limit=frames)
    engine = {"backend": backend, "precision": precision, "threads": threads}
    printer = Printer(quiet, as_json)
    report = _run(bundle, source, output, plan, options, engine, (overlays, masks), printer)
    printer.json(report)
    _print(report, output, printer)


def _run(
    bundle_path: Path,
    paths: tuple[Path, ...],
    output: Path,
    plan: PromptPlan,
    options: Options,
    engine: dict[str, Any],
    write: tuple[bool, bool],
    printer: Printer,
) -> dict[str, Any]:
    """Check everything that can be checked before the engine starts, then segment."""
    from samedge.bundle import Bundle
    from samedge.cli.segmenting import segment_into
    from samedge.runtime import load
    from samedge.stream.prompts import missing_prompt
    from samedge.stream.report import header
    from samedge.stream.sinks import OutputFolder, Wanted
    from samedge.stream.sources import open_source

    bundle = Bundle.open(bundle_path)
    if plan.is_empty and bundle.family.prompts:
        raise click.UsageError(missing_prompt(bundle.family))
    plan.check(bundle.family)
    sources = []
    for path in paths:
        try:
            sources.append(open_source(path))
        except SamEdgeError:
            for opened in sources:
                opened.close()
            raise
    with load(bundle, **engine) as session:
        about = session.describe()
        printer.line(f"{about['title']} on {about['device']} ({about['why']})")
        title = f"{about['title']} ({about['backend']} {about['precision']})"
        head = header(bundle_path.name, session.manifest, about, options)
        folder = OutputFolder(output, head, Wanted(write[0], write[1], title=title))
        return segment_into(folder, session, sources, plan, options, printer)


def _print(report: dict[str, Any], output: Path, printer: Printer) -> None:
    from samedge.cli.segmenting import areas, print_warnings, scores

    rows = []
    for record in report["sources"]:
        total = record["latency_ms"].get("total", {}).get("p50")
        speed = "-" if total is None else f"{total:.1f}"
        rows.append((record["name"], record["frames"], scores(record), areas(record), speed))
    printer.table("Segmented", ("source", "frames", "score", "area", "ms (median)"), rows)
    print_warnings(report, printer)
    printer.line(f"Wrote {output / 'results.json'} and the pictures beside it. {report['notice']}")
