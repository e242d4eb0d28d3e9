"""The output folder: masks, overlays, video, contact sheet and `results.json`.

    DIR/masks/NAME.png               0 and 255, at the frame's size; with several masks
        NAME_object1.png ...         one per object, and with --multimask
        NAME_object1_mask1.png ...   one per candidate
    DIR/overlays/NAME.png            single images and folders
    DIR/NAME.mp4                     videos and cine loops
    DIR/NAME_contact.png             videos and cine loops: some frames and the area over time
    DIR/results.json                 written last: a folder without it is not complete

Every file is written whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from samedge.errors import OutputError
from samedge.stream.contact_sheet import MAX_CELL_WIDTH, Cell, Sampler, contact_sheet
from samedge.stream.frame import Source
from samedge.stream.mp4 import Mp4Writer
from samedge.stream.overlay import Line, add_caption, colour_of, draw_overlay
from samedge.stream.report import NOTICE, frame_record, source_record, write_report
from samedge.stream.segmenting import Segmented
from samedge.stream.text import ALERT, FAINT, grouped
from samedge.stream.writing import make_folder, output_error, write_png

RESULTS = "results.json"
MAX_LINES = 6  # objects listed below a picture


@dataclass(frozen=True)
class Wanted:
    """Which pictures to write, and a notice to burn into them."""

    overlays: bool = True
    masks: bool = True
    notice: str = ""
    title: str = ""


class OutputFolder:
    """Takes the results of several sources.

    Args:
        path: folder to write to; made if needed. An older `results.json` in it is removed first.
        header: first part of the report, see `report.header`.
        wanted: which pictures.

    Raises:
        OutputError: the folder cannot be made or written to.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], wanted: Wanted) -> None:
        self.path, self._header, self.wanted = make_folder(path), dict(header), wanted
        self._sources: list[dict[str, Any]] = []
        self._names: set[str] = set()
        try:
            (self.path / RESULTS).unlink(missing_ok=True)
        except OSError as error:
            raise output_error(self.path / RESULTS, error) from error

    def source(self, source: Source) -> SourceSink:
        """A sink for one source; use it in a `with` block."""
        return SourceSink(self, source)

    def name(self, wish: str) -> str:
        """A file name that no other source of this run has."""
        # A name is used as it is, but never as a way to another folder.
        wish = re.sub(r"[/\\\0]", "_", wish).lstrip(".") or "source"
        name, number = wish, 2
        while name.lower() in self._names:
            name, number = f"{wish}_{number}", number + 1
        self._names.add(name.lower())
        return name

    def add(self, record: dict[str, Any]) -> None:
        """Note one source's results."""
        self._sources.append(record)

    def finish(self) -> dict[str, Any]:
        """Write `results.json`; returns what is in it."""
        report = {**self._header, "sources": self._sources}
        write_report(self.path / RESULTS, report)
        return report


class SourceSink:
    """Takes the frames of one source; its video and contact sheet appear when the block ends."""

    def __init__(self, folder: OutputFolder, source: Source) -> None:
        self._folder, self._source = folder, source
        self._stack = ExitStack()
        self._video: Mp4Writer | None = None
        self._frames: list[dict[str, Any]] = []
        self._areas: list[list[float]] = []
        self._sampler = Sampler()
        self._outputs: dict[str, str] = {}
        self._last: Segmented | None = None
        self._stem = ""

    def __enter__(self) -> SourceSink:
        if self._source.is_loop:
            self._stem = self._folder.name(Path(self._source.name).stem)
            if self._folder.wanted.overlays:
                path = self._folder.path / f"{self._stem}.mp4"
                rate = self._source.rate or 25.0
                self._video = self._stack.enter_context(Mp4Writer(path, rate, self._source.warn))
        return self

    def write(self, item: Segmented) -> None:
        """Write one frame's masks and overlay.

        Raises:
            OutputError: a file cannot be written.
        """
        loop, wanted = self._source.is_loop, self._folder.wanted
        name = (
            f"{self._stem}_{item.frame.index:05d}" if loop else self._folder.name(item.frame.name)
        )
        files = self._write_masks(item, name) if wanted.masks else [""] * len(item.masks)
        if wanted.overlays:
            self._write_overlay(item, name)
        self._frames.append(frame_record(item, files))
        self._areas.append([_area(item, k)[0] for k in item.best])
        self._last = item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        self._stack.close()
        if self._video is not None:
            self._outputs["video"] = self._video.path.name
            self._write_contact_sheet()
        last = self._last
        self._folder.add(
            source_record(
                self._source,
                last.frame.spacing_mm if last else None,
                last.frame.region if last else None,
                self._outputs,
                self._frames,
            )
        )

    def _write_masks(self, item: Segmented, name: str) -> list[str]:
        folder = make_folder(self._folder.path / "masks")
        self._outputs["masks"] = "masks"
        files = []
        for k, suffix in enumerate(mask_suffixes([int(i) for i in item.object_index])):
            file = f"{name}{suffix}.png"
            write_png(folder / file, (item.masks[k] != 0).astype(np.uint8) * np.uint8(255))
            files.append(f"masks/{file}")
        return files

    def _write_overlay(self, item: Segmented, name: str) -> None:
        plain = draw_overlay(item.frame.picture, [item.masks[k] for k in item.best], item.prompt)
        picture = add_caption(plain, self._caption(item))
        if self._video is None:
            folder = make_folder(self._folder.path / "overlays")
            self._outputs["overlays"] = "overlays"
            write_png(folder / f"{name}.png", picture)
            return
        self._video.write(picture)
        if self._sampler.wants_next:
            self._sampler.add(_cell(item, plain))
        else:
            self._sampler.skip()

    def _caption(self, item: Segmented) -> list[Line]:
        several = len(item.best) > 1
        lines = []
        for i, k in enumerate(item.best[:MAX_LINES]):
            label = f"object {i + 1}   " if several else ""
            lost = "   lost: no mask to follow" if item.lost[i] else ""
            score = f"score {float(item.scores[k]):.2f}"
            lines.append(Line(f"{label}{score}   {_area(item, k)[1]}{lost}", "", colour_of(i)))
        total = item.timing_ms.get("total")
        speed = "" if total is None else f"{total:.0f} ms"
        lines[0] = Line(lines[0].left, speed, lines[0].colour)
        if len(item.best) > MAX_LINES:
            lines.append(Line(f"and {len(item.best) - MAX_LINES} more objects", ink=FAINT))
        where = self._where(item)
        notice = self._folder.wanted.notice
        if notice:
            lines += [Line(where, ink=FAINT)] if where else []
            return [*lines, Line(notice, NOTICE, ink=ALERT)]
        return [*lines, Line(where, NOTICE, ink=FAINT)]

    def _where(self, item: Segmented) -> str:
        if not self._source.is_loop:
            return ""
        of = f" / {self._source.total}" if self._source.total else ""
        clock = "" if item.frame.time_s is None else f"   {item.frame.time_s:.2f} s"
        return f"frame {item.frame.index + 1}{of}{clock}"

    def _write_contact_sheet(self) -> None:
        cells = self._sampler.cells()
        if not cells or self._last is None:
            raise OutputError(f"{self._source.name}: there was no frame to write")
        path = self._folder.path / f"{self._stem}_contact.png"
        last, bundle = self._last, self._folder.wanted.title
        unit = "px" if last.frame.spacing_mm is None else "mm2"
        size = f"{last.frame.width} x {last.frame.height} px"
        subtitle = f"{len(self._frames)} frames   {size}   {bundle}   {NOTICE}"
        notice = self._folder.wanted.notice
        sheet = contact_sheet(cells, self._source.name, subtitle, self._areas, unit, notice)
        write_png(path, sheet)
        self._outputs["contact_sheet"] = path.name


def mask_suffixes(owners: list[int]) -> list[str]:
    """File name suffixes of masks that belong to objects `owners` (from 0), in order."""
    if len(owners) == 1:
        return [""]
    if len(set(owners)) == len(owners):
        return [f"_object{i + 1}" for i in owners]
    return [f"_object{i + 1}_mask{owners[:k].count(i) + 1}" for k, i in enumerate(owners)]


def _area(item: Segmented, k: int) -> tuple[float, str]:
    """Area of mask k for the curve (mm2 where known, else px), and in words."""
    pixels, mm2 = item.area_px(k), item.area_mm2(k)
    words = f"area {grouped(pixels)} px"
    if mm2 is None:
        return float(pixels), words
    return mm2, words + (f" = {grouped(mm2)} mm2" if mm2 >= 100 else f" = {mm2:.1f} mm2")


def _cell(item: Segmented, picture: np.ndarray) -> Cell:
    clock = "" if item.frame.time_s is None else f"   {item.frame.time_s:.2f} s"
    areas = "   ".join(_area(item, k)[1] for k in item.best[:2])
    score = f"score {float(item.scores[item.best[0]]):.2f}   " if len(item.best) == 1 else ""
    # Small already here: many are kept until the loop's end is known.
    factor = min(1.0, MAX_CELL_WIDTH / picture.shape[1])
    size = (round(picture.shape[1] * factor), max(1, round(picture.shape[0] * factor)))
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Cell(small, f"frame {item.frame.index + 1}{clock}", score + areas)
