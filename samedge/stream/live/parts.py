"""All that runs of a live stream: threads, mailboxes and the watch, wired together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from samedge.errors import public_words
from samedge.prompts.plan import PromptPlan
from samedge.sources.frame import Frame, Source
from samedge.stream.live.account import Alarms, Counts
from samedge.stream.live.controls import Controls
from samedge.stream.live.mailbox import Mailbox
from samedge.stream.live.objects import Objects
from samedge.stream.live.outlet import Outlet
from samedge.stream.live.publisher import Publisher
from samedge.stream.live.reader import Reader
from samedge.stream.live.record import StreamRecord, alarms_json, counts_json
from samedge.stream.live.replay import Script
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.live.states import State, most_urgent
from samedge.stream.live.watch import Watch
from samedge.stream.live.worker import Worker
from samedge.stream.segmenting import LiveSegmenter

_LET_GO_S = 5.0  # how long a source or a session may take to end


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


@dataclass(frozen=True)
class Asked:
    """What a stream is asked to do.

    Attributes:
        source: of the frames.
        sinks: where they go.
        plan: prompts from the beginning; `names`: of their objects.
        settings: limits.
        script: of a replay, or None.
        frames, duration_s: after which it ends; None: no limit.
        notice: to be shown with every picture.
        bundle: name and hash of its manifest; empty where a session was given.
    """

    source: Source
    sinks: Sequence[LiveSink]
    plan: PromptPlan
    names: Sequence[str]
    settings: LiveSettings
    script: Script | None
    frames: int | None
    duration_s: float | None
    notice: str
    bundle: Mapping[str, str]


class Parts:
    """Everything, ready to be started.

    Args:
        asked: what to do.
        session: that answers.
        controls, counts, alarms: of the stream.
        now: the clock, in s.

    Attributes:
        about: what sinks are told.
    """

    def __init__(
        self,
        asked: Asked,
        session: LiveSegmenter,
        controls: Controls,
        counts: Counts,
        alarms: Alarms,
        now: Callable[[], float],
    ) -> None:
        self._source, self._counts, self._alarms, self._now = asked.source, counts, alarms, now
        settings, says = asked.settings, session.describe()
        self.about = About(
            asked.source.name,
            says,
            session.family,
            str(says.get("title", "")),
            asked.notice,
            controls,
            settings.to_json(),
            asked.source.rate,
            session.manifest.get("variant", {}).get("input_size"),
            asked.bundle,
        )
        self._started_s, self._started = now(), datetime.now(timezone.utc)
        self._ended_s: float | None = None
        self.outlets = [
            Outlet(sink, alarms, lambda: most_urgent(self.states()), now, settings.every_frame)
            for sink in asked.sinks
        ]
        self._publisher = Publisher(self.outlets, alarms, counts, now)
        inbox: Mailbox[Frame] = Mailbox(newest=not settings.every_frame)
        self._worker = Worker(
            session,
            inbox,
            Objects(session.family, settings.track, settings.gate),
            asked.plan,
            asked.names,
            controls,
            settings,
            self._publisher,
            counts,
            alarms,
            now,
            asked.script,
            self._record_wanted,
        )
        self._reader = Reader(asked.source, inbox, settings, counts, alarms, now, asked.frames)
        self.watch = Watch(
            self._reader,
            self._worker,
            self._publisher,
            self.outlets,
            settings,
            alarms,
            now,
            asked.duration_s,
        )

    def open(self) -> None:
        """Open the sinks.

        Raises:
            what a sink raises that cannot be opened; those that were open are still to be closed.
        """
        for outlet in self.outlets:
            outlet.open(self.about)

    def begin(self) -> None:
        """Let the frames come."""
        self._started_s, self._started = self._now(), datetime.now(timezone.utc)
        self.watch.begin()
        self._worker.start()
        self._reader.start()

    def shut(self, error: BaseException | None) -> tuple[bool, bool]:
        """End everything, each within a bounded time.

        Returns:
            whether the source, and whether the session, are free.
        """
        self._ended_s = self._now()
        let_go = self._reader.stop(_LET_GO_S)
        hangs = self._worker.busy_since is not None and error is not None
        came_back = self._worker.join(0.0 if hangs else _LET_GO_S)
        for outlet in self.outlets:
            outlet.close(error)
        return let_go, came_back

    def states(self) -> frozenset[State]:
        """What holds now."""
        last = self._publisher.last
        if last is None:
            return frozenset({State.STARTING if self.watch.signal else State.NO_SIGNAL})
        return last.states

    def status(self) -> Status:
        """How it is doing."""
        now, last = self._now(), self._publisher.last
        slowest = max(
            (one.latency_ms for one in self.outlets if one.latency_ms.count),
            key=lambda h: h.percentile(0.95) or 0.0,
            default=None,
        )
        latency = None
        if slowest is not None:
            latency = slowest.percentile(0.5) or 0.0, slowest.percentile(0.95) or 0.0
        objects = () if last is None else last.objects
        return Status(
            self.states(),
            now - self._started_s,
            self._worker.rate.value(now),
            self._reader.rate.value(now),
            latency,
            self._counts.captured,
            self._counts.dropped,
            tuple((o.name, None if o.mask is None else o.area_px) for o in objects),
        )

    def record(self, ended: str, error: BaseException | None) -> StreamRecord:
        """What happened, up to now."""
        end, about = self._now() if self._ended_s is None else self._ended_s, self.about
        seconds = end - self._started_s
        return StreamRecord(
            ended or "running",
            None if error is None else public_words(error),
            round(seconds, 3),
            self._started.isoformat(timespec="seconds"),
            self._source.describe(),
            {"title": about.title, "family": about.family.name, **about.bundle},
            dict(about.session),
            about.settings,
            counts_json(self._counts),
            alarms_json(self._alarms, self._started_s),
            {name: found.to_json() for name, found in self._worker.stages_ms.items()},
            [one.describe() for one in self.outlets],
            self._reader.restarts,
            round(self._counts.segmented / seconds, 2) if seconds > 0 else 0.0,
        )

    def _record_wanted(self, on: bool) -> None:
        for outlet in self.outlets:
            outlet.record(on)
