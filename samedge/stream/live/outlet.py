"""A sink in a thread of its own: what it does, and how long it takes, is nobody else's business."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from samedge.errors import OutputError, public_words
from samedge.stream.live.account import KEPT_ALARMS, Alarms, Histogram
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.mailbox import Mailbox
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.live.states import Kind, State

_IDLE_S = 0.1
OPEN_S = 30.0  # how long a sink may take to open
CLOSE_S = 30.0  # and to finish: a DICOM file of minutes is written then
HANGS_S = 5.0
MOST_BYTES = 256 << 20  # of frames that may wait for one sink; two may in any case


def _merged(old: LiveFrame, new: LiveFrame) -> LiveFrame:
    """A delivery that replaces one that the sink never saw: what was told with that is told with
    this, and a frame that it has not seen is new to it."""
    return replace(
        new,
        is_new=new.is_new or (old.is_new and old.frame is new.frame),
        alarms=(*old.alarms, *new.alarms)[-KEPT_ALARMS:],
        commands=old.commands + new.commands,
    )


def _bytes_of(item: LiveFrame) -> int:
    """Memory of a delivery, about: its pixels and masks."""
    frame = item.frame
    masks = sum(one.mask is not None for one in item.objects)
    return int(frame.pixels.nbytes) + masks * frame.height * frame.width


class Outlet:
    """Runs one sink.

    Args:
        sink: that it runs.
        alarms: told when it fails, hangs, or cannot keep up.
        state: what the stream is in, asked while nothing comes.
        now: the clock, in s.
        patient: the stream waits for sinks that want every frame: it drops none.

    Attributes:
        error: what ended the sink, or None.
        written: frames that it took.
        latency_ms: from the capture of a frame to the end of `write`, of frames that are new.
        write_ms: of `write` alone.
    """

    def __init__(
        self,
        sink: LiveSink,
        alarms: Alarms,
        state: Callable[[], State],
        now: Callable[[], float],
        patient: bool,
    ) -> None:
        self.sink, self._alarms, self._state, self._now = sink, alarms, state, now
        self._patient = patient and sink.every_frame
        places = sink.backlog if sink.every_frame else 1
        self._box: Mailbox[LiveFrame] = Mailbox(places, newest=not sink.every_frame)
        self._opened = threading.Event()
        self._closing: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._busy_since: float | None = None
        self._recording: bool | None = None  # what a user asked for, until the sink knows
        self._told_slow = self._told_full = False
        self.error: BaseException | None = None
        self.offered = self.written = self.missed = 0
        self.latency_ms, self.write_ms = Histogram(), Histogram()

    @property
    def dropped(self) -> int:
        """Deliveries that the sink never saw: replaced by newer ones, or after it had failed."""
        return self._box.dropped + self.missed

    def open(self, about: About) -> None:
        """Start the thread and wait until the sink is open.

        Raises:
            whatever `LiveSink.open` raises; OutputError: it does not come back.
        """
        self._thread = threading.Thread(
            target=self._run, args=(about,), name=f"samedge sink {self.sink.name}", daemon=True
        )
        self._thread.start()
        if not self._opened.wait(OPEN_S):
            self.error = OutputError(f"{self.sink.name} did not open within {OPEN_S:.0f} s")
        if self.error is not None:
            raise self.error

    def offer(self, item: LiveFrame) -> None:
        """Hand over a delivery; waits only if the stream is to drop none."""
        if not item.is_new and not self.sink.wants_repeats:
            return
        self.offered += 1
        if self.error is not None:
            self.missed += 1
            return
        while self._patient and not self._box.is_closed:
            if self._box.offer(item, _IDLE_S):
                return
        waiting = len(self._box)
        if self.sink.every_frame and waiting > 1 and waiting * _bytes_of(item) > MOST_BYTES:
            self.missed += 1
            self._tell_full()
            return
        if not self._box.put(item, _merged) and self.sink.every_frame:
            self._tell_full()

    def _tell_full(self) -> None:
        if not self._told_full:
            self._told_full = True
            self._alarms.raise_(
                Kind.SINK, f"{self.sink.name} cannot keep up: frames are missing in it"
            )

    def record(self, on: bool) -> None:
        """The user wants a recording to begin or to end; the sink hears it in its own thread."""
        self._recording = on

    def watch(self) -> None:
        """Raise an alarm, once, when the sink has hung for a while."""
        since = self._busy_since
        if since is None or self._now() - since < HANGS_S:
            self._told_slow = False
        elif not self._told_slow:
            self._told_slow = True
            self._alarms.raise_(
                Kind.SINK_SLOW, f"{self.sink.name} has not come back for {HANGS_S:.0f} s"
            )

    def close(self, error: BaseException | None) -> None:
        """Let the sink take what waits, finish, and end its thread; waits for a bounded time."""
        if self._thread is None:
            return
        self._closing = error
        self._box.close()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self.error = self.error or OutputError(
                f"{self.sink.name} did not finish within {CLOSE_S:.0f} s; it was left behind"
            )
            self._alarms.raise_(Kind.SINK_SLOW, str(self.error))

    def describe(self) -> dict[str, Any]:
        """Counts and latencies as JSON values, with what the sink says of itself in "details"."""
        return {
            "name": self.sink.name,
            "offered": self.offered,
            "written": self.written,
            "dropped": self.dropped,
            "error": None if self.error is None else public_words(self.error),
            "latency_ms": self.latency_ms.summary(),
            "write_ms": self.write_ms.summary(),
            "details": self.sink.describe(),
        }

    def _run(self, about: About) -> None:
        try:
            self.sink.open(about)
        except BaseException as error:  # handed to the thread that waits in `open`
            self.error = error
            return
        finally:
            self._opened.set()
        try:
            self._work()
        except BaseException as error:  # the stream ends with it, and goes on until then
            self._fail(error)
        try:
            self.sink.close(self.error or self._closing)
        except BaseException as error:
            if self.error is None:
                self._fail(error)

    def _work(self) -> None:
        while True:
            item = self._box.take(_IDLE_S)
            if self._recording is not None:
                wanted, self._recording = self._recording, None
                self.sink.record(wanted)
            if item is None:
                if self._box.is_done:
                    return
                self._busy_since = self._now()
                self.sink.idle(self._state())
                self._busy_since = None
                continue
            begin = self._busy_since = self._now()
            self.sink.write(item)
            end = self._now()
            self._busy_since = None
            self.written += 1
            self.write_ms.add((end - begin) * 1e3)
            if item.is_new:
                self.latency_ms.add((end - item.times.captured) * 1e3)

    def _fail(self, error: BaseException) -> None:
        self._busy_since = None
        self.error = error
        # What waits is not written any more, and counts as dropped.
        self._box.close()
        while self._box.take(0) is not None:
            self.missed += 1
        self._alarms.raise_(Kind.SINK, f"{self.sink.name} failed: {public_words(error)}")
