"""The other side, with full control over every byte."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from samedge.openigtlink.crc64 import crc64
from samedge.openigtlink.header import SIZE, Message, parse_body, parse_header
from samedge.openigtlink.image import Image
from samedge.openigtlink.messages import Body, Transform, decode_content, message
from tests.openigtlink.captures import TICKS

PATIENCE_S = 10.0


class Peer:
    """A connected socket that writes bytes and reads whole messages; every wait is bounded."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.settimeout(PATIENCE_S)
        self.skipped: list[str] = []

    def send(self, *messages: Message | bytes) -> None:
        for one in messages:
            self.socket.sendall(one if isinstance(one, bytes) else one.pack())

    def read(self) -> tuple[Message, Body]:
        """The next message, whose checksum has to be right."""
        header = parse_header(self._exactly(SIZE))
        body = self._exactly(header.body_size)
        assert crc64(body) == header.crc
        found = parse_body(header, body)
        return found, decode_content(found)

    def read_until(self, fits: Callable[[Message, Body], bool]) -> tuple[Message, Body]:
        """The next message that fits; others are counted as skipped."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            found, body = self.read()
            if fits(found, body):
                return found, body
            self.skipped.append(found.type)
        raise AssertionError(f"it did not come; instead: {self.skipped[-20:]}")

    def read_type(self, kind: str, device: str = "") -> tuple[Message, Body]:
        return self.read_until(lambda m, _: m.type == kind and (not device or m.device == device))

    def is_closed(self) -> bool:
        """The other side ends the connection, soon."""
        until = time.monotonic() + PATIENCE_S
        try:
            while self.socket.recv(1 << 16):
                if time.monotonic() > until:
                    return False
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def _exactly(self, count: int) -> bytes:
        parts, left = [], count
        while left:
            part = self.socket.recv(left)
            if not part:
                raise ConnectionError("the connection was closed")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        self.socket.close()


class Server:
    """Takes connections at a port of its own, as PLUS does."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(PATIENCE_S)
        self.port = int(self._socket.getsockname()[1])
        self._peers: list[Peer] = []

    def accept(self) -> Peer:
        peer = Peer(self._socket.accept()[0])
        self._peers.append(peer)
        return peer

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._socket.close()


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()


@contextmanager
def connected(port: int) -> Iterator[Peer]:
    peer = Peer(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
    try:
        yield peer
    finally:
        peer.close()


class Runner:
    """Runs something in a thread and keeps what came of it."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self._run = run
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _go(self) -> None:
        try:
            self.result = self._run()
        except BaseException as error:
            self.error = error

    def join(self) -> Runner:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it hangs"
        return self


def eventually(holds: Callable[[], bool], what: str = "it did not come true") -> None:
    """Wait until something holds, for a bounded time."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.005)


def matrix(
    spacing: tuple[float, float] = (0.3, 0.2), centre: tuple[float, float, float] = (1.0, 2.0, 3.0)
) -> np.ndarray:
    """float32 `[4, 4]` of an IMAGE, with (row, column) spacing in mm."""
    found = np.diag([spacing[1], spacing[0], 1.0, 1.0]).astype(np.float32)
    found[:3, 3] = centre
    return found


def picture(height: int = 48, width: int = 64, number: int = 0) -> np.ndarray:
    """uint8 `[H, W]`, symmetric in no way, whose first pixel is `number`."""
    y, x = np.mgrid[:height, :width]
    found = ((3 * x + 7 * y) % 251).astype(np.uint8)
    found[0, 0] = number
    return found


def image_message(
    pixels: np.ndarray | None = None,
    device: str = "Image_Image",
    ticks: int = TICKS,
    place: np.ndarray | None = None,
    axes: str = "RAS",
) -> Message:
    """An IMAGE of one slice."""
    pixels = picture() if pixels is None else pixels
    height, width = pixels.shape[:2]
    body = Image(
        pixels.reshape(1, height, width, -1), matrix() if place is None else place,
        (width, height, 1), axes=axes,
    )  # fmt: skip
    return message(body, device, ticks)


def transform_message(
    device: str = "ImageToReference",
    ticks: int = TICKS,
    place: np.ndarray | None = None,
    metadata: dict[str, str] | None = None,
) -> Message:
    found = np.eye(4, dtype=np.float32) if place is None else np.asarray(place, np.float32)
    return message(Transform(found), device, ticks, metadata)
