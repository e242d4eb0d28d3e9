"""One place that hands frames to the sinks, and takes masks back whose time is over."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from samedge.stream.live.account import Alarms, Counts
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.outlet import Outlet
from samedge.stream.live.states import Kind, State

_ALARM_S = 0.1  # an alarm goes with the next frame, if that comes so soon


class Publisher:
    """Numbers the deliveries; any thread may publish.

    Args:
        outlets: of all sinks.
        alarms: taken along with the next delivery.
        counts: of frames.
        now: the clock, in s.
    """

    def __init__(
        self,
        outlets: Sequence[Outlet],
        alarms: Alarms,
        counts: Counts,
        now: Callable[[], float],
    ) -> None:
        self._outlets, self._alarms, self._counts, self._now = outlets, alarms, counts, now
        self._lock = threading.Lock()
        self._number = 0
        self._last: LiveFrame | None = None

    @property
    def last(self) -> LiveFrame | None:
        """The delivery before."""
        return self._last

    def publish(self, item: LiveFrame) -> None:
        """Hand over an item; its number, its alarms and the moment are filled in here."""
        with self._lock:
            self._send(item)

    def watch(self, signal: bool) -> None:
        """Called several times a second: masks that are too old go, and a state that came or went
        without a frame is told.

        Args:
            signal: frames are coming.
        """
        with self._lock:
            last = self._last
            if last is None:
                return
            expired = last.has_masks and self._now() >= last.expires_s
            states = set(last.states) - {State.NO_SIGNAL, State.LIVE}
            if not signal:
                states.add(State.NO_SIGNAL)
            if expired:
                if signal:
                    states.add(State.LATE)
                self._counts.expired += 1
                self._alarms.raise_(
                    Kind.EXPIRED, "the last mask is too old to be shown, and there is no newer one"
                )
            changed = frozenset(states) != last.states - {State.LIVE}
            if not (expired or changed or self._alarms.waits_s > _ALARM_S):
                return
            objects = last.objects
            if expired:
                objects = tuple(replace(one, mask=None) for one in objects)
            self._send(
                replace(
                    last,
                    is_new=False,
                    objects=objects,
                    class_map=None if expired else last.class_map,
                    states=frozenset(states),
                    expires_s=math.inf if expired else last.expires_s,
                    commands=(),
                )
            )

    def _send(self, item: LiveFrame) -> None:
        item = replace(
            item,
            number=self._number,
            alarms=self._alarms.take(),
            times=replace(item.times, published=self._now()),
            drops=self._counts.dropped,
        )
        self._number += 1
        self._last = item
        for outlet in self._outlets:
            outlet.offer(item)
