"""`ViewerSink`: a live stream in the browser."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from samedge.errors import public_words
from samedge.sources.uri import Uri
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.live.states import State
from samedge.stream.viewer.address import HOST, PORT, address, address_of
from samedge.stream.viewer.message import Encoder, state_names
from samedge.stream.viewer.server import ViewerServer

_BEAT_S = 0.25  # a page that hears nothing for longer than a second or so says so


class ViewerSink(LiveSink):
    """Serves a page that shows the stream and takes clicks.

    Frames are encoded once for all browsers, and only while somebody looks. A browser that cannot
    keep up skips frames; it holds up neither the stream nor the others.

    Args:
        host: name or IP address to listen on. By default only this machine can reach the page.
        port: 0: any that is free.
        token: what the page's address has to hold; None: nothing on this machine, and for others
            a random one.
        names: further host names that browsers may use, those of a proxy for instance; then there
            is always a token.

    Attributes:
        url: of the page, with the token; complete once the sink is open.

    Raises:
        OutputError: the port, the token or a name cannot be.
    """

    name = "viewer"

    def __init__(
        self,
        host: str = HOST,
        port: int = PORT,
        token: str | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self._address = address(host, port, token, names)
        self._encoder = Encoder()
        self._server: ViewerServer | None = None
        self._last: LiveFrame | None = None
        self._last_beat = 0.0
        self._states: list[str] = [State.STARTING.value]

    @classmethod
    def from_uri(cls, uri: Uri) -> ViewerSink:
        """`viewer:` or `viewer://HOST:PORT?token=...&name=...`.

        Raises:
            OutputError: it does not say where.
        """
        where = address_of(uri)
        return cls(where.host, where.port, where.token, where.names)

    @property
    def url(self) -> str:
        return self._address.url

    def open(self, about: About) -> None:
        """Start the server.

        Raises:
            OutputError: the port is in use, or the host is not of this machine.
        """
        self._server = ViewerServer(self._address, about)
        self._address = self._server.address

    def write(self, item: LiveFrame) -> None:
        """Encode a delivery and hand it to the server; waits for nobody.

        Raises:
            OutputError: the picture could not be encoded, or the server has ended.
        """
        server = self._running()
        self._last = item
        now = time.monotonic()
        if item.alarms:
            server.call(server.hub.publish_alarms, item.alarms)
        if server.hub.wants_frames:
            server.hub.needs_frame = False
            server.call(server.hub.publish, self._encoder.message(item, item.is_new, now))
        self._beat(state_names(item.states), now)

    def idle(self, state: State) -> None:
        """Tell the pages the state, and those that are new the last frame.

        Raises:
            OutputError: the server has ended.
        """
        server = self._running()
        now = time.monotonic()
        if server.hub.needs_frame and self._last is not None:
            server.hub.needs_frame = False
            message = self._encoder.message(self._last, False, now)
            server.call(server.hub.publish_again, message)
        self._beat(self._states_with(state), now)

    def close(self, error: BaseException | None) -> None:
        """Tell the pages that the stream has ended, and why; then stop the server.

        Raises:
            OutputError: the server did not stop.
        """
        if self._server is None:
            return
        why = "" if error is None else public_words(error)
        self._server.stop(why, failed=error is not None)

    def describe(self) -> Mapping[str, Any]:
        """The page's address without its token, and what its viewers did."""
        described = {"url": self._address.page}
        return described if self._server is None else {**described, **self._server.hub.describe()}

    def _running(self) -> ViewerServer:
        assert self._server is not None, "open comes first"
        self._server.check()
        return self._server

    def _states_with(self, state: State) -> list[str]:
        """The less urgent states of the last frame hold as long as the most urgent one does."""
        return self._states if state.value == self._states[0] else [state.value]

    def _beat(self, states: list[str], now: float) -> None:
        """Say how things stand, at once if it has changed."""
        server = self._running()
        if states == self._states and now - self._last_beat < _BEAT_S:
            return
        self._states, self._last_beat = states, now
        drops = self._last.drops if self._last is not None else 0
        server.call(server.hub.publish_status, states, now, drops)
