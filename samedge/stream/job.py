"""`samedge.segment`: from files to masks in one call, which the command line makes, too.

sources -> session -> sinks
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from samedge.bundle import Bundle
from samedge.errors import SessionError
from samedge.families import Family
from samedge.progress import Progress, Step, silent
from samedge.prompts.plan import Prompts, prompt_plan
from samedge.runtime import load
from samedge.sources.frame import Box, Source
from samedge.sources.intensity import Range
from samedge.sources.opening import open_source
from samedge.stream.classes import choose_classes
from samedge.stream.options import SegmentOptions, check_options, check_source
from samedge.stream.segmenting import Segmenter, segment_frames
from samedge.stream.sink import Sink
from samedge.stream.sinks.folder import OutputFolder, OutputOptions
from samedge.stream.sinks.report import full_notice, header
from samedge.stream.sinks.used_folder import RESULTS, check_unused
from samedge.stream.summary import SourceSummary, Tally

Model: TypeAlias = "str | os.PathLike[str] | Bundle | Segmenter"
# Backend, precision, threads, folder of engines.
_EngineChoice: TypeAlias = "tuple[str, str, int | None, str | os.PathLike[str] | None]"
SourceLike: TypeAlias = "str | os.PathLike[str] | Source"


@dataclass(frozen=True)
class SegmentResult:
    """What `segment` did.

    Attributes:
        sources: what was found in each, in the order in which they were given.
        notice: what has to be said with these results.
        session: what it ran on: backend, precision, device and why, as `Session.describe` says.
        results: `results.json` with everything, frame by frame; None without an output folder.
    """

    sources: tuple[SourceSummary, ...]
    notice: str
    session: Mapping[str, Any]
    results: Path | None = None

    @property
    def frames(self) -> int:
        """Frames of all sources."""
        return sum(source.frames for source in self.sources)


def segment(
    model: Model,
    source: SourceLike | Sequence[SourceLike],
    prompts: Prompts = None,
    *,
    track: bool = False,
    multimask: bool = False,
    crop: Box | str | None = None,
    classes: str | Sequence[str | int] | None = None,
    frames: int | None = None,
    window: Range | None = None,
    axis: int | None = None,
    time: bool = False,
    output: str | os.PathLike[str] | None = None,
    overlays: bool = True,
    masks: bool = True,
    measure: bool = False,
    overwrite: bool = False,
    notice: str = "",
    sinks: Sequence[Sink] = (),
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    engines: str | os.PathLike[str] | None = None,
    on_start: Callable[[Mapping[str, Any]], object] | None = None,
    progress: Progress = silent,
) -> SegmentResult:
    """Segment images, videos, DICOM files and volumes: everything `samedge segment` does.

    What can be checked is checked before an engine starts and before a file is written.

    Args:
        model: a bundle (its path, or open), or a session from `samedge.load`, which stays open.
        source: a file or folder, whose kind is told by its content; an open `Source`, which stays
            open; or several of those.
        prompts: None for families that find their structures by themselves; points (x, y) or
            "center", and boxes (x0, y0, x1, y1), in frame px; the path of a CSV file; or a
            PromptPlan for labels, several objects, and all of it together.
        track: the points follow their objects through loops, volumes and folders.
        multimask: several masks per object, where the family has them.
        crop: (x0, y0, x1, y1) in whole px, what the network sees of each frame; "auto": the
            ultrasound region of a DICOM file.
        classes: keep only these, by name or number, of families with classes.
        frames: only the first so many of each source.
        window: (low, high) in the units of the file (HU in CT), which become black and white.
        axis: of a NIfTI or numpy array, along which its slices lie.
        time: along this axis the frames follow each other in time, so they make no volume; also
            for one slice over time, `[X, Y, 1, T]` in NIfTI.
        output: folder to write to, as `samedge segment --help` lists it; None: nothing is written.
        overwrite: remove first what an earlier run wrote there (nothing else); without it a folder
            with results is refused.
        overlays, masks: write pictures and videos, and mask PNGs, into it.
        measure: tell perimeter, ellipse and diameters of every mask there, in mm where the spacing
            is known, else in px; a sink asks `item.measures(k)`.
        notice: a warning for every picture and the report.
        sinks: take the frames and their masks as they come.
        backend, precision, threads, engines: of the engine, as for `samedge.load`; not with a
            session.
        on_start: called with what the session says of itself, when it runs.
        progress: told the frames that are done, by source.

    Returns:
        What was found, in numbers. Masks are in the output folder, or where the sinks put them.

    Raises:
        PromptError: the prompts or an option do not fit the family or a frame.
        SourceError: a source is damaged, is none, or does not fit the family.
        BundleError, NotSupportedError, DeviceError: as `samedge.load`.
        SessionError: a session and options of an engine were given.
        OutputError: the folder holds results already, the disk is full, or a file cannot be
            written. Files that were complete by then stay; `results.json` is written last.
    """
    options = SegmentOptions(crop, multimask, track, limit=frames)
    job = _Job(model, prompts, options, classes, (backend, precision, threads, engines))
    given = [source] if isinstance(source, (str, os.PathLike, Source)) else list(source)
    paths = [Path(one) for one in given if not isinstance(one, Source)]
    old = [] if output is None else check_unused(Path(output), overwrite, paths)
    with ExitStack() as stack:
        opened = [job.open(one, stack, window, axis, time) for one in given]
        session = job.start(stack)
        about = session.describe()
        if on_start is not None:
            on_start(about)
        folder = None
        if output is not None:
            written = OutputOptions(overlays, masks, notice.rstrip("."), measure=measure)
            folder = stack.enter_context(
                job.output_folder(Path(output), session, notice, written, old)
            )
        taking: list[Sink] = [*([folder] if folder is not None else ()), *sinks]
        tallies = [_run(session, one, job, taking, progress) for one in opened]
        if folder is not None:
            folder.finish()
        summaries = [
            tally.summary(one, {} if folder is None else folder.outputs(place), job.is_volume(one))
            for place, (one, tally) in enumerate(zip(opened, tallies, strict=True))
        ]
    results = None if folder is None else folder.path / RESULTS
    return SegmentResult(tuple(summaries), full_notice(notice), about, results)


class _Job:
    """What is asked of a model, checked against its family."""

    def __init__(
        self,
        model: Model,
        prompts: Prompts,
        options: SegmentOptions,
        classes: str | Sequence[str | int] | None,
        engine: _EngineChoice,
    ) -> None:
        self.plan = prompt_plan(prompts)
        self._model: Bundle | Segmenter = (
            Bundle.open(model) if isinstance(model, (str, os.PathLike)) else model
        )
        self._engine = engine
        if not isinstance(self._model, Bundle) and engine != ("auto", "auto", None, None):
            raise SessionError(
                "backend, precision, threads or engines came with a session, which has its own; "
                "give them to samedge.load, or give the bundle instead of the session"
            )
        self.family: Family = self._model.family
        self.plan.check(self.family)
        kept = None if classes is None else choose_classes(self.family, _comma_list(classes))
        self.options = replace(options, classes=kept)
        check_options(self.family, self.plan, self.options)

    def open(
        self,
        source: SourceLike,
        stack: ExitStack,
        window: Range | None,
        axis: int | None,
        time: bool,
    ) -> Source:
        """The source, known to fit."""
        if isinstance(source, Source):
            opened = source
        else:
            deep = not self.family.rounded
            opened = stack.enter_context(
                open_source(Path(source), window=window, deep=deep, axis=axis, time=time)
            )
        check_source(self.family, opened, self.plan, self.options)
        return opened

    def is_volume(self, source: Source) -> bool:
        """The frames are slices of one volume, at least for this family."""
        return source.is_stack or self.family.slices > 1

    def start(self, stack: ExitStack) -> Segmenter:
        """The session; one that was started here is closed with the stack."""
        if not isinstance(self._model, Bundle):
            return self._model
        backend, precision, threads, engines = self._engine
        return stack.enter_context(
            load(
                self._model,
                backend=backend,
                precision=precision,
                threads=threads,
                engines=engines,
            )
        )

    def output_folder(
        self,
        path: Path,
        session: Segmenter,
        notice: str,
        options: OutputOptions,
        old: Sequence[Path],
    ) -> OutputFolder:
        """The folder, with the head of its report, and without the files of an earlier run."""
        about = session.describe()
        name = self._model.path.name if isinstance(self._model, Bundle) else None
        names = [self.family.classes[i] for i in self.options.classes or ()]
        head = header(name, session.manifest, about, self.options, notice, names)
        title = f"{about['title']} ({about['backend']} {about['precision']})"
        written = replace(
            options, title=title, volumes=self.family.slices > 1, tracked=self.options.track
        )
        return OutputFolder(path, head, written, old)


def _comma_list(classes: str | Sequence[str | int]) -> str:
    return classes if isinstance(classes, str) else ",".join(map(str, classes))


def _run(
    session: Segmenter, source: Source, job: _Job, sinks: Sequence[Sink], progress: Progress
) -> Tally:
    """One source from its first frame to its last, into all sinks."""
    tally = Tally()
    total, limit = source.total or 0, job.options.limit
    total = min(total, limit) if limit is not None else total
    with ExitStack() as stack:
        writers = [stack.enter_context(sink.source(source)) for sink in sinks]
        for item in segment_frames(session, source, job.plan, job.options):
            for writer in writers:
                writer.write(item)
            tally.add(item)
            if item.is_partly_unsized:
                source.warn(
                    f"{source.name}: some masks lie outside the regions with a pixel spacing, or "
                    "across regions of unequal ones; their areas in mm2 are left out"
                )
            progress(Step(source.name, tally.frames, total))
    return tally
