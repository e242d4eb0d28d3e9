"""The other ends of a stream, in a process of their own: one browser and one OpenIGTLink client.

    python -m samedge.bench.live.clients --viewer ws://127.0.0.1:8000/stream --igtl 127.0.0.1:18945

They take everything, acknowledge what they would have drawn, and print what came as JSON when
their standard input is closed.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from samedge._optional import importing
from samedge.openigtlink.address import Address
from samedge.openigtlink.connection import Connection
from samedge.openigtlink.image import Image
from samedge.openigtlink.problems import ProtocolError
from samedge.openigtlink.sockets import Wake, connect
from samedge.stream.viewer.message import unpack

with importing("websockets", "stream", "samedge.bench.live"):
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect as connect_web

_WAIT_S = 0.2


class Browser(threading.Thread):
    """Takes frames as a page does, and acknowledges each."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__(name="browser", daemon=True)
        self._url, self._ended = url, stop
        self.frames = 0
        self.seen_ms: list[tuple[float, float]] = []  # (captured, here)
        self.error = ""

    def run(self) -> None:
        try:
            with connect_web(self._url, max_size=None, compression=None) as socket:
                while not self._ended.is_set():
                    with suppress(TimeoutError):
                        self._take(socket, socket.recv(_WAIT_S))
        except (OSError, WebSocketException) as error:
            if not self._ended.is_set():
                self.error = str(error)

    def _take(self, socket: Any, data: str | bytes) -> None:
        if isinstance(data, str):
            return
        header, _, _ = unpack(data)
        socket.send(json.dumps({"drawn": header["number"]}))
        self.frames += 1
        if header["new"]:
            # Both processes are of one machine, whose monotonic clock is one.
            self.seen_ms.append((header["captured_ms"], time.monotonic() * 1e3))


class Slicer(threading.Thread):
    """Takes predictions as 3D Slicer does."""

    def __init__(self, host: str, port: int, stop: threading.Event) -> None:
        super().__init__(name="slicer", daemon=True)
        self._address, self._ended = Address(host, port), stop
        self.images = 0
        self.error = ""

    def run(self) -> None:
        wake = Wake()
        try:
            sock = connect(self._address, wake, 10.0, "the stream")
            if sock is None:
                return
            connection = Connection(sock, "the stream", wake)
            while not self._ended.is_set():
                received = connection.receive(_WAIT_S)
                self.images += received is not None and isinstance(received.body, Image)
            connection.close()
        except ProtocolError as error:
            if not self._ended.is_set():
                self.error = str(error)
        finally:
            wake.close()


def main(arguments: list[str] | None = None) -> int:
    """Run both until standard input is closed; print what came."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--viewer", metavar="URL")
    parser.add_argument("--igtl", metavar="HOST:PORT")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    browser = None if options.viewer is None else Browser(options.viewer, stop)
    slicer = None
    if options.igtl is not None:
        host, _, port = options.igtl.rpartition(":")
        slicer = Slicer(host, int(port), stop)
    threads = [one for one in (browser, slicer) if one is not None]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(10)
    told: dict[str, Any] = {}
    if browser is not None:
        told["browser"] = {
            "frames": browser.frames,
            "seen_ms": browser.seen_ms[-20_000:],
            "error": browser.error,
        }
    if slicer is not None:
        told["slicer"] = {"images": slicer.images, "error": slicer.error}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
