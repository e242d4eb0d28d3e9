"""What `segment` and `demo` share: run sources through a session, progress, summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samedge.cli.printing import Printer
from samedge.cli.steps import progress_bars
from samedge.progress import Step
from samedge.prompts.plan import PromptPlan
from samedge.sources.frame import Source
from samedge.stream.segmenting import Options, Segmenter, segment_source
from samedge.stream.sinks.folder import OutputFolder

STAGES = ("read", "preprocess", "encode", "prompt", "decode", "total")


def segment_into(
    folder: OutputFolder,
    session: Segmenter,
    sources: Sequence[Source],
    plan: PromptPlan,
    options: Options,
    printer: Printer,
) -> dict[str, Any]:
    """Segment all sources into a folder and write `results.json`; returns its content.

    Raises:
        SamEdgeError: of the source, the prompt, the engine or the disk. Files that were complete by
            then stay; `results.json` is not written.
    """
    for source in sources:
        total = source.total
        if total is not None and options.limit is not None:
            total = min(total, options.limit)
        with (
            source,
            folder.source(source) as sink,
            progress_bars(printer, "frames") as progress,
        ):
            for done, item in enumerate(segment_source(session, source, plan, options), 1):
                sink.write(item)
                progress(Step(source.name, done, total or 0))
    return folder.finish()


def print_warnings(report: Mapping[str, Any], printer: Printer, most: int = 8) -> None:
    """Warnings of all sources, one line each."""
    warnings = [w for source in report["sources"] for w in source["warnings"]]
    for warning in warnings[:most]:
        printer.line(f"note: {warning}")
    if len(warnings) > most:
        printer.line(f"note: {len(warnings) - most} more notes are in results.json")


def structure_rows(record: Mapping[str, Any]) -> list[tuple[str, str, int, str, str]]:
    """What was found in a source with classes or slices: name, frames with it, area, volume."""
    if "classes" not in record and "volumes" not in record:
        return []
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for mask in _best(record):
        found.setdefault((mask.get("label", 0), mask["object"]), []).append(mask)
    volumes = {(v.get("label", 0), v["object"]): v for v in record.get("volumes", ())}
    several = len({number for _, number in found}) > 1
    rows = []
    for key, masks in sorted(found.items()):
        present = [mask for mask in masks if mask["area_px"]]
        name = masks[0].get("class") or f"object {key[1]}"
        if several and "class" in masks[0]:
            name = f"{name} {key[1]}"
        volume = volumes.get(key)
        size = "-" if volume is None else f"{volume['voxels']} voxels"
        if volume is not None and volume["ml"] is not None:
            size = f"{volume['ml']:.3g} ml"
        rows.append((record["name"], name, len(present), _areas(present), size))
    return rows


def _best(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [mask for frame in record["results"] for mask in frame["masks"] if mask["best"]]


def areas(record: Mapping[str, Any]) -> str:
    """Range of the areas of a source's best masks, in words; mm2 where they are known.

    Areas of different classes have nothing in common: there it is the number of classes found.
    """
    best = _best(record)
    if "classes" in record:
        kept, found = ({m["label"] for m in best if m["area_px"] >= least} for least in (0, 1))
        return f"{len(found)} of {len(kept)} classes"
    return _areas(best)


def _areas(masks: Sequence[Mapping[str, Any]]) -> str:
    known = [m["area_mm2"] for m in masks if m["area_mm2"] is not None]
    if known and len(known) == len(masks):
        return _range(known, "mm2", 1)
    return _range([m["area_px"] for m in masks], "px", 0)


def scores(record: Mapping[str, Any]) -> str:
    """Range of the scores of a source's best masks; of the classes that were found."""
    if "classes" in record:
        return _range([mask["score"] for mask in _best(record) if mask["area_px"]], "", 2)
    return _range([mask["score"] for mask in _best(record)], "", 2)


def _range(values: Sequence[float], unit: str, digits: int) -> str:
    if not values:
        return "-"
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()


def latency_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Stage, median and 95th percentile in ms."""
    names = {"read": "read the source", "total": "session, total"}
    table = record["latency_ms"]
    return [
        (names.get(stage, stage), f"{table[stage]['p50']:.1f}", f"{table[stage]['p95']:.1f}")
        for stage in (*STAGES, *(s for s in table if s not in STAGES))
        if stage in table
    ]
