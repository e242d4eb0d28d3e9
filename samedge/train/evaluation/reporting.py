"""An evaluation as summaries, a CSV file and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

from samedge.train.evaluation.metrics import METRICS, summarise
from samedge.train.evaluation.running import Evaluation, Row
from samedge.train.evaluation.tasks import prompt_mode

ALL = "all"
CSV_COLUMNS = (
    "model", "image", "class", "dice", "iou", "hd95", "assd", "truth_px", "predicted_px",
    "equal_to_first",
)  # fmt: skip


def unit(evaluation: Evaluation) -> str:
    """Of distances: "mm" or "px"."""
    return "px" if evaluation.rules.spacing is None else "mm"


def summary_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One summary per model and class; where there are several, also of all classes together, and
    of every set (the first part of a sample's name).

    Returns:
        Of each: "model" (its place), "class", "set", "images", each metric as "mean", "std", "low",
        "high", "count", "missing"; "empty_truth", "empty_prediction"; "equal_to_first" as "mean"
        and "min", or None.
    """
    found = []
    sets = list(dict.fromkeys(_set_of(row) for row in evaluation.rows))
    for model in range(len(evaluation.contenders)):
        own = [row for row in evaluation.rows if row.model == model]
        numbers = sorted({row.class_id for row in own})
        if len(numbers) > 1:
            found.append(_summary(evaluation, model, ALL, ALL, own))
        for number in numbers:
            name = evaluation.class_name(model, number)
            rows = [row for row in own if row.class_id == number]
            found.append(_summary(evaluation, model, name, ALL, rows))
        if len(sets) > 1:
            for one in sets:
                rows = [row for row in own if _set_of(row) == one]
                found.append(_summary(evaluation, model, ALL, one, rows))
    return found


def report(evaluation: Evaluation, about: dict[str, Any]) -> dict[str, Any]:
    """Everything but the single images, as JSON values.

    Args:
        evaluation: done.
        about: what else belongs into it: the data set's name, the split.
    """
    rules = evaluation.rules
    models = [
        {
            "name": c.name,
            "family": c.family.name,
            "engine": c.engine,
            "precision": c.precision,
            "prompt": prompt_mode(c.family, rules),
            "input_size": c.input_size,
        }
        for c in evaluation.contenders
    ]
    return {
        **about,
        "images": len({row.name for row in evaluation.rows}),
        "scored_at": rules.at,
        "jitter_px": rules.jitter,
        "seed": rules.seed,
        "distance_unit": unit(evaluation),
        "models": models,
        "summaries": summary_rows(evaluation),
    }


def csv_text(evaluation: Evaluation) -> str:
    """One line per model, image and class; empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in evaluation.rows:
        numbers = [getattr(row.scores, metric) for metric in METRICS]
        writer.writerow(
            [
                evaluation.contenders[row.model].name,
                row.name,
                evaluation.class_name(row.model, row.class_id),
                *(_cell(value) for value in numbers),
                row.truth_px,
                row.predicted_px,
                _cell(row.equal),
            ]
        )
    return text.getvalue()


TABLE_COLUMNS = (
    "model", "prompt", "class", "images", "Dice", "95 % interval", "IoU", "HD95", "ASSD",
    "no surface", "equal to first",
)  # fmt: skip


def table_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Cells under `TABLE_COLUMNS` of what `report` returns."""
    return [_table_row(document, entry) for entry in document["summaries"]]


def _table_row(document: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    model = document["models"][entry["model"]]
    dice, equal = entry["dice"], entry["equal_to_first"]
    return (
        model["name"],
        model["prompt"],
        entry["class"] if entry["set"] == ALL else f"all of {entry['set']}",
        str(entry["images"]),
        _spread(dice, 4),
        "-" if isnan(dice["low"]) else f"{dice['low']:.4f} to {dice['high']:.4f}",
        _spread(entry["iou"], 4),
        _spread(entry["hd95"], 2),
        _spread(entry["assd"], 2),
        str(entry["hd95"]["missing"]),
        "-" if equal is None else f"{equal['mean']:.4%}",
    )


def _spread(summary: dict[str, Any], digits: int) -> str:
    if not summary["count"]:
        return "-"
    mean = f"{summary['mean']:.{digits}f}"
    return mean if isnan(summary["std"]) else f"{mean} ± {summary['std']:.{digits}f}"


def _summary(
    evaluation: Evaluation, model: int, name: str, set_name: str, rows: Sequence[Row]
) -> dict[str, Any]:
    seed = evaluation.rules.seed
    same = [row.equal for row in rows if not isnan(row.equal)]
    return {
        "model": model,
        "class": name,
        "set": set_name,
        "images": len({row.name for row in rows}),
        **{m: asdict(summarise(_values(rows, m), seed=seed)) for m in METRICS},
        "empty_truth": _count(rows, lambda row: not row.truth_px),
        "empty_prediction": _count(rows, lambda row: not row.predicted_px),
        "equal_to_first": {"mean": sum(same) / len(same), "min": min(same)} if same else None,
    }


def _values(rows: Iterable[Row], metric: str) -> list[float]:
    return [float(getattr(row.scores, metric)) for row in rows]


def _count(rows: Iterable[Row], what: Callable[[Row], bool]) -> int:
    return sum(1 for row in rows if what(row))


def _set_of(row: Row) -> str:
    return row.name.partition("/")[0]


def _cell(value: float) -> str:
    return "" if isnan(value) else f"{value:.6g}"
