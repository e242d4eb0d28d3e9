"""`areas.csv`: the area of everything found, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from samedge.files.cells import plain
from samedge.files.whole import json_bytes, whole_file
from samedge.stream.segmenting import Segmented
from samedge.stream.sinks.spool import Spool

AREAS = "areas.csv"
COLUMNS = (
    "source", "name", "frame", "time_s", "object", "class", "area_px", "area_mm2", "score"
)  # fmt: skip
MEASURES = (
    "unit", "perimeter", "major_axis", "minor_axis", "circumference", "longest", "across", "parts"
)  # fmt: skip
_BOM = b"\xef\xbb\xbf"


class AreaTable:
    """A row per frame, object and class of all sources of a run. They wait on the disk.

    Args:
        folder: where the table will be.
        measure: with the columns `MEASURES`.

    Raises:
        OutputError: no space, or no permission.
    """

    def __init__(self, folder: Path, measure: bool = False) -> None:
        self._spool, self._is_ascii, self._measure = Spool(folder), True, measure

    def add(self, source: str, name: str, item: Segmented) -> None:
        """Append one frame: of several masks of an object the best one.

        Args:
            source: its name.
            name: of the frame's files.
            item: the frame.

        Raises:
            OutputError: no space left.
        """
        time_s = "" if item.frame.time_s is None else round(item.frame.time_s, 4)
        rows = [
            (
                plain(source),
                plain(name),
                item.frame.index,
                time_s,
                item.object_number(k),
                plain(item.class_name(k) or ""),
                item.area_px(k),
                "" if (mm2 := item.area_mm2(k)) is None else round(mm2, 3),
                round(float(item.scores[k]), 5),
                *(_measures(item, k) if self._measure else ()),
            )
            for k in item.best
        ]
        text = _text(rows)
        self._is_ascii = self._is_ascii and text.isascii()
        self._spool.write(json_bytes(text))

    def write(self, path: Path) -> None:
        """Write the table, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        with whole_file(path) as file:
            if not self._is_ascii:  # without the mark spreadsheets take UTF-8 for something else
                file.write(_BOM)
            columns = [*COLUMNS, *MEASURES] if self._measure else COLUMNS
            file.write(_text([columns]).encode())
            self._spool.copy_to(file)

    def close(self) -> None:
        """Give the space on the disk back."""
        self._spool.close()


def _measures(item: Segmented, k: int) -> tuple[object, ...]:
    """Cells of `MEASURES`; empty ones for an empty mask."""
    found = item.measures(k)
    if found is None:
        return ("",) * len(MEASURES)
    lengths = (
        found.perimeter,
        found.ellipse.major,
        found.ellipse.minor,
        found.ellipse.circumference,
        found.longest.length,
        found.across.length,
    )
    return (found.unit, *(round(length, 3) for length in lengths), found.parts)


def _text(rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()
