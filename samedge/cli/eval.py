"""`samedge eval`: how good are these models on labelled images?"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samedge.cli.checkpoint_options import checkpoint_options, told
from samedge.cli.completion import BACKEND, Choice, FiniteRange, complete_files
from samedge.cli.terminal.printing import Printer, common_options, plain

if TYPE_CHECKING:
    from samedge.train.data import DataSet
    from samedge.train.evaluation import Evaluation, Rules

REPORT = "report.json"
# Columns that go first where there is no room; the report has all of them.
_SPARED = (10, 9, 8, 6)  # equal to first, no surface, ASSD, IoU
EPILOG = """\b
Examples:
  samedge eval samus.pth --data US30K --split test-Breast-BUSI -o scores
  samedge eval samus.pth samus.samedge --precision fp32,bf16 --data US30K -o scores
  samedge eval samus.samedge --precision fp32,emulation:fp16,int8 --data US30K -o scores
  samedge eval sam.pth+lora.pth samed.samedge --data ct --data-classes liver,spleen
  samedge eval a.samedge b.samedge --data images --labels masks --prompt box --jitter 5
\b
DIR afterwards:
  report.json       means, deviations and intervals per model, class and set; written last
  scores.csv        every image
  worst_1.png ...   the lowest Dice of each model: its mask, and the outline of the truth
\b
Both empty: Dice 1, distance 0. One empty: Dice 0, no distance; counted as "no surface".
Definitions: docs/evaluation.md.
"""


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (value or "").split(",") if value)
    if "" in names or len(set(names)) < len(names):
        raise click.BadParameter(f"'{value}': expected names like liver,spleen")
    return names


def _spacing(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        sides = [float(part) for part in value.split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or not all(0 < side < float("inf") for side in sides):
        raise click.BadParameter(f"'{value}': expected millimetres like 0.2, or 0.2,0.25")
    return sides[0], sides[-1]


@click.command(epilog=EPILOG)
@click.argument(
    "models", nargs=-1, required=True, metavar="MODEL...", shell_complete=complete_files
)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Folder with labelled images."
)
@click.option("--labels", type=click.Path(path_type=Path), help="Folder of labels, if elsewhere.")
@click.option(
    "--split",
    help="A list of US30K (test-Breast-BUSI); of plain folders train, val or all.  "
    "[default: test, or all]",
)
@click.option(
    "--data-classes",
    metavar="NAME,NAME",
    callback=_names,
    help="Plain folders whose labels hold class numbers: their names, without the background.",
)
@click.option(
    "--prompt",
    type=Choice(["auto", "point", "box", "none"]),
    default="auto",
    show_default=True,
    help="Made from the label; auto: what each model takes.",
)
@click.option(
    "--jitter",
    default=0.0,
    show_default=True,
    type=FiniteRange(0),
    metavar="PX",
    help="Move prompts at random by up to so many px of the image.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--score-at",
    type=Choice(["frame", "network"]),
    default="frame",
    show_default=True,
    help="Size of masks and labels when they are compared; network: as SAMUS scores.",
)
@click.option(
    "--spacing", metavar="MM", callback=_spacing, help="Side of a pixel: distances in mm."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only N images, evenly spread.")
@click.option(
    "--backend",
    type=BACKEND,
    default="auto",
    show_default=True,
    metavar="TEXT",
    help="For bundles, e.g. openvino.",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    callback=_names,
    metavar="NAME,NAME",
    help="For bundles: fp32, bf16, fp16, int8; each is a line of the table. emulation:fp16 is half "
    "precision as a GPU computes it.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write to.")
@checkpoint_options
@common_options
def command(
    models: tuple[str, ...],
    data: Path,
    labels: Path | None,
    split: str | None,
    data_classes: tuple[str, ...],
    prompt: str,
    jitter: float,
    seed: int,
    score_at: str,
    spacing: tuple[float, float] | None,
    limit: int | None,
    backend: str,
    precision: tuple[str, ...],
    threads: int | None,
    output: Path | None,
    quiet: bool,
    as_json: bool,
    **says: Any,
) -> None:
    """Score every MODEL on labelled images: Dice, IoU, HD95 and average surface distance.

    A MODEL is a checkpoint (run in eager PyTorch; files that belong together are joined by +) or a
    bundle (run on an engine). All get the same prompts, made from the labels, and are compared
    with the first one pixel by pixel. The data set is read once as a whole before the work begins.
    """
    from samedge.train.evaluation import Rules

    printer = Printer(quiet, as_json)
    rules = Rules(prompt, jitter, seed, score_at, spacing)
    samples, about = _open_data(data, labels, split, data_classes)
    places = _spread(len(samples), limit)
    about["notes"] = _check_data(samples, places, printer)
    if output is not None:
        _prepare_output(output)
    engine: dict[str, Any] = {"backend": backend, "threads": threads}
    engine |= {"precisions": precision, "says": told(says)}
    _report(_evaluate(models, samples, places, rules, engine, printer), about, output, printer)


def _prepare_output(output: Path) -> None:
    """The folder, without a report of an earlier run: it would belong to other pictures."""
    from samedge.files.whole import make_folder, output_error

    path = make_folder(output) / REPORT
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(error, path) from error


def _open_data(
    data: Path, labels: Path | None, split: str | None, names: tuple[str, ...]
) -> tuple[DataSet, dict[str, Any]]:
    """The data set, and what the report says about it."""
    from samedge.train.data import open_dataset, splits

    if split is None:
        known = splits(data) if labels is None and os.path.isdir(data) else ["all"]
        split = "test" if "test" in known else "all"
    classes = ("background", *names) if names else ()
    samples = open_dataset(data, split, labels=labels, classes=classes)
    return samples, {"data": data.resolve().name, "split": split}


def _spread(count: int, limit: int | None) -> list[int]:
    """Places of `limit` samples, evenly spread: a list often has its sets one after the other."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def _check_data(samples: DataSet, places: Sequence[int], printer: Printer) -> list[str]:
    """What was decided while the data were read; nothing, if any of them is bad."""
    from samedge.cli.terminal.steps import progress_bars
    from samedge.train.data import check_dataset

    with progress_bars(printer, "frames") as progress:
        found = check_dataset(samples, progress, places)
    found.require_good()
    printer.block(str(found))
    return list(found.notes)


def _evaluate(
    models: Sequence[str],
    samples: DataSet,
    places: Sequence[int],
    rules: Rules,
    engine: dict[str, Any],
    printer: Printer,
) -> Evaluation:
    from samedge.cli.terminal.steps import progress_bars
    from samedge.train.evaluation import evaluate, open_contenders

    with (
        open_contenders(models, **engine) as contenders,
        progress_bars(printer, "frames") as progress,
    ):
        return evaluate(contenders, samples, rules, places, progress)


def _report(
    evaluation: Evaluation, about: dict[str, Any], output: Path | None, printer: Printer
) -> None:
    from samedge._version import __version__
    from samedge.train.evaluation.reporting import TABLE_COLUMNS, csv_text, report, table_rows

    document = report(evaluation, {"samedge": __version__, **about})
    if output is not None:
        from samedge.drawing.png import write_png
        from samedge.files.whole import json_bytes, write_bytes
        from samedge.train.evaluation.sheet import worst_sheet

        where = f"{about['data']}, {about['split']}, {document['images']} images"
        for number in range(len(evaluation.contenders)):
            sheet = worst_sheet(evaluation, number, where)
            write_png(output / f"worst_{number + 1}.png", sheet)
        write_bytes(output / "scores.csv", json_bytes(csv_text(evaluation)))
        text = json.dumps(plain(document), indent=2, allow_nan=False) + "\n"
        write_bytes(output / REPORT, json_bytes(text))
    printer.json(document)
    distance = document["distance_unit"]
    columns = [f"{c}, {distance}" if c in ("HD95", "ASSD") else c for c in TABLE_COLUMNS]
    title = f"{about['data']}, {about['split']}"
    printer.table(title, columns, table_rows(document), [columns[i] for i in _SPARED])
    if output is not None:
        printer.line(f"Wrote {output / REPORT}, scores.csv and worst_1.png beside it.")
