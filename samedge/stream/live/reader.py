"""The thread of the source: frames into the mailbox, and a lost source opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import replace

from samedge.errors import MissingDependencyError, SamEdgeError, SourceError
from samedge.sources.frame import Frame, Source
from samedge.stream.live.account import Alarms, Counts, Rate
from samedge.stream.live.mailbox import Mailbox
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.states import Kind

_POLL_S = 0.1


class Reader:
    """Reads a source in a thread of its own.

    Args:
        source: that it reads. One that `is_live` is opened again when it ends or fails.
        inbox: where frames go.
        settings: pauses, and whether frames may be dropped.
        counts, alarms: told of frames and of trouble.
        now: the clock, in s.
        limit: of frames, after which it ends; None: no limit.

    Attributes:
        error: what ended it, or None.
        last_s: when the last frame came, or None.
        rate: of frames.
        restarts: how often the source was opened again.
        is_waiting: it holds a frame for which the network is not ready.
    """

    def __init__(
        self,
        source: Source,
        inbox: Mailbox[Frame],
        settings: LiveSettings,
        counts: Counts,
        alarms: Alarms,
        now: Callable[[], float],
        limit: int | None = None,
    ) -> None:
        self._source, self._inbox, self._settings = source, inbox, settings
        self._counts, self._alarms, self._now, self._limit = counts, alarms, now, limit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="samedge source", daemon=True)
        self.error: BaseException | None = None
        self.last_s: float | None = None
        self.rate = Rate()
        self.restarts = 0
        self.is_waiting = False
        self.name = source.name

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, wait_s: float) -> bool:
        """End the reading; False if the source does not let go (its thread is left behind)."""
        self._stop.set()
        self._source.interrupt()
        self._inbox.close()
        if self._thread.ident is not None:
            self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # told to the stream, which ends with it
            self.error = error
        finally:
            self._inbox.close()

    def _read(self) -> None:
        pause, lost_since = self._settings.retry_s, None
        while not self._stop.is_set():
            before = self._counts.captured
            problem: SamEdgeError
            try:
                self._read_once()
                once = not self._source.is_live or self._source.ends
                if self._stop.is_set() or once or self._is_full:
                    return
                problem = SourceError(f"{self.name} has ended")
            except MissingDependencyError:
                raise
            except SamEdgeError as error:
                problem = error
                if not self._source.is_live or self._source.ends or self._stop.is_set():
                    raise
            if self._counts.captured > before:
                pause, lost_since = self._settings.retry_s, None
            elif not self._counts.captured and not self._source.comes_later:
                raise problem  # a name that was mistyped is not waited for
            if lost_since is None:
                lost_since = self._now()
                self._alarms.raise_(Kind.SOURCE, f"{problem}; it is opened again until it is back")
            elif self._now() - lost_since > self._settings.give_up_s:
                raise problem
            self._stop.wait(pause)
            pause = min(pause * 2, self._settings.retry_most_s)
            self.restarts += 1

    def _read_once(self) -> None:
        """Frames until the source ends, fails or is stopped."""
        with ExitStack() as stack:
            frames = iter(self._source)
            if isinstance(frames, Generator):  # what it holds open is given back now
                stack.callback(frames.close)
            for frame in frames:
                now = self._now()
                if self._stop.is_set():
                    return
                captured = now if frame.captured_s is None else min(frame.captured_s, now)
                frame = replace(frame, index=self._counts.captured, captured_s=captured)
                self._counts.captured += 1
                self.last_s = now
                self.rate.add(now)
                self._put(frame)
                if self._is_full:
                    return

    @property
    def _is_full(self) -> bool:
        return self._limit is not None and self._counts.captured >= self._limit

    def _put(self, frame: Frame) -> None:
        if not self._settings.every_frame:
            if not self._inbox.put(frame):
                self._counts.replaced += 1
            return
        self.is_waiting = True
        try:
            while not self._stop.is_set():
                if self._inbox.offer(frame, _POLL_S):
                    return
            self._counts.left += 1
        finally:
            self.last_s, self.is_waiting = self._now(), False
