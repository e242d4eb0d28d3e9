"""Programs that a viewer has as guests."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from samedge.stream.viewer.message import unpack
from samedge.stream.viewer.server import ViewerServer
from tests.stream.viewer.made import Stream, frame_of, picture

WAIT_S = 20.0
FRAME = frame_of(picture())


@contextmanager
def joined(stream: Stream, origin: str | None = None, **options: Any) -> Iterator[ClientConnection]:
    """A program that is connected; the greeting still waits to be read."""
    parts = urlsplit(stream.sink.url)
    query = f"?{parts.query}" if parts.query else ""
    address = f"ws://{parts.netloc}/stream{query}"
    with connect(address, proxy=None, origin=origin, max_size=None, **options) as one:  # type: ignore[arg-type]
        yield one


def listen(one: ClientConnection, key: str) -> dict[str, Any]:
    """The next text message that has `key`; what comes before it is passed over."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        message = one.recv(timeout=WAIT_S)
        if isinstance(message, str) and key in json.loads(message):
            value: dict[str, Any] = json.loads(message)
            return value
    raise TimeoutError(key)


def frame(one: ClientConnection) -> dict[str, Any]:
    """The header of the next frame."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        message = one.recv(timeout=WAIT_S)
        if isinstance(message, bytes):
            return unpack(message)[0]
    raise TimeoutError("no frame")


def drawn(one: ClientConnection, number: int, **more: Any) -> None:
    one.send(json.dumps({"drawn": number, **more}))


def closed(one: ClientConnection) -> int:
    """The code with which the server closes; 0: without a word."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            one.recv(timeout=WAIT_S)
        except ConnectionClosed as error:
            return 0 if error.rcvd is None else error.rcvd.code
    raise TimeoutError("it was not closed")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.005)


def server_of(stream: Stream) -> ViewerServer:
    server = stream.sink._server
    assert server is not None
    return server


def connections(stream: Stream) -> set[Any]:
    return server_of(stream)._server.server_state.connections


def refused(stream: Stream) -> dict[str, int]:
    counts: dict[str, int] = stream.sink.describe()["refused"]
    return counts


def get(stream: Stream, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body."""
    parts = urlsplit(stream.sink.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=WAIT_S)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": parts.netloc, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def frame_count(one: ClientConnection) -> int:
    """Frames that wait to be read."""
    count = 0
    try:
        while True:
            count += isinstance(one.recv(timeout=0.1), bytes)
    except TimeoutError:
        return count


def raw(stream: Stream) -> socket.socket:
    """A connection that is a WebSocket, and reads nothing by itself."""
    place = urlsplit(stream.sink.url)
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(WAIT_S)
    assert place.hostname
    assert place.port
    one.connect((place.hostname, place.port))
    one.sendall(
        f"GET /stream HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return one
