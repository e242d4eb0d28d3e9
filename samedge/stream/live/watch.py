"""The watch over a running stream: it ends when it has to, and says what nobody else sees."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

from samedge.errors import DeviceError
from samedge.stream.live.account import Alarms
from samedge.stream.live.outlet import Outlet
from samedge.stream.live.publisher import Publisher
from samedge.stream.live.reader import Reader
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.states import Kind
from samedge.stream.live.worker import Worker

_EVERY_S = 0.02


class Watch:
    """Looks at all parts fifty times a second.

    Args:
        reader, worker, publisher, outlets: the parts.
        settings: limits.
        alarms: told of what it sees.
        now: the clock, in s.
        duration_s: end after so long; None: no limit.

    Attributes:
        signal: frames are coming.
    """

    def __init__(
        self,
        reader: Reader,
        worker: Worker,
        publisher: Publisher,
        outlets: Sequence[Outlet],
        settings: LiveSettings,
        alarms: Alarms,
        now: Callable[[], float],
        duration_s: float | None,
    ) -> None:
        self._reader, self._worker = reader, worker
        self._publisher, self._outlets = publisher, outlets
        self._settings, self._alarms, self._now = settings, alarms, now
        self._duration = math.inf if duration_s is None else duration_s
        self._start = now()
        self.signal = True

    def begin(self) -> None:
        """Time runs from here on."""
        self._start = self._now()

    def run(self, stop: threading.Event) -> str:
        """Watch until the stream is over.

        Returns:
            why it ended.

        Raises:
            what ended it, if that was an error.
        """
        while True:
            if stop.wait(_EVERY_S):
                return "stopped"
            if self._now() - self._start >= self._duration:
                return "its time was over"
            self._watchdog()
            for part in (self._worker, self._reader):
                if part.error is not None:
                    raise part.error
            if not self._worker.is_alive:
                return "the source has ended"
            if self._outlets and all(one.error is not None for one in self._outlets):
                return "all sinks have failed"
            self._publisher.watch(self._has_signal())
            for outlet in self._outlets:
                outlet.watch()

    def _watchdog(self) -> None:
        since, limit = self._worker.busy_since, self._settings.watchdog_s
        if since is None or self._now() - since <= limit:
            return
        message = (
            f"an inference has not come back for {limit:g} s; the stream ends, since it could hang "
            "for ever"
        )
        self._alarms.raise_(Kind.WATCHDOG, message)
        raise DeviceError(message)

    def _has_signal(self) -> bool:
        last = self._start if self._reader.last_s is None else self._reader.last_s
        silent_s = self._now() - last
        signal = self._reader.is_waiting or silent_s <= self._settings.signal_s
        if self.signal and not signal and self._reader.is_alive:
            self._alarms.raise_(
                Kind.NO_SIGNAL, f"no frame has come for {self._settings.signal_s:g} s"
            )
        self.signal = signal
        return signal
