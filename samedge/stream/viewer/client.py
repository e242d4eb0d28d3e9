"""One browser: an outbox of one frame, what it has drawn, and what it may send."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from samedge.stream.viewer.message import Message, ms

IN_FLIGHT = 2  # frames that may be on their way: one is drawn while the next one travels
STALL_S = 5.0  # a browser that draws nothing, or reads nothing, for so long is let go
BEAT_S = 1.0
_REPLIES = 64  # that wait; somebody with more of them does not read

# Codes of WebSocket closures; from 4000 on they are the application's own.
GOING_AWAY, UNSUPPORTED, NOT_JSON, RUBBISH = 1001, 1003, 1007, 1008
STALLED, FULL = 4008, 4016
_BAD_FRAMES = (1002, 1007, 1009)  # closed by the protocol: no frames, no UTF-8, too large


class Allowance:
    """So many at once, and so many per second over time."""

    def __init__(self, per_second: float, at_once: float) -> None:
        self._rate, self._most = per_second, at_once
        self._left, self._then = at_once, time.monotonic()

    def take(self) -> bool:
        """Use one; False: none is left."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._then) * self._rate)
        self._then = now
        self._left -= 1
        return self._left >= 0


class House(Protocol):
    """What a client needs to know of the place where it is a guest."""

    def command(self, value: Mapping[str, Any]) -> str | None:
        """Pass on a command; what was wrong with it, or None."""

    def shown(self, latency_ms: float) -> None:
        """A frame was drawn so long after it was captured."""

    def count(self, what: str) -> None:
        """Count something that a client did or had done to it."""


class Parting(Exception):
    """The connection is to be closed; with its WebSocket code and a reason for people."""

    def __init__(self, code: int, reason: str, count: str = "") -> None:
        super().__init__(reason)
        self.code, self.reason, self.count = code, reason, count


class Client:
    """Sends one browser the newest frames as fast as it draws them. Lives in the server's loop.

    Attributes:
        is_fresh: it had no frame yet.
        skipped: frames that were replaced by newer ones before they were sent.
    """

    def __init__(self, socket: WebSocket, house: House, hello: str) -> None:
        self._socket, self._house = socket, house
        self._frame: Message | None = None
        self._status: str | None = None
        self._replies: deque[str] = deque([hello])
        self._alarms: deque[Mapping[str, Any]] = deque(maxlen=32)
        self._drawn: list[tuple[int, float]] = []
        self._in_flight: dict[int, tuple[Message, float]] = {}
        self._wake = asyncio.Event()
        self._last_words: str | None = None
        self._messages = Allowance(per_second=200, at_once=400)
        self._mistakes = Allowance(per_second=1, at_once=20)
        self.is_fresh = True
        self.skipped = 0

    def offer(self, message: Message) -> None:
        """A frame; the one that waited for its turn is skipped."""
        if self._frame is not None:
            self.skipped += 1
        self._frame, self.is_fresh = message, False
        self._wake.set()

    def offer_status(self, status: str) -> None:
        """How things stand, without a frame; replaces what waited."""
        self._status = status
        self._wake.set()

    def offer_alarm(self, alarm: Mapping[str, Any]) -> None:
        """Something to be told with the next message, whatever it is."""
        self._alarms.append(alarm)

    def say_goodbye(self, words: str) -> None:
        """Send `words`, then close."""
        self._last_words = words
        self._wake.set()

    async def serve(self) -> None:
        """Until one of both sides has had enough."""
        with _gone_is_fine():
            await self._serve()

    async def _serve(self) -> None:
        await self._socket.accept()
        parts = [asyncio.ensure_future(self._send()), asyncio.ensure_future(self._receive())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
        ends = [end for part, end in zip(parts, results, strict=True) if part in done]
        for end in ends:
            if isinstance(end, Parting):
                self._house.count(end.count)
                await _within(1.0, self._socket.close(end.code, end.reason))
                return
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _send(self) -> None:
        while True:
            text = self._next_text()
            if text is not None:
                await self._out(self._socket.send_text(text))
                continue
            if self._frame is not None and len(self._in_flight) < IN_FLIGHT:
                await self._send_frame(self._frame)
                continue
            if self._status is not None:
                status, self._status = self._status, None
                await self._out(self._socket.send_text(self._with_alarms(status)))
                continue
            if self._last_words is not None:
                await self._out(self._socket.send_text(self._last_words))
                raise Parting(GOING_AWAY, "the stream has ended")
            self._wake.clear()
            with suppress(asyncio.TimeoutError):
                await _within(BEAT_S, self._wake.wait())
            self._check_stall()

    def _next_text(self) -> str | None:
        return self._replies.popleft() if self._replies else None

    async def _send_frame(self, message: Message) -> None:
        self._frame = None
        drawn, self._drawn = self._drawn, []
        now = time.monotonic()
        self._in_flight[message.number] = message, now
        extra = {"drawn": drawn, "skipped": self.skipped, "alarms": self._take_alarms()}
        await self._out(self._socket.send_bytes(message.packed(now, extra)))

    def _with_alarms(self, status: str) -> str:
        """A status as JSON text with the moment and what is to be told."""
        extra = {"sent_ms": ms(time.monotonic()), "alarms": self._take_alarms()}
        return status[:-1] + "," + json.dumps(extra)[1:]

    def _take_alarms(self) -> list[Mapping[str, Any]]:
        alarms = list(self._alarms)
        self._alarms.clear()
        return alarms

    async def _out(self, sending: Coroutine[Any, Any, None]) -> None:
        try:
            await _within(STALL_S, sending)
        except asyncio.TimeoutError:
            raise self._stalled() from None

    def _check_stall(self) -> None:
        oldest = min((sent for _, sent in self._in_flight.values()), default=None)
        if oldest is not None and time.monotonic() - oldest > STALL_S:
            raise self._stalled()

    def _stalled(self) -> Parting:
        return Parting(STALLED, "this page has drawn nothing for a while", "stalled")

    async def _receive(self) -> None:
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                if event.get("code") in _BAD_FRAMES:
                    self._house.count("rubbish")
                raise WebSocketDisconnect(event.get("code", 1006))
            if not self._messages.take():
                raise Parting(RUBBISH, "too many messages", "flooded")
            text = event.get("text")
            if text is None:
                raise Parting(UNSUPPORTED, "only text is understood", "rubbish")
            self._heed(text)

    def _heed(self, text: str) -> None:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise Parting(NOT_JSON, "that was no JSON", "rubbish") from None
        if not isinstance(value, dict):
            raise Parting(NOT_JSON, "that was no JSON object", "rubbish")
        if "drawn" in value:
            problem = self._note_drawn(value)
        else:
            problem = self._house.command(value)
            if problem is not None and len(self._replies) < _REPLIES:
                self._replies.append(json.dumps({"refused": problem}))
                self._wake.set()
        if problem is not None:
            self._house.count("refused commands")
            if not self._mistakes.take():
                raise Parting(RUBBISH, "too many messages without meaning", "rubbish")

    def _note_drawn(self, value: Mapping[str, Any]) -> str | None:
        """The page has drawn a frame: it and those before it are no longer under way."""
        number, hidden = value["drawn"], value.get("hidden", False)
        found = self._in_flight.get(number) if type(number) is int else None
        if found is None:
            return "no such frame is under way"
        for older in [n for n in self._in_flight if n <= number]:
            del self._in_flight[older]
        message = found[0]
        if message.is_new and not hidden:
            latency = (time.monotonic() - message.captured_s) * 1000
            self._house.shown(latency)
            self._drawn.append((number, round(latency, 1)))
        self._wake.set()
        return None


async def _within(most_s: float, doing: Coroutine[Any, Any, object]) -> None:
    """Wait for `doing`, but not longer. `asyncio.wait_for` loses a cancellation that comes in the
    moment in which `doing` is done (before Python 3.12), and then its task goes on for ever.

    Raises:
        asyncio.TimeoutError: it took longer.
    """
    task = asyncio.ensure_future(doing)
    try:
        done, _ = await asyncio.wait([task], timeout=most_s)
    finally:
        task.cancel()
    if not done:
        raise asyncio.TimeoutError
    await task


def _gone_is_fine() -> suppress:
    """The other side may hang up; to send after that is a RuntimeError to starlette and uvicorn."""
    return suppress(WebSocketDisconnect, RuntimeError, OSError, asyncio.TimeoutError)


async def turn_away(socket: WebSocket, code: int, reason: str) -> None:
    """Tell a page why it is not served: it learns that only once it is connected."""
    with _gone_is_fine():
        await socket.accept()
        await _within(1.0, socket.close(code, reason))
