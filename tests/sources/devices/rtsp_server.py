"""A small RTSP server: one client at a time, H.264 over RTP inside the connection (RFC 2326, 6184).

It can fall silent, and die in the middle of a frame.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType

import av
import numpy as np

SIZE = (96, 128)
RATE = 30
_MTU = 1000
_START = 3  # a stream is joined where it is, not where decoding can begin


def levels(number: int) -> int:
    """Grey level of the frame `number`."""
    return 40 + 20 * (number % 8)


def encoded(count: int) -> list[list[bytes]]:
    """`count` grey frames as NAL units; decoding can begin with the first one alone."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = SIZE
    encoder.pix_fmt, encoder.framerate = "yuv420p", RATE
    encoder.gop_size = count
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "qp": "20"}
    found = []
    for number in range(count):
        pixels = np.full((*SIZE, 3), levels(number), np.uint8)
        pixels[: SIZE[0] // 2] = np.random.default_rng(number).integers(0, 255, (48, 128, 1))
        packets = encoder.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        data = b"".join(bytes(packet) for packet in packets)
        parts = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
        found.append([part for part in parts if part])
    return found


class RtspServer:
    """Use it in a `with` block; it sends frames as long as `flowing` is set.

    Attributes:
        flowing: cleared: the server is silent.
        die: set: the connection ends in the middle of the next frame.
        requests: request lines that came.
    """

    def __init__(self, password: str = "") -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._allowed = base64.b64encode(password.encode()).decode() if password else ""
        self.flowing, self.die, self._ended = (threading.Event() for _ in range(3))
        self.flowing.set()
        self.requests: list[str] = []
        self._frames = encoded(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}/live"

    def __enter__(self) -> RtspServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        self._socket.settimeout(0.1)
        while not self._ended.is_set():
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(0.001)
                self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        """Answer, and send once it plays."""
        waiting, playing = b"", False
        packets: Iterator[bytes] = iter(())
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                data = client.recv(4096)
                if not data:
                    return
                waiting += data
            while b"\r\n\r\n" in waiting:
                request, _, waiting = waiting.partition(b"\r\n\r\n")
                if request.startswith(b"$"):  # the client's own reports
                    continue
                client.sendall(self._answer(request.decode(errors="replace")))
                if b"PLAY rtsp" in request:
                    playing, packets = True, self._rtp()
            if playing and self.flowing.is_set():
                packet = next(packets)
                if self.die.is_set():
                    client.sendall(packet[: len(packet) // 2])
                    self.die.clear()
                    return
                client.sendall(packet)
                if packet[5] & 0x80:  # the frame's last one
                    self._ended.wait(1 / RATE)

    def _answer(self, request: str) -> bytes:
        line, *headers = request.split("\r\n")
        self.requests.append(line)
        fields = dict(header.split(": ", 1) for header in headers if ": " in header)
        status, more, body = "200 OK", "", ""
        if self._allowed and fields.get("Authorization") != f"Basic {self._allowed}":
            status, more = "401 Unauthorized", 'WWW-Authenticate: Basic realm="test"\r\n'
        elif "/live" not in line:
            status = "404 Not Found"
        elif line.startswith("OPTIONS"):
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif line.startswith("DESCRIBE"):
            body = self._description()
            more = "Content-Type: application/sdp\r\n"
        elif line.startswith("SETUP"):
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7\r\n"
        elif line.startswith("PLAY"):
            more = "Session: 7\r\n"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"RTSP/1.0 {status}\r\nCSeq: {fields.get('CSeq', '0')}\r\n{more}{length}\r\n"
        return (head + body).encode()

    def _description(self) -> str:
        sets = [unit for unit in self._frames[0] if unit[0] & 31 in (7, 8)]
        sprop = ",".join(base64.b64encode(unit).decode() for unit in sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets="
            f"{sprop}\r\na=control:track\r\n"
        )

    def _rtp(self) -> Iterator[bytes]:
        """Packets without an end, each behind its length; a frame every 1 / RATE s."""
        sequence, number = 0, _START
        while True:
            units = [p for unit in self._frames[number % 8] for p in _payloads(unit)]
            for place, payload in enumerate(units):
                last = place == len(units) - 1
                stamp = number * 90000 // RATE
                head = struct.pack(
                    ">BBHII", 0x80, 96 | (0x80 if last else 0), sequence & 0xFFFF, stamp, 1
                )
                sequence += 1
                yield struct.pack(">BBH", 0x24, 0, len(head) + len(payload)) + head + payload
            number += 1


def _payloads(unit: bytes) -> Iterator[bytes]:
    """A NAL unit, in fragments where it is long (FU-A)."""
    if len(unit) <= _MTU:
        yield unit
        return
    head, body = unit[0], unit[1:]
    for start in range(0, len(body), _MTU):
        end = start + _MTU >= len(body)
        flags = (0x80 if start == 0 else 0) | (0x40 if end else 0) | (head & 31)
        yield bytes([(head & 0xE0) | 28, flags]) + body[start : start + _MTU]
