"""uvicorn's two protocols, with what they lack against those who come to do harm, or just hang.

A connection that does not say what it wants, does not read, or drowns the server in empty parts of
messages is cut off, so that it cannot use up connections or memory. Everybody else notices nothing.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

REQUEST_S = 10.0  # a request and its answer, also one with few bytes per second
PARTING_S = 1.0  # for the words of parting to those that read
MOST_PARTS = 64  # of one message


class PageProtocol(H11Protocol):
    """HTTP; each request has its time."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: object) -> None:
        self._wait_no_more()
        super().handle_websocket_upgrade(event)  # type: ignore[arg-type]

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(PARTING_S, self.transport.abort)

    def _wait(self) -> None:
        self._wait_no_more()
        self._patience = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class SocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket; who does not read is let go."""

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            # A transport waits with closing until everything was read, which may be never.
            self.loop.call_later(PARTING_S, self.transport.abort)

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(PARTING_S, self.transport.abort)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:  # answers would pile up
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        if len(self.frames) > MOST_PARTS:  # its size is bounded already, but parts may be empty
            self.transport.abort()
