"""`LiveStream`: a source, a model and sinks, from the first frame to the last."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from samedge.bundle import Bundle
from samedge.errors import SamEdgeError, SessionError
from samedge.prompts.plan import Prompts, prompt_plan
from samedge.runtime import load
from samedge.sources.frame import Box, Frame, Source
from samedge.sources.replay import ReplaySource
from samedge.stream.live.account import Alarms, Counts
from samedge.stream.live.checks import check_live
from samedge.stream.live.controls import Controls, Points
from samedge.stream.live.hand import Hand
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.mailbox import Mailbox
from samedge.stream.live.objects import Objects
from samedge.stream.live.outlet import Outlet
from samedge.stream.live.publisher import Publisher
from samedge.stream.live.reader import Reader
from samedge.stream.live.record import StreamRecord, alarms_json, counts_json, manifest_hash
from samedge.stream.live.replay import ReplayCheck, Script
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.live.states import Alarm, State, most_urgent
from samedge.stream.live.watch import Watch
from samedge.stream.live.worker import Worker
from samedge.stream.segmenting import LiveSegmenter

_LET_GO_S = 5.0  # how long a source or a session may take to end
_POLL_S = 0.2


@dataclass(frozen=True)
class Status:
    """How a stream is doing.

    Attributes:
        states: all that hold.
        seconds: since it started.
        rate: frames per second that the network answers.
        source_rate: frames per second that come.
        latency_ms: from the capture of a frame to the end of the slowest sink, p50 and p95 of the
            whole run; None before there is one.
        captured, dropped: frames so far.
        objects: name and area in px of those in the last frame; None: no mask.
    """

    states: frozenset[State]
    seconds: float
    rate: float
    source_rate: float
    latency_ms: tuple[float, float] | None
    captured: int
    dropped: int
    objects: tuple[tuple[str, int | None], ...]

    @property
    def state(self) -> State:
        """The most urgent one."""
        return most_urgent(self.states)


class LiveStream:
    """Masks on frames as they come.

        with LiveStream("samus.samedge", "camera:/dev/video0", ["center"], track=True) as stream:
            for item in stream:
                print(item.state.value, [one.area_px for one in item.objects])

    Or with sinks, to the end: `LiveStream(bundle, source, sinks=["viewer:"]).run()`.

    Args:
        model: a bundle (its path, or open), or a session from `samedge.load`, which stays open.
        source: a name as `samedge stream --source` takes it, or an open `Source`, which stays open.
        prompts: from the beginning, as for `samedge.segment`; users add more through `controls`.
        names: of the objects of `prompts`, in their order.
        sinks: names as `samedge stream --sink` takes them, or `LiveSink`s.
        settings: limits; `track` and `crop` change these two of them.
        rate: frames per second of a file; None: its own times.
        loop: play a file again and again.
        duration_s: end after so long.
        frames: end after so many frames of the source.
        backend, precision, threads, engines: as for `samedge.load`; not with a session.
        notice: to be shown with every picture.
        on_alarm: called with each alarm, in the thread that raised it.

    Attributes:
        controls: takes clicks, boxes and the rest from any thread.
        counts: of frames so far.
        alarms: so far.

    Raises:
        PromptError, SourceError, BundleError, NotSupportedError: what cannot work together.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Bundle | LiveSegmenter,
        source: str | Source,
        prompts: Prompts = None,
        *,
        names: Sequence[str] = (),
        sinks: Sequence[str | LiveSink] = (),
        settings: LiveSettings | None = None,
        track: bool | None = None,
        crop: Box | str | None = None,
        rate: float | None = None,
        loop: bool = False,
        duration_s: float | None = None,
        frames: int | None = None,
        backend: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        engines: str | os.PathLike[str] | None = None,
        notice: str = "",
        on_alarm: Callable[[Alarm], object] = lambda _: None,
    ) -> None:
        changes = {"track": track, "crop": crop}
        given = {name: value for name, value in changes.items() if value is not None}
        self.settings = replace(settings or LiveSettings(), **given)  # type: ignore[arg-type]
        self._model = Bundle.open(model) if isinstance(model, (str, os.PathLike)) else model
        self._engine: dict[str, Any] = {
            "backend": backend,
            "precision": precision,
            "threads": threads,
            "engines": engines,
        }
        chosen = any(value not in ("auto", None) for value in self._engine.values())
        if chosen and not isinstance(self._model, Bundle):
            raise SessionError(
                "backend, precision, threads or engines came with a session, which has its own; "
                "give them to samedge.load, or give the bundle instead of the session"
            )
        self._plan, self._names = prompt_plan(prompts), tuple(names)
        self._sinks = [one if isinstance(one, LiveSink) else _sink(one) for one in sinks]
        self._own_source = not isinstance(source, Source)
        self.source = source if isinstance(source, Source) else _source(source, rate, loop)
        self._script: Script | None = None
        if isinstance(self.source, ReplaySource):
            self._script = Script(self.source)
            self.settings = self.settings.replaying(self.source.settings)
            self._sinks.append(ReplayCheck(self.source))
        check_live(self._model.family, self._plan, self.settings)
        self._duration, self._limit, self._notice = duration_s, frames, notice
        self._now = time.monotonic
        self.controls, self.counts = Controls(), Counts()
        self.alarms = Alarms(self._now, on_alarm)
        self.source.on_points = self._on_points
        self._stop, self._done = threading.Event(), threading.Event()
        self._ended = ""
        self._error: BaseException | None = None
        self._parts: _Parts | None = None

    def start(self) -> LiveStream:
        """Load the model, open the sinks, start the source; frames flow when it returns.

        Raises:
            BundleError, NotSupportedError, DeviceError: as `samedge.load`.
            OutputError, ...: a sink cannot be opened; those that were open are closed.
            SessionError: it was started before.
        """
        if self._parts is not None:
            raise SessionError("this stream has been started already; make a new one")
        own = isinstance(self._model, Bundle)
        session: LiveSegmenter = (
            load(self._model, **self._engine) if isinstance(self._model, Bundle) else self._model
        )
        self._parts = parts = _Parts(self, session, own)
        try:
            for outlet in parts.outlets:
                outlet.open(parts.about)
        except BaseException as error:
            self._error, self._ended = error, "a sink could not be opened"
            parts.shut(error)
            self._done.set()
            raise
        parts.begin()
        parts.worker.start()
        parts.reader.start()
        threading.Thread(target=self._watch, name="samedge watch", daemon=True).start()
        return self

    def run(self) -> StreamRecord:
        """Start, if that was not done, and wait for the end. Ctrl-C ends a stream well.

        Returns:
            what happened.

        Raises:
            SamEdgeError: what ended the stream, or a sink; `record` tells the rest.
        """
        if self._parts is None:
            self.start()
        try:
            while not self._done.wait(_POLL_S):
                pass
        except KeyboardInterrupt:
            self.stop("interrupted")
        return self.finish()

    def stop(self, why: str = "stopped") -> None:
        """Let the stream end; any thread may call it."""
        self._ended = self._ended or why
        self._stop.set()

    def finish(self) -> StreamRecord:
        """End the stream and wait until all parts have ended; nothing of it waits for ever.

        Raises:
            SamEdgeError: what ended the stream, or a sink.
        """
        self.stop()
        if self._parts is not None:
            self._done.wait()
        if self._error is not None:
            raise self._error
        return self.record

    def __enter__(self) -> LiveStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
            return
        with suppress(SamEdgeError):  # the first error is the one to show
            self.finish()

    def __iter__(self) -> Iterator[LiveFrame]:
        """Start the stream; deliveries as they come, the newest if the caller is slow (with
        `every_frame`, all of them). It ends with the stream, and raises what ended it."""
        hand = Hand(self.settings.every_frame)
        self._sinks.append(hand)
        self.start()
        yield from hand.items()
        self.finish()

    @property
    def about(self) -> About | None:
        """What runs; None before the start."""
        return None if self._parts is None else self._parts.about

    @property
    def is_running(self) -> bool:
        return self._parts is not None and not self._done.is_set()

    @property
    def status(self) -> Status:
        """How it is doing."""
        parts = self._parts
        if parts is None:
            return Status(frozenset({State.STARTING}), 0.0, 0.0, 0.0, None, 0, 0, ())
        now, last = self._now(), parts.publisher.last
        slowest = max(
            (one.latency_ms for one in parts.outlets if one.latency_ms.count),
            key=lambda h: h.percentile(0.95) or 0.0,
            default=None,
        )
        latency = None
        if slowest is not None:
            latency = slowest.percentile(0.5) or 0.0, slowest.percentile(0.95) or 0.0
        objects = () if last is None else last.objects
        return Status(
            parts.states(),
            now - parts.started_s,
            parts.worker.rate.value(now),
            parts.reader.rate.value(now),
            latency,
            self.counts.captured,
            self.counts.dropped,
            tuple((o.name, None if o.mask is None else o.area_px) for o in objects),
        )

    @property
    def record(self) -> StreamRecord:
        """What happened, up to now.

        Raises:
            SessionError: it was not started.
        """
        if self._parts is None:
            raise SessionError("this stream was not started: there is nothing to tell")
        return self._parts.record(self._ended, self._error)

    def _on_points(
        self, points: tuple[tuple[tuple[float, float, bool], ...], ...], names: tuple[str, ...]
    ) -> None:
        """Prompts that came from the source's other side."""
        self.controls.send(Points(points, names))

    def _watch(self) -> None:
        parts = self._parts
        assert parts is not None
        try:
            why = parts.watch.run(self._stop)
            self._ended = self._ended or why
        except BaseException as error:  # raised again in the caller's thread, by `finish`
            self._error, self._ended = error, "error"
        try:
            parts.shut(self._error)
            failed = [one.error for one in parts.outlets if one.error is not None]
            if self._error is None and failed:
                self._error = failed[0]
        finally:
            self._done.set()


def _source(name: str, rate: float | None, loop: bool) -> Source:
    from samedge.sources.live_opening import open_live_source

    source: Source = open_live_source(name, rate=rate, loop=loop)
    return source


def _sink(name: str) -> LiveSink:
    from samedge.stream.sinks.opening import open_sink

    sink: LiveSink = open_sink(name)
    return sink


def _bundle(model: Bundle | LiveSegmenter) -> dict[str, str]:
    if not isinstance(model, Bundle):
        return {}
    return {"name": model.path.name, "manifest_sha256": manifest_hash(model)}


class _Parts:
    """All that runs."""

    def __init__(self, stream: LiveStream, session: LiveSegmenter, own_session: bool) -> None:
        self._stream, self._session, self._own_session = stream, session, own_session
        settings, counts, alarms = stream.settings, stream.counts, stream.alarms
        now = stream._now
        says = session.describe()
        self.about = About(
            stream.source.name,
            says,
            session.family,
            str(says.get("title", "")),
            stream._notice,
            stream.controls,
            settings.to_json(),
            stream.source.rate,
            session.manifest.get("variant", {}).get("input_size"),
            _bundle(stream._model),
        )
        self.started_s, self.started = now(), datetime.now(timezone.utc)
        self.outlets = [
            Outlet(sink, alarms, lambda: most_urgent(self.states()), now, settings.every_frame)
            for sink in stream._sinks
        ]
        self.publisher = Publisher(self.outlets, alarms, counts, now)
        inbox: Mailbox[Frame] = Mailbox(newest=not settings.every_frame)
        self.worker = Worker(
            session,
            inbox,
            Objects(session.family, settings.track, settings.gate),
            stream._plan,
            stream._names,
            stream.controls,
            settings,
            self.publisher,
            counts,
            alarms,
            now,
            stream._script,
            self._record_wanted,
        )
        self.reader = Reader(stream.source, inbox, settings, counts, alarms, now, stream._limit)
        self.watch = Watch(
            self.reader,
            self.worker,
            self.publisher,
            self.outlets,
            settings,
            alarms,
            now,
            stream._duration,
        )

    def begin(self) -> None:
        """The first frame may come."""
        self.started_s, self.started = self._stream._now(), datetime.now(timezone.utc)
        self.watch.begin()

    def states(self) -> frozenset[State]:
        last = self.publisher.last
        if last is None:
            return frozenset({State.STARTING if self.watch.signal else State.NO_SIGNAL})
        return last.states

    def _record_wanted(self, on: bool) -> None:
        for outlet in self.outlets:
            outlet.record(on)

    def shut(self, error: BaseException | None) -> None:
        """End everything, each within a bounded time."""
        let_go = self.reader.stop(_LET_GO_S)
        hangs = self.worker.busy_since is not None and error is not None
        came_back = self.worker.join(0.0 if hangs else _LET_GO_S)
        for outlet in self.outlets:
            outlet.close(error)
        if self._stream._own_source and let_go:
            self._stream.source.close()
        if self._own_session and came_back:
            self._session.close()  # type: ignore[attr-defined]

    def record(self, ended: str, error: BaseException | None) -> StreamRecord:
        stream, now = self._stream, self._stream._now()
        seconds = now - self.started_s
        about = self.about
        bundle = {"title": about.title, "family": about.family.name, **about.bundle}
        return StreamRecord(
            ended or "running",
            None if error is None else str(error),
            round(seconds, 3),
            self.started.isoformat(timespec="seconds"),
            stream.source.describe(),
            bundle,
            dict(self.about.session),
            self.about.settings,
            counts_json(stream.counts),
            alarms_json(stream.alarms, self.started_s),
            {name: found.to_json() for name, found in self.worker.stages_ms.items()},
            [one.describe() for one in self.outlets],
            self.reader.restarts,
            round(stream.counts.segmented / seconds, 2) if seconds > 0 else 0.0,
        )
