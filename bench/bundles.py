"""`samedge bench`: bundles x backends x precisions x threads, and what one has without samedge."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from samedge.bench.contenders.entry import Entries, Entry
from samedge.bench.contenders.sessions import (
    SessionContender,
    Variant,
    session_entries,
    variants,
)
from samedge.bench.frames import Footage, footage
from samedge.bench.measurement import Observer, measured_report
from samedge.bench.report.values import Report, Row
from samedge.bench.schedule import FLAT, KEPT_WARM, PACED, STREAM, Clock, Plan
from samedge.bundle import Bundle
from samedge.errors import NotSupportedError, SamEdgeError
from samedge.progress import Progress, Step, silent

DEFAULT_FPS = 30.0
SHARED = "All of this run live in one process, and take turns."
ALONE = "Streams ran one after the other, not in turn: compare them with care."
AnyPath = str | os.PathLike[str]


def run(
    bundles: AnyPath | Bundle | Sequence[AnyPath | Bundle],
    backends: Sequence[str] = ("auto",),
    precisions: Sequence[str] = ("auto",),
    threads: Sequence[int | None] = (None,),
    *,
    source: AnyPath | None = None,
    frames: int = 100,
    rounds: int = 10,
    warmup: int = 50,
    fps: float | None = None,
    keep_warm: bool = False,
    stream: bool = False,
    layers: bool = False,
    startup: bool = True,
    baselines: Sequence[str] = (),
    checkpoint: Any = None,
    engines: AnyPath | None = None,
    native: bool = False,
    clock: Clock | None = None,
    progress: Progress = silent,
    watch: Observer | None = None,
) -> Report:
    """Measure bundles on this device, in turn. A session that is wrong is never timed.

    Ctrl-C ends it: what was measured in whole rounds is reported, and what would have come after.

    Args:
        bundles: folders, zips or open bundles; one or several.
        backends: names, "auto" (what `samedge.load` takes) or "all" that run here.
        precisions: likewise.
        threads: of the CPU; None for the physical cores.
        source: image, folder, video or DICOM; None for synthetic speckle of 640 x 480 px.
        frames: of each contender in each mode, over all rounds; for models of volumes, stacks.
        rounds: blocks that these are taken in.
        warmup: frames at most before those.
        fps: also measure frames that arrive at this rate, and count those that are late.
        keep_warm: also with a client that spins while it waits for a frame.
        stream: also from source to sink, through `samedge.LiveStream`, at `fps` or 30 per second.
        layers: also the engines' own profiles.
        startup: also load time, first frame and memory, each in a process of its own.
        baselines: of `samedge.bench.contenders.baselines.BASELINES`; they need the checkpoint.
        checkpoint: (or several) that the first bundle was made from; alone it means ("eager",).
        engines: as for `samedge.load`.
        native: also libsamedge, with the same backends, precisions and threads.
        clock, watch: a test passes its own.
        progress: told every step.

    Raises:
        ParityError: nothing passed its self-test, so nothing was timed.
        NotSupportedError: what was asked for does not run here.
        SamEdgeError: whatever `samedge.load`, the source and the checkpoint raise.
    """
    given = [bundles] if isinstance(bundles, (str, os.PathLike, Bundle)) else bundles
    opened = [one if isinstance(one, Bundle) else Bundle.open(Path(one)) for one in given]
    if not opened:
        raise NotSupportedError("there is no bundle to measure; give one or several")
    _check_slices(opened)
    if keep_warm and fps is None:
        fps = DEFAULT_FPS
    plan = _plan(frames, rounds, warmup, fps, keep_warm)
    clip = footage(source)
    found = variants(opened, backends, precisions, threads, engines)
    contenders = chain(
        session_entries(found.found, clip, progress),
        _native(found.found, clip, progress) if native else (),
        _baselines(baselines, checkpoint, opened[0], clip, found.found, progress),
    )
    with Entries(contenders) as entries:
        report = measured_report(
            ", ".join(dict.fromkeys(bundle.manifest.title for bundle in opened)),
            entries,
            plan,
            clip.about + _stacks(opened[0]),
            notes=[*found.left_out, *([SHARED] * (len(entries) > 1))],
            rate_asked=fps is not None,
            clock=clock,
            progress=progress,
            watch=watch,
        )
        if stream:
            report = _unless_interrupted(
                report, lambda r: _with_streams(r, entries, clip, source, fps, plan, progress)
            )
    if layers:
        report = _unless_interrupted(report, lambda r: _with_layers(r, found.found, clip, progress))
    if startup:
        report = _unless_interrupted(report, lambda r: _with_starts(r, found.found, progress))
    return report


def _check_slices(bundles: Sequence[Bundle]) -> None:
    """Frames and stacks of slices in one table would be compared with each other."""
    slices = {bundle.family.slices for bundle in bundles}
    if len(slices) > 1:
        raise NotSupportedError(
            f"these bundles take {', '.join(map(str, sorted(slices)))} slices at once, which are "
            "not to be compared: measure them one by one"
        )


def _plan(frames: int, rounds: int, warmup: int, fps: float | None, keep_warm: bool) -> Plan:
    """Rounds and frames per block: at least `frames` in all, and a frame in every round."""
    if frames < 1 or rounds < 1:
        raise NotSupportedError(
            f"{frames} frames in {rounds} rounds came; expected at least one of each"
        )
    rounds = min(rounds, frames)
    modes = [FLAT]
    if fps is not None:
        modes += [PACED, KEPT_WARM] if keep_warm else [PACED]
    return Plan(
        rounds=rounds,
        frames=math.ceil(frames / rounds),
        modes=tuple(modes),
        fps=DEFAULT_FPS if fps is None else fps,
        warmup=warmup,
    )


def _stacks(bundle: Bundle) -> str:
    slices = bundle.family.slices
    return f", in stacks of {slices}" if slices > 1 else ""


def _native(found: Sequence[Variant], clip: Footage, progress: Progress) -> Iterator[Entry]:
    from samedge.bench.contenders.native import native_entries

    return native_entries(found, clip, progress)


def _baselines(
    names: Sequence[str],
    checkpoint: Any,
    bundle: Bundle,
    clip: Footage,
    found: Sequence[Variant],
    progress: Progress,
) -> Iterator[Entry]:
    """What one has without samedge, with each number of threads."""
    if checkpoint is None:
        if names:
            raise NotSupportedError(
                f"the baseline {names[0]} runs the original network: give the checkpoint that the "
                "bundle was exported from as well"
            )
        return
    from samedge.bench.contenders.baselines import baseline_entries

    for count in dict.fromkeys(variant.threads for variant in found):
        progress(Step("opening the checkpoint and comparing its answers"))
        yield from baseline_entries(names or ("eager",), checkpoint, bundle, clip, count)


def _unless_interrupted(report: Report, more: Callable[[Report], Report]) -> Report:
    """What `more` makes of a report; the report itself where the user has had enough."""
    if report.interrupted:
        return report
    try:
        return more(report)
    except KeyboardInterrupt:
        return replace(report, interrupted=True)


def _with_streams(
    report: Report,
    entries: Entries,
    clip: Footage,
    source: AnyPath | None,
    fps: float | None,
    plan: Plan,
    progress: Progress,
) -> Report:
    """The same, with each session's frames through a stream."""
    from samedge.bench.contenders.stream import streamed

    rows = {row.name: row for row in report.rows}
    sessions = [e.contender for e in entries if isinstance(e.contender, SessionContender)]
    text = None if source is None else os.fspath(source)
    for number, one in enumerate(sessions):
        progress(Step("streaming", number, len(sessions), one.name))
        row = rows[one.name]
        try:
            what = streamed(one.session, clip, text, fps or DEFAULT_FPS, plan.rounds, plan.frames)
        except SamEdgeError as error:  # the other figures are worth having
            rows[one.name] = _noted(row, f"it was not streamed: {error}")
            continue
        if what is None:
            rows[one.name] = _noted(row, "no frame came through the stream")
        else:
            extra = {**row.extra, **what.extra}
            rows[one.name] = replace(row, modes={**row.modes, STREAM: what.mode}, extra=extra)
    notes = (*report.notes, *([ALONE] * (len(sessions) > 1)))
    return replace(report, rows=tuple(rows.values()), notes=notes)


def _with_layers(
    report: Report, found: Sequence[Variant], clip: Footage, progress: Progress
) -> Report:
    """The same, with the profiles of the engines behind its rows."""
    from samedge.bench.layers import profile

    rows, layers = {row.name: row for row in report.rows}, []
    timed = [variant for variant in found if rows[variant.name].modes]
    for number, variant in enumerate(timed):
        progress(Step("profiling layers", number, len(timed), variant.name))
        try:
            layers += profile(variant, clip)
        except NotSupportedError as error:
            rows[variant.name] = _noted(rows[variant.name], str(error))
    return replace(report, rows=tuple(rows.values()), layers=tuple(layers))


def _with_starts(report: Report, found: Sequence[Variant], progress: Progress) -> Report:
    """The same, with load times and memory of its rows."""
    from samedge.bench.startup import measure_start

    rows = {row.name: row for row in report.rows}
    timed = [variant for variant in found if rows[variant.name].modes]
    for number, variant in enumerate(timed):
        progress(Step("starting in processes of their own", number, len(timed), variant.name))
        row = rows[variant.name]
        try:
            load = measure_start(
                variant.bundle.path,
                variant.precision,
                variant.threads,
                variant.backend,
                variant.engines,
            )
            rows[variant.name] = replace(row, load=load)
        except SamEdgeError as error:  # the other figures are worth having
            rows[variant.name] = _noted(row, f"its start was not measured: {error}")
    return replace(report, rows=tuple(rows.values()))


def _noted(row: Row, note: str) -> Row:
    return replace(row, notes=(*row.notes, note))
