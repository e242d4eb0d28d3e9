"""`samedge segment`: images, videos, DICOM files and volumes -> masks, pictures and numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.completion import engine_options, engines_option
from samedge.cli.prompt_options import crop_option, parsed, prompt_options
from samedge.cli.terminal.printing import Printer, common_options, verbose_option
from samedge.cli.terminal.steps import progress_bars
from samedge.errors import PromptError

if TYPE_CHECKING:
    from samedge.sources.frame import Box
    from samedge.stream.job import SegmentResult

EPILOG = """\b
What to give depends on what the bundle was trained with:
  samedge segment sam.samedge photo.png --point 120,80 -o out
  samedge segment medsam.samedge ct.png --box 95,255,190,350 -o out
  samedge segment samus.samedge loop.dcm --point 150,95 --track -o out
  samedge segment autosamus.samedge loop.dcm -o out               no prompt
  samedge segment samed.samedge case.nii.gz --window -125,275 -o out
  samedge segment samed.samedge ct-series/ --window -125,275 --classes liver,spleen -o out
  samedge segment msa_3d.samedge case.nii.gz --prompts clicks.csv -o out
\b
Several objects:
  --point 120,80 --point 90,60 --label 1 --label 0     one object: inside, outside
  --point 120,80 --point 300,90 --objects              two objects
  --box 10,20,90,80 --box 100,20,180,90                two objects (each box is one)
\b
A CSV file for --prompts; frames count from 0, objects from 1:
  frame,x,y[,label][,object]      or      frame,x0,y0,x1,y1[,object]
Each frame needs a row, unless --point or --box says what holds for the others.
\b
The folder DIR afterwards; frames and slices count from 0 in all of it, objects from 1:
  results.json            scores, areas, volumes, prompts, latency; written last
  areas.csv               for spreadsheets: a row per frame, object and class
  masks/NAME.png          0 and 255, at the frame's size; with several masks
                          NAME_object1.png, or NAME_object1_mask1.png with --multimask
  masks/NAME_liver.png    one per class, for bundles with classes, and NAME_classes.png
                          with the classes' numbers if they exclude each other
  overlays/NAME.png       single images, folders and volumes
  NAME.mp4                loops: videos, cine loops, time series, folders with --track
  NAME.seg.nrrd           loops: a segmentation for 3D Slicer, frames behind each other
  NAME_contact.png        loops and volumes: some frames, the area over all of them
  NAME_labels.nii.gz      NIfTI files: a number per voxel, in the same place
  NAME_labels.npz         other volumes: labels [slices, rows, columns], class_names
\b
Pictures show what is burned into the frames. Areas are in mm2, volumes in ml, pictures
in true proportions where a DICOM or NIfTI file gives the spacing.
"""


def _window(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    from samedge.sources.intensity import parse_window

    return None if value is None else parsed(parse_window, value)


@click.command(epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write to."
)
@prompt_options
@click.option(
    "--prompts",
    "prompt_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV with points or boxes of single frames; see below.",
)
@click.option("--multimask", is_flag=True, help="Several masks per object, where the model can.")
@crop_option("auto: the ultrasound region of a DICOM file.")
@click.option(
    "--classes",
    metavar="NAME,NAME",
    help="Write only these, by name or number, for bundles with classes.",
)
@click.option(
    "--window",
    metavar="LOW,HIGH",
    callback=_window,
    help="Values that become black and white, in the file's units (HU in CT).",
)
@click.option(
    "--axis",
    type=click.IntRange(0, 2),
    help="Axis of a NIfTI or numpy array that the slices follow each other along.  "
    "[default: 2 in NIfTI, 0 in numpy]",
)
@click.option(
    "--time",
    is_flag=True,
    help="This axis is time: the frames are a loop, not a volume. Also one slice over time, "
    "[X, Y, 1, T] in NIfTI.",
)
@click.option(
    "--track",
    is_flag=True,
    help="The points follow their objects through a loop, volume or folder.",
)
@click.option("--frames", type=click.IntRange(1), help="Only the first so many of each source.")
@click.option("--overlays/--no-overlays", default=True, help="Write pictures and video.")
@click.option("--masks/--no-masks", default=True, help="Write mask PNGs.")
@click.option(
    "--measure",
    is_flag=True,
    help="Perimeter, ellipse and diameters of every mask, in mm where the spacing is known.",
)
@click.option(
    "--overwrite", is_flag=True, help="Remove what an earlier run wrote into DIR (nothing else)."
)
@engine_options()
@engines_option
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads.  [default: the physical cores]"
)
@verbose_option
@common_options
def command(
    bundle: Path,
    source: tuple[Path, ...],
    output: Path,
    points: list[Any],
    labels: tuple[int, ...],
    boxes: list[Any],
    objects: bool,
    prompt_file: Path | None,
    multimask: bool,
    crop: Box | str | None,
    classes: str | None,
    window: tuple[float, float] | None,
    axis: int | None,
    time: bool,
    track: bool,
    frames: int | None,
    overlays: bool,
    masks: bool,
    measure: bool,
    overwrite: bool,
    backend: str,
    precision: str,
    engines: Path | None,
    threads: int | None,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Segment each SOURCE with BUNDLE: images, videos, DICOM files, volumes, folders.

    The same prompt is used for every frame, unless --track moves it or --prompts has others.
    Bundles that find their structures by themselves take none. What a SOURCE is, is told by its
    content: PNG, JPEG, BMP, TIFF, a video, DICOM, NIfTI, a numpy array (.npy, .npz), a folder of
    images, or a folder with the slices of one DICOM series.
    """
    from samedge.bundle import Bundle
    from samedge.prompts.plan import PromptPlan, missing_prompt
    from samedge.stream.job import segment

    plan = PromptPlan(points, labels, boxes, objects)
    try:
        plan.check_combination()
    except PromptError as error:
        raise click.UsageError(str(error)) from error
    if prompt_file is not None:
        if len(source) > 1:
            raise click.UsageError("--prompts counts the frames of one SOURCE; give one at a time")
        from samedge.prompts.file import read_prompts

        plan = replace(plan, file=read_prompts(prompt_file))
    model = Bundle.open(bundle)
    if plan.is_empty and model.family.prompts:
        raise click.UsageError(missing_prompt(model.family))
    printer = Printer(quiet, as_json, verbose)
    with progress_bars(printer, "frames") as progress:
        result = segment(
            model,
            source,
            plan,
            track=track,
            multimask=multimask,
            crop=crop,
            classes=classes,
            frames=frames,
            window=window,
            axis=axis,
            time=time,
            output=output,
            overlays=overlays,
            masks=masks,
            measure=measure,
            overwrite=overwrite,
            backend=backend,
            precision=precision,
            threads=threads,
            engines=engines,
            on_start=printer.engine,
            progress=progress,
        )
    _print(result, output, printer)


def _print(result: SegmentResult, output: Path, printer: Printer) -> None:
    from samedge.cli.terminal.summaries import areas, print_warnings, scores, structure_rows

    assert result.results is not None
    printer.json_file(result.results)
    rows = []
    for source in result.sources:
        total = source.latency_ms.get("total", {}).get("p50")
        speed = "-" if total is None else f"{total:.1f}"
        rows.append((source.name, source.frames, scores(source), areas(source), speed))
    printer.table("Segmented", ("source", "frames", "score", "area", "ms (median)"), rows)
    found = [row for source in result.sources for row in structure_rows(source)]
    if found:
        printer.table("Found", ("source", "structure", "frames", "area", "volume"), found)
    print_warnings(result.sources, printer)
    printer.line(f"Wrote {output / 'results.json'} and the pictures beside it. {result.notice}")
