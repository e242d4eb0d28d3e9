"""`samedge simulate`: labelled synthetic ultrasound in the layout of US30K."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.terminal.printing import Printer, common_options
from samedge.cli.terminal.steps import progress_bars

if TYPE_CHECKING:
    from samedge.simulate.dataset import Record

EPILOG = """\b
Examples:
  samedge simulate -o data --train 4000 --val 300 --test 500 --workers 2
  samedge simulate -o hearts --sets Sim-Chamber --train 2000 --val 200 --seed 3
  samedge simulate -o loops --cine 4 --frames 60 --size 240,320
  samedge simulate -o check --physics --test 20       wave physics: an unlike domain
  samedge simulate -o look --test 12 --sheet look.png
\b
The folder DIR afterwards:
  MainPatient/train.txt, val.txt, test.txt, test-SET.txt, class.json    as SAMUS reads them
  SET/img/NAME.png, SET/label/NAME.png        grey; 0 and 1, one object per image
  Sim-Cine-000/img/frame-000.png, label/...   a loop with the truth of every frame
  images.csv            kind, object, probe, mm per px and area of every image
  simulation.json       how it was made
\b
A loop's images are a source for samedge segment:
  samedge segment samus.samedge loops/Sim-Cine-000/img --point 170,95 --track -o out
"""


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,5})\s*[,x]\s*(\d{1,5})\s*", value)
    if not found:
        raise click.BadParameter(f"'{value}': expected height and width, such as 240,320")
    return int(found[1]), int(found[2])


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command(epilog=EPILOG)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder to make.",
)
@click.option("--train", type=click.IntRange(0), default=0, metavar="N", help="Training images.")
@click.option("--val", type=click.IntRange(0), default=0, metavar="N", help="Validation images.")
@click.option("--test", type=click.IntRange(0), default=0, metavar="N", help="Test images.")
@click.option("--cine", type=click.IntRange(0), default=0, metavar="N", help="Loops.")
@click.option(
    "--frames", type=click.IntRange(1), default=30, show_default=True, help="Frames of each loop."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="The same seed gives the same images.",
)
@click.option(
    "--size",
    metavar="H,W",
    callback=_size,
    help="Height and width in px.  [default: 256,256; loops 240,320]",
)
@click.option(
    "--sets",
    metavar="SET,SET",
    callback=_names,
    help="Sim-Lesion, Sim-Chamber, Sim-Breast, Sim-Head.  [default: all, in turns]",
)
@click.option(
    "--physics",
    is_flag=True,
    help="Render by wave physics (pymust), some seconds per image; no loops.",
)
@click.option(
    "--sheet",
    metavar="PNG",
    type=click.Path(path_type=Path),
    help="Picture of some images with their outlines.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes at a time."
)
@click.option("--force", is_flag=True, help="Replace a data set that was simulated before.")
@common_options
def command(
    output: Path,
    train: int,
    val: int,
    test: int,
    cine: int,
    frames: int,
    seed: int,
    size: tuple[int, int] | None,
    sets: tuple[str, ...] | None,
    physics: bool,
    sheet: Path | None,
    workers: int,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make synthetic ultrasound images with the true outline of one object each.

    Lesions in layered tissue, hearts, vessels and bladders, masses in the breast, and fetal heads,
    seen by linear, convex and phased arrays through speckle, attenuation, shadows, clutter and a
    machine's settings. They are made to train and test with, not to measure a model's worth on
    patients. An image depends on seed, split, number, size and sets, not on how many are made. The
    folder appears when it is complete.
    """
    if train + val + test + cine == 0:
        raise click.UsageError("nothing to make: give --train, --val, --test or --cine a number")
    if physics and cine:
        raise click.UsageError("--physics renders single images: leave --cine out")
    from samedge.simulate.dataset import SETS, write_dataset

    printer = Printer(quiet, as_json)
    if sheet is not None:
        from samedge.files.whole import make_folder

        make_folder(sheet.parent)
    options: dict[str, Any] = {"size": size or (256, 256), "cine_size": size or (240, 320)}
    if physics:
        from samedge.simulate.physics import render

        options["render"] = render
    with progress_bars(printer, "images") as progress:
        records = write_dataset(
            output,
            train=train,
            val=val,
            test=test,
            seed=seed,
            sets=tuple(SETS) if sets is None else sets,
            workers=workers,
            overwrite=force,
            progress=progress,
            cines=cine,
            frames=frames,
            **options,
        )
    if sheet is not None:
        _write_sheet(output, records, sheet)
    _print(printer, output, records, sheet)


def _write_sheet(output: Path, records: list[Record], sheet: Path) -> None:
    """Some of the images, evenly spaced, with their outlines."""
    import numpy as np

    from samedge.drawing.contact_sheet import MAX_CELLS, Cell, contact_sheet
    from samedge.drawing.overlay import draw_overlay
    from samedge.drawing.png import write_png
    from samedge.sources.images import read_image

    places = np.unique(np.linspace(0, len(records) - 1, MAX_CELLS).round().astype(int))
    cells = []
    for record in (records[i] for i in places):
        image, label = (
            np.asarray(read_image(folder / f"{record.name}.png", lambda _: None), np.uint8)
            for folder in (output / record.set / "img", output / record.set / "label")
        )
        text = f"{record.target}, {record.probe}"
        cells.append(Cell(draw_overlay(image, [label]), record.name, text))
    write_png(sheet, contact_sheet(cells, "Simulated ultrasound", f"{len(records)} images"))


def _print(printer: Printer, output: Path, records: list[Record], sheet: Path | None) -> None:
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for record in records:
        by_split = counts.setdefault((record.set, record.kind), {})
        by_split[record.split] = by_split.get(record.split, 0) + 1
    splits = [s for s in ("train", "val", "test", "cine") if any(s in c for c in counts.values())]
    rows = [
        {"set": name, "kind": kind, **{s: by_split.get(s, 0) for s in splits}}
        for (name, kind), by_split in sorted(counts.items())
    ]
    printer.json(
        {
            "output": str(output),
            "images": len(records),
            "counts": rows,
            "sheet": None if sheet is None else str(sheet),
        }
    )
    printer.table(
        "Simulated images", ("set", "kind", *splits), [list(map(str, r.values())) for r in rows]
    )
    printer.line(f"Wrote {output}" + ("" if sheet is None else f" and {sheet}"))
