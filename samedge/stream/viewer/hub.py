"""All browsers of one stream: what goes to all of them, and what came of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.websockets import WebSocket

from samedge.errors import PromptError
from samedge.files.limits import BROWSERS
from samedge.stream.live.controls import MAX_NAME, MAX_OBJECTS, Record, from_json
from samedge.stream.live.sink import About
from samedge.stream.live.states import Alarm, State
from samedge.stream.sinks.report import NOTICE, full_notice
from samedge.stream.viewer.client import FULL, Client, turn_away
from samedge.stream.viewer.message import Message, ms

_KEPT_ALARMS = 20
_KEPT_LATENCIES = 10_000


class Hub:
    """The clients and what they are told. Everything but `wants_frames`, `needs_frame` and
    `describe` is called in the server's loop.

    Attributes:
        needs_frame: somebody came who has seen nothing yet. Set here, cleared by the sink.
    """

    def __init__(self, about: About) -> None:
        self._about = about
        self._clients: set[Client] = set()
        self._alarms: deque[Mapping[str, Any]] = deque(maxlen=_KEPT_ALARMS)
        self._counts: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=_KEPT_LATENCIES)
        self._recording = False
        self._most = 0
        self.needs_frame = False

    @property
    def wants_frames(self) -> bool:
        """Somebody looks."""
        return bool(self._clients)

    async def serve(self, socket: WebSocket) -> None:
        """Be there for one browser until it leaves."""
        if len(self._clients) >= BROWSERS.most:
            self.count("too many viewers")
            await turn_away(socket, FULL, f"{BROWSERS.most} pages show this stream already")
            return
        client = Client(socket, self, self._hello())
        for alarm in self._alarms:
            client.offer_alarm(alarm)
        self._clients.add(client)
        self._most = max(self._most, len(self._clients))
        self.count("viewers")
        self.needs_frame = True
        try:
            await client.serve()
        finally:
            self._clients.discard(client)
            self._counts["skipped"] += client.skipped

    def publish(self, message: Message) -> None:
        """A frame for everybody."""
        self.count("frames")
        for client in self._clients:
            client.offer(message)

    def publish_again(self, message: Message) -> None:
        """A frame for those who had none yet."""
        for client in self._clients:
            if client.is_fresh:
                client.offer(message)

    def publish_status(self, states: list[str], at_s: float, drops: int) -> None:
        """How things stand, for everybody: the sign that the stream lives."""
        words = {
            "states": states,
            "at_ms": ms(at_s),
            "drops": drops,
            "recording": self._recording,
            "viewers": len(self._clients),
        }
        text = json.dumps({"status": words})
        for client in self._clients:
            client.offer_status(text)

    def publish_alarms(self, alarms: Iterable[Alarm]) -> None:
        """Alarms for everybody, and for those who come later."""
        for alarm in alarms:
            told = {"kind": alarm.kind.value, "message": alarm.message, "at_ms": ms(alarm.at_s)}
            self._alarms.append(told)
            for client in self._clients:
                client.offer_alarm(told)

    def end(self, why: str, failed: bool) -> None:
        """The stream is over: pages say so, and why."""
        words = json.dumps({"end": {"why": why, "failed": failed}})
        for client in self._clients:
            client.say_goodbye(words)

    async def all_gone(self, most_s: float) -> None:
        """Wait until everybody has left, but not longer."""
        for _ in range(max(1, round(most_s / 0.02))):
            if not self._clients:
                return
            await asyncio.sleep(0.02)

    def command(self, value: Mapping[str, Any]) -> str | None:
        """Pass on what a page said; what was wrong with it, or None."""
        try:
            command = from_json(value)
            self._about.controls.send(command)
        except PromptError as error:
            return str(error)
        self.count("commands")
        if isinstance(command, Record):
            self._recording = command.on
        return None

    def shown(self, latency_ms: float) -> None:
        self._latencies.append(latency_ms)
        self.count("drawn")

    def count(self, what: str) -> None:
        if what:
            self._counts[what] += 1

    def describe(self) -> dict[str, Any]:
        """Counts, and percentiles of the last latencies from capture to drawing, in ms."""
        latencies = sorted(self._latencies.copy())
        counts = self._counts.copy()
        skipped = counts["skipped"] + sum(client.skipped for client in list(self._clients))
        return {
            "viewers": counts["viewers"],
            "most_viewers": self._most,
            "frames": counts["frames"],
            "drawn": counts["drawn"],
            "skipped": skipped,
            "commands": counts["commands"],
            "refused": {
                name: counts[name]
                for name in (
                    "host",
                    "origin",
                    "token",
                    "too many viewers",
                    "refused commands",
                    "rubbish",
                    "flooded",
                    "stalled",
                )
                if counts[name]
            },
            "latency_ms": {
                "count": len(latencies),
                "p50": _percentile(latencies, 0.5),
                "p95": _percentile(latencies, 0.95),
                "max": _percentile(latencies, 1.0),
            },
        }

    def _hello(self) -> str:
        about = self._about
        words = {
            "title": about.title,
            "source": about.source,
            "family": about.family.title,
            "prompts": list(about.family.prompts),
            "classes": list(about.family.classes),
            "notice": about.notice if NOTICE in about.notice else full_notice(about.notice),
            "rate": about.rate,
            "deadline_s": about.settings.get("deadline_s"),
            "most_objects": MAX_OBJECTS,
            "most_name": MAX_NAME,
            "state": State.STARTING.value,
        }
        return json.dumps({"hello": words})


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
