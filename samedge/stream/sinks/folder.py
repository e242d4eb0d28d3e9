"""The output folder: masks, overlays, video, contact sheet, labels, areas and `results.json`.

    DIR/masks/NAME.png               0 and 255, at the frame's size; with several masks
        NAME_object1.png ...         one per object, and with --multimask
        NAME_object1_mask1.png ...   one per candidate
        NAME_liver.png ...           one per class
        NAME_classes.png             number of the class per pixel, where classes exclude each other
    DIR/overlays/NAME.png            single images, folders and volumes
    DIR/NAME.mp4                     loops: videos, cine loops, time series, tracked folders
    DIR/NAME.seg.nrrd                loops: a number per pixel of all frames, for 3D Slicer
    DIR/NAME_contact.png             loops and volumes: some frames, and the area over all of them
    DIR/NAME_labels.nii.gz or .npz   volumes and time series: a number per voxel
    DIR/areas.csv                    a row per frame, object and class, with its measures
    DIR/results.json                 written last: a folder without it is not complete

Every file is written whole or not at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.drawing.contact_sheet import MAX_CELLS, Cell, contact_sheet
from samedge.drawing.measures import draw_measures
from samedge.drawing.overlay import add_caption, draw_overlay
from samedge.drawing.png import write_png
from samedge.errors import NotSupportedError, OutputError
from samedge.files.whole import make_folder, output_error
from samedge.sources.frame import Source
from samedge.stream.classes import MAP, file_stems
from samedge.stream.sampling import EvenSampler
from samedge.stream.segmenting import Segmented
from samedge.stream.sinks.area_table import AREAS, AreaTable
from samedge.stream.sinks.captions import Captions, Curves, mask_colour, prompt_colours, visible
from samedge.stream.sinks.label_volume import LabelVolume
from samedge.stream.sinks.loop_segmentation import SUFFIX, LoopSegmentation
from samedge.stream.sinks.mp4 import Mp4Writer
from samedge.stream.sinks.report import NOTICE, frame_record, source_record
from samedge.stream.sinks.results_file import ResultRows, write_results
from samedge.stream.sinks.used_folder import RESULTS, UNFINISHED, remove
from samedge.stream.summary import Tally

DEFAULT_RATE = 25.0  # of a video, per second, where the source does not say


@dataclass(frozen=True)
class OutputOptions:
    """What goes into the folder beside `results.json`.

    Attributes:
        overlays: pictures and videos.
        masks: PNG files of masks and class maps.
        notice: a warning in every picture, or "".
        title: of the model, for the contact sheet.
        volumes: also folders and loops are volumes, because the family takes slices.
        tracked: prompts follow their objects, so the images of a folder are a loop.
        measure: measures of every mask, in pictures, table and report.
    """

    overlays: bool = True
    masks: bool = True
    notice: str = ""
    title: str = ""
    volumes: bool = False
    tracked: bool = False
    measure: bool = False


class OutputFolder:
    """Takes the results of several sources; use it in a `with` block.

    Memory does not grow with the number of frames: rows of the report wait on the disk, pictures
    of the contact sheet and points of its curves are even samples. A label volume takes a byte for
    each voxel of its source.

    Args:
        path: folder to write to; made if needed.
        header: first part of the report, see `report.header`.
        options: which files.
        old: files of an earlier run, from `check_unused`; they are removed first.

    Raises:
        OutputError: the folder cannot be made or written to.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, Any],
        options: OutputOptions,
        old: Sequence[Path] = (),
    ) -> None:
        self.path, self._header, self.options = make_folder(path), dict(header), options
        self._sources: list[tuple[dict[str, Any], ResultRows]] = []
        self._names: set[str] = set()
        remove(old)

    def __enter__(self) -> OutputFolder:
        self.areas = AreaTable(self.path, self.options.measure)
        try:
            self._written = (self.path / UNFINISHED).open("ab", buffering=0)
        except OSError as error:
            self.areas.close()
            raise output_error(error, self.path) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._written.close()
        self.areas.close()
        for _, rows in self._sources:
            rows.close()

    def note(self, name: str) -> str:
        """Say that a file is going to be written, so that a later run knows it; returns its name.

        Raises:
            OutputError: no space left.
        """
        try:
            self._written.write(os.fsencode(name) + b"\0")
        except OSError as error:
            raise output_error(error, self.path / name) from error
        return name

    def source(self, source: Source) -> SourceSink:
        """A sink for one source; use it in a `with` block."""
        return SourceSink(self, source)

    def outputs(self, place: int) -> dict[str, Path]:
        """Kind of output -> file or folder, of the source that was the `place`-th, from 0."""
        return {kind: self.path / name for kind, name in self._sources[place][0]["outputs"].items()}

    def name(self, wish: str) -> str:
        """A file name that no other source of this run has."""
        # A name is used as it is, but never as a way to another folder.
        wish = re.sub(r"[/\\\0]", "_", wish).lstrip(".") or "source"
        name, number = wish, 2
        while name.lower() in self._names:
            name, number = f"{wish}_{number}", number + 1
        self._names.add(name.lower())
        return name

    def add(self, record: dict[str, Any], rows: ResultRows) -> None:
        """Note one source's results, and the rows of its frames."""
        self._sources.append((record, rows))

    def finish(self) -> None:
        """Write `areas.csv` and `results.json`.

        Raises:
            OutputError: they cannot be written.
        """
        self.areas.write(self.path / self.note(AREAS))
        write_results(self.path / RESULTS, self._header, self._sources)
        remove([self.path / UNFINISHED])  # the report names them all


class SourceSink:
    """Takes the frames of one source; what shows all of them appears when the block ends."""

    def __init__(self, folder: OutputFolder, source: Source) -> None:
        self._folder, self._source = folder, source
        self._stack = ExitStack()
        self._video: Mp4Writer | None = None
        self._labels = LabelVolume(source) if source.has_grid or folder.options.volumes else None
        self._is_volume = self._labels is not None and not source.is_loop
        self._is_loop = source.is_loop or (folder.options.tracked and source.kind == "folder")
        self._segmentation = LoopSegmentation(folder.path, source) if self._is_loop else None
        step = "slice" if self._is_volume else "frame"
        options = folder.options
        self._captions = Captions(source, step, options.notice, self._is_loop, options.measure)
        # One name for all frames, numbered, where they have none of their own.
        self._numbered = source.is_loop or source.is_stack
        self._summarised = self._is_loop or self._labels is not None
        self._rows = ResultRows(folder.path)
        self._tally = Tally()
        self._curves = Curves()
        self._cells: EvenSampler[Cell] = EvenSampler(4 * MAX_CELLS)
        self._outputs: dict[str, str] = {"areas": AREAS}
        self._picture_size: tuple[int, ...] = ()
        self._last: Segmented | None = None
        self._stem = ""

    def __enter__(self) -> SourceSink:
        if self._summarised:
            self._stem = self._folder.name(self._source.stem)
        if self._is_loop and self._folder.options.overlays:
            self._begin_video(self._folder.path / self._folder.note(f"{self._stem}.mp4"))
        return self

    def _begin_video(self, path: Path) -> None:
        """Open the video; without an encoder there is none, and a note says so."""
        if self._source.rate is None and not self._source.is_loop:
            words = "its images do not say when they were taken"
            self._source.warn(f"{self._source.name}: {words}; {DEFAULT_RATE:g} / s in the video")
        try:
            writer = Mp4Writer(path, self._source.rate or DEFAULT_RATE)
        except NotSupportedError as error:
            self._source.warn(f"{path.name} was left out: {error}")
            return
        self._video = self._stack.enter_context(writer)

    def write(self, item: Segmented) -> None:
        """Write one frame's masks and overlay.

        Raises:
            OutputError: a file cannot be written.
        """
        options = self._folder.options
        name = (
            f"{self._stem}_{item.frame.index:05d}"
            if self._numbered
            else self._folder.name(item.frame.name)
        )
        files, class_map = [""] * len(item.masks), ""
        if options.masks:
            files, class_map = self._write_masks(item, name), self._write_class_map(item, name)
        overlay = self._write_overlay(item, name) if options.overlays else ""
        if self._labels is not None:
            self._labels.add(item)
        if self._segmentation is not None:
            self._segmentation.add(item)
        self._folder.areas.add(self._source.name, name, item)
        self._rows.add(frame_record(item, files, class_map, overlay, options.measure))
        self._tally.add(item)
        if self._summarised:
            self._curves.add(item)
        self._last = item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._rows.close()
                self._stack.__exit__(kind, error, traceback)
                return
            self._finish()
        except BaseException:
            self._rows.close()
            raise
        finally:
            if self._segmentation is not None:
                self._segmentation.close()

    def _finish(self) -> None:
        """Write what shows all frames."""
        self._stack.close()
        if self._video is not None:
            self._outputs["video"] = self._video.path.name
        if self._summarised and self._folder.options.overlays:
            self._write_contact_sheet()
        if self._labels is not None and self._tally.frames:
            self._folder.note(self._labels.name(self._stem))
            self._outputs["labels"] = self._labels.write(self._folder.path, self._stem)
            left = (self._source.total or 0) - self._tally.frames
            if left > 0:
                words = f"the last {left} {self._captions.step}s were not segmented"
                self._source.warn(f"{self._source.name}: {words}: 0 in the label volume")
        if self._segmentation is not None and self._tally.frames:
            self._write_segmentation(self._segmentation)
        record = source_record(
            self._source, self._last, self._tally, self._outputs, self._is_volume
        )
        self._folder.add(record, self._rows)

    def _write_segmentation(self, segmentation: LoopSegmentation) -> None:
        name = f"{self._stem}{SUFFIX}"
        if segmentation.problem:
            self._source.warn(f"{name} was left out: {segmentation.problem}")
            return
        segmentation.write(self._folder.path / self._folder.note(name))
        self._outputs["segmentation"] = name

    def _masks_folder(self) -> Path:
        self._outputs["masks"] = "masks"
        return make_folder(self._folder.path / "masks")

    def _write_masks(self, item: Segmented, name: str) -> list[str]:
        folder = self._masks_folder()
        files = []
        for k, suffix in enumerate(suffixes_of(item)):
            file = f"{name}{suffix}.png"
            self._folder.note(f"masks/{file}")
            write_png(folder / file, (item.masks[k] != 0).astype(np.uint8) * np.uint8(255))
            files.append(f"masks/{file}")
        return files

    def _write_class_map(self, item: Segmented, name: str) -> str:
        if item.class_map is None:
            return ""
        file = f"{name}_{MAP}.png"
        self._folder.note(f"masks/{file}")
        write_png(self._masks_folder() / file, item.class_map)
        return f"masks/{file}"

    def _write_overlay(self, item: Segmented, name: str) -> str:
        """Into the video; of what was not filmed, into a file whose name is returned."""
        file = ""
        shown = visible(item)
        plain = draw_overlay(
            item.frame.picture,
            [item.masks[k] for k in shown],
            item.prompt,
            colours=[mask_colour(item, k) for k in shown],
            prompt_colours=prompt_colours(item),
            spacing_mm=item.frame.spacing_mm,
        )
        if self._folder.options.measure:
            found = [item.measures(k) for k in shown]
            colours = [mask_colour(item, k) for k in shown]
            draw_measures(plain, item.frame.picture.shape[:2], found, colours)
        picture = add_caption(plain, self._captions.lines(item))
        self._write_to_video(picture, item.frame.time_s)
        if not self._source.is_loop:
            folder = make_folder(self._folder.path / "overlays")
            self._outputs["overlays"] = "overlays"
            file = self._folder.note(f"overlays/{name}.png")
            write_png(folder / f"{name}.png", picture)
        if self._summarised and self._cells.wants_next:
            self._cells.add(self._captions.cell(item, plain))
        elif self._summarised:
            self._cells.skip()
        return file

    def _write_to_video(self, picture: NDArray[np.uint8], time_s: float | None) -> None:
        """Append a picture; if it has another size than those before, there is no video."""
        if self._video is None:
            return
        self._picture_size = self._picture_size or picture.shape
        if picture.shape == self._picture_size:
            self._video.write(picture, time_s)
            return
        problem = OutputError(f"{self._video.path.name} was left out: its frames differ in size")
        self._video = None
        self._stack.__exit__(type(problem), problem, None)
        self._source.warn(str(problem))

    def _write_contact_sheet(self) -> None:
        cells = self._cells.items(MAX_CELLS)
        if not cells or self._last is None:
            raise OutputError(f"{self._source.name}: there was no frame to write")
        path = self._folder.path / self._folder.note(f"{self._stem}_contact.png")
        last, options, step = self._last, self._folder.options, self._captions.step
        size = f"{last.frame.width} x {last.frame.height} px"
        sheet = contact_sheet(
            cells,
            self._source.name,
            f"{self._tally.frames} {step}s   {size}   {options.title}   {NOTICE}",
            self._curves.values(),
            self._curves.unit,
            options.notice,
            self._curves.legend(),
            self._curves.colours(),
            step,
            self._tally.frames,
        )
        write_png(path, sheet)
        self._outputs["contact_sheet"] = path.name


def suffixes_of(item: Segmented) -> list[str]:
    """File name suffixes of a frame's masks, in order."""
    numbers = [item.object_number(k) for k in range(len(item.masks))]
    if not item.class_names:
        # A single object that has a number of its own keeps it in the name.
        named = bool(item.prompt.numbers) and len(numbers) == 1
        return [f"_object{numbers[0]}"] if named else mask_suffixes([n - 1 for n in numbers])
    stems = file_stems(item.class_names)
    objects = [f"_object{n}" if item.prompt.objects > 1 else "" for n in numbers]
    return [f"{o}_{stems[int(c)]}" for o, c in zip(objects, item.class_index, strict=True)]


def mask_suffixes(owners: list[int]) -> list[str]:
    """File name suffixes of masks that belong to objects `owners` (from 0), in order."""
    if len(owners) == 1:
        return [""]
    if len(set(owners)) == len(owners):
        return [f"_object{i + 1}" for i in owners]
    return [f"_object{i + 1}_mask{owners[:k].count(i) + 1}" for k, i in enumerate(owners)]
