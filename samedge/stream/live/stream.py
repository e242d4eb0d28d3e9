"""`LiveStream`: a source, a model and sinks, from the first frame to the last."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any

from samedge.bundle import Bundle
from samedge.errors import SamEdgeError, SessionError
from samedge.prompts.plan import Prompts, prompt_plan
from samedge.runtime import Session, load
from samedge.sources.frame import Box, Source
from samedge.sources.live_opening import open_live_source
from samedge.sources.replay import ReplaySource
from samedge.stream.live.account import Alarms, Counts
from samedge.stream.live.checks import check_live
from samedge.stream.live.controls import Controls, Points
from samedge.stream.live.hand import Hand
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.parts import Asked, Parts, Status
from samedge.stream.live.record import StreamRecord, bundle_of
from samedge.stream.live.replay import ReplayCheck, Script
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.live.states import Alarm, State
from samedge.stream.segmenting import LiveSegmenter
from samedge.stream.sinks.opening import open_sink

_POLL_S = 0.2


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
        self._sinks = [one if isinstance(one, LiveSink) else open_sink(one) for one in sinks]
        self._own_source = not isinstance(source, Source)
        self.source = (
            source if isinstance(source, Source) else open_live_source(source, rate=rate, loop=loop)
        )
        self._script: Script | None = None
        if isinstance(self.source, ReplaySource):
            self._script = Script(self.source)
            self.settings = self.settings.replaying(self.source.settings)
            self._sinks.append(ReplayCheck(self.source))
        check_live(self._model.family, self._plan, self.settings)
        self._duration, self._frames, self._notice = duration_s, frames, notice
        self.controls, self.counts = Controls(), Counts()
        self.alarms = Alarms(time.monotonic, on_alarm)
        self.source.on_points = self._on_points
        self._stop, self._done = threading.Event(), threading.Event()
        self._ended = ""
        self._error: BaseException | None = None
        self._parts: Parts | None = None
        self._own_session: Session | None = None

    def start(self) -> LiveStream:
        """Load the model, open the sinks, start the source; frames flow when it returns.

        Raises:
            BundleError, NotSupportedError, DeviceError: as `samedge.load`.
            OutputError, ...: a sink cannot be opened; those that were open are closed.
            SessionError: it was started before.
        """
        if self._parts is not None:
            raise SessionError("this stream has been started already; make a new one")
        session: LiveSegmenter
        if isinstance(self._model, Bundle):
            session = self._own_session = load(self._model, **self._engine)
        else:
            session = self._model
        asked = Asked(
            self.source,
            self._sinks,
            self._plan,
            self._names,
            self.settings,
            self._script,
            self._frames,
            self._duration,
            self._notice,
            bundle_of(self._model),
        )
        self._parts = parts = Parts(
            asked, session, self.controls, self.counts, self.alarms, time.monotonic
        )
        try:
            parts.open()
        except BaseException as error:
            self._error, self._ended = error, "a sink could not be opened"
            self._shut(parts)
            self._done.set()
            raise
        parts.begin()
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
        if self._parts is None:
            return Status(frozenset({State.STARTING}), 0.0, 0.0, 0.0, None, 0, 0, ())
        return self._parts.status()

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
            self._shut(parts)
            failed = [one.error for one in parts.outlets if one.error is not None]
            if self._error is None and failed:
                self._error = failed[0]
        finally:
            self._done.set()

    def _shut(self, parts: Parts) -> None:
        """End all parts, and give back what is ours."""
        let_go, came_back = parts.shut(self._error)
        if self._own_source and let_go:
            self.source.close()
        if self._own_session is not None and came_back:
            self._own_session.close()
