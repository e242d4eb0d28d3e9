"""What `segment` and `demo` print about sources: areas, scores, structures, latency, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from samedge.cli.terminal.printing import Printer

if TYPE_CHECKING:
    from samedge.stream.summary import SourceSummary, Structure, ValueRange

# As `samedge.runtime.result.STAGES` has them, which would be imported for nothing.
_SESSION = ("copy_in", "preprocess", "encode", "prompt", "decode", "post", "copy_out", "total")
STAGES = ("read", *_SESSION)


def print_warnings(sources: Sequence[SourceSummary], printer: Printer, most: int = 8) -> None:
    """Warnings of all sources, one line each."""
    warnings = [warning for source in sources for warning in source.warnings]
    for warning in warnings[:most]:
        printer.line(f"note: {warning}")
    if len(warnings) > most:
        printer.line(f"note: {len(warnings) - most} more notes are in results.json")


def structure_rows(source: SourceSummary) -> list[tuple[str, str, int, str, str]]:
    """What was found in a source with classes or slices: name, frames with it, area, volume."""
    if not source.classes and not source.is_volume:
        return []
    several = len({found.object for found in source.structures}) > 1
    rows = []
    for found in source.structures:
        name = found.name
        if several and found.label is not None:
            name = f"{name} {found.object}"
        size = f"{found.voxels} voxels" if source.is_volume else "-"
        if source.is_volume and found.ml is not None:
            size = f"{found.ml:.3g} ml"
        rows.append((source.name, name, found.frames_found, _areas([found], False), size))
    return rows


def areas(source: SourceSummary) -> str:
    """Range of the areas of a source's best masks, in words; mm2 where they are known.

    Areas of different classes have nothing in common: there it is the number of classes found.
    """
    if source.classes:
        kept = {found.label for found in source.structures}
        seen = {found.label for found in source.structures if found.frames_found}
        return f"{len(seen)} of {len(kept)} classes"
    return _areas(source.structures, True)


def _areas(structures: Sequence[Structure], empty_too: bool) -> str:
    """The range of areas; with 0 if `empty_too` and a structure is missing in a frame."""
    present = [s for s in structures if s.area_px is not None]
    sized = bool(present) and all(s.area_mm2 is not None for s in present)
    ranges = [s.area_mm2 if sized else s.area_px for s in present]
    missing = empty_too and any(s.frames_found < s.frames for s in structures)
    unit, digits = ("mm2", 1) if sized else ("px", 0)
    return _range(ranges, unit, digits, [0.0] if missing else [])


def scores(source: SourceSummary) -> str:
    """Range of the scores of a source's best masks; of the classes that were found."""
    return _range([s.score for s in source.structures], "", 2, [])


def _range(
    ranges: Sequence[ValueRange | None], unit: str, digits: int, more: Sequence[float]
) -> str:
    lows = [*(r.low for r in ranges if r is not None), *more]
    highs = [*(r.high for r in ranges if r is not None), *more]
    if not lows:
        return "-"
    low, high = f"{min(lows):.{digits}f}", f"{max(highs):.{digits}f}"
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()


def latency_rows(source: SourceSummary) -> list[tuple[str, str, str]]:
    """Stage, median and 95th percentile in ms."""
    names = {"read": "read the source", "total": "session, total"}
    table = source.latency_ms
    return [
        (names.get(stage, stage), f"{table[stage]['p50']:.1f}", f"{table[stage]['p95']:.1f}")
        for stage in (*STAGES, *(s for s in table if s not in STAGES))
        if stage in table
    ]
