"""From the device's pixels to each screen: which frame is seen, with which mask, and when.

The source draws a counter into every frame. The model's mask is the white of that counter, so a
mask tells by itself which frame it was made of.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_web

from samedge.drawing.counter_strip import draw_counter, read_counter, strip_height
from samedge.openigtlink.address import Address
from samedge.openigtlink.connection import Connection
from samedge.openigtlink.image import Image
from samedge.openigtlink.problems import ProtocolError
from samedge.openigtlink.sockets import Wake, connect
from samedge.sources.frame import Frame, Origin, Source
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.stream import LiveStream
from samedge.stream.sinks.openigtlink import OpenIgtLinkSink
from samedge.stream.sinks.opening import open_sink
from samedge.stream.viewer import ViewerSink
from samedge.stream.viewer.message import unpack
from tests.browser import Browser
from tests.stream.live.parts import Collect, Model

HEIGHT, WIDTH = 240, 320
FRAMES = 150
TICKS = 1 << 32  # a second; frame n carries n + 1 of them


class Counting(Source):
    """Frames that carry their number in their pixels and in their stamp."""

    kind = "counting"
    is_live = True
    ends = True

    def __init__(self, frames: int = FRAMES) -> None:
        super().__init__("counting")
        self._frames = frames
        self._stop = threading.Event()
        self.go = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        assert self.go.wait(20)
        start = time.monotonic()
        noise = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH)).astype(np.uint8)
        for number in range(self._frames):
            if self._stop.wait(max(start + number / 60 - time.monotonic(), 0)):
                return
            pixels = np.roll(noise, number, axis=1)
            draw_counter(pixels, number)
            origin = Origin((number + 1) * TICKS, np.diag([0.5, 0.5, 1, 1]).astype(np.float32))
            yield Frame(
                pixels, 0, None, "counting", f"{number}", captured_s=time.monotonic(), origin=origin
            )

    def interrupt(self) -> None:
        self._stop.set()
        self.go.set()


class Strip(Model):
    """Its mask is what is white in the strip; now and then it takes longer than a frame."""

    def predict(self, **prompts: Any) -> Any:
        answer = super().predict(**prompts)
        answer.masks[:, : HEIGHT - strip_height(HEIGHT)] = 0
        if self.predictions % 7 == 0:
            time.sleep(0.03)
        return answer


class Page(threading.Thread):
    """A viewer's page without a screen."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.seen: list[tuple[int | None, int | None]] = []
        self.ready = threading.Event()

    def run(self) -> None:
        with (
            suppress(ConnectionClosed),  # the stream is over
            connect_web(self._url, max_size=None, proxy=None) as socket,
        ):
            self.ready.set()
            for data in socket:
                if isinstance(data, str):
                    if "end" in json.loads(data):
                        return
                    continue
                header, jpeg, masks = unpack(data)
                socket.send(json.dumps({"drawn": header["number"]}))
                picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
                mask = masks[0] if masks else None
                self.seen.append((read_counter(np.asarray(picture, np.uint8)), _counter(mask)))


class Client(threading.Thread):
    """An OpenIGTLink client, as 3D Slicer is one."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._wake = Wake()
        sock = connect(Address("127.0.0.1", port), self._wake, 10.0, "stream")
        assert sock is not None
        self._connection = Connection(sock, "stream", self._wake)
        self.seen: list[tuple[int, int | None]] = []

    def run(self) -> None:
        try:
            while True:
                received = self._connection.receive(20.0)
                if received is not None and isinstance(received.body, Image):
                    pixels = np.asarray(received.body.pixels, np.uint8).reshape(HEIGHT, WIDTH)
                    number = received.message.ticks // TICKS - 1
                    self.seen.append((number, _counter(pixels)))
        except ProtocolError:  # the stream is over
            self._connection.close()
            self._wake.close()


def _counter(mask: NDArray[np.uint8] | None) -> int | None:
    return None if mask is None else read_counter(np.asarray(mask != 0, np.uint8) * np.uint8(255))


def test_every_sink_shows_a_frame_with_its_own_mask(tmp_path: Path) -> None:
    viewer, igtl, kept = ViewerSink(port=0), OpenIgtLinkSink(Address("127.0.0.1", 0)), Collect()
    movie = tmp_path / "out.mp4"
    source = Counting()
    stream = LiveStream(
        Strip(),
        source,
        [(10.0, 10.0)],
        sinks=[viewer, igtl, open_sink(f"mp4:{movie}"), kept],
    )
    stream.start()
    page = Page(viewer.url.replace("http", "ws", 1) + "stream")
    page.start()
    assert page.ready.wait(20)
    client = Client(igtl.port)
    client.start()
    source.go.set()
    record = stream.run()
    page.join(20)
    client.join(20)

    shown = [i for i in kept.items if i.is_new]
    numbers = [read_counter(i.frame.pixels) for i in shown]
    assert numbers == sorted(set(numbers))
    assert [_counter(i.objects[0].mask) for i in shown if i.has_masks] == [
        read_counter(i.frame.pixels) for i in shown if i.has_masks
    ]

    assert len(page.seen) > 20
    assert all(frame == mask for frame, mask in page.seen if mask is not None), page.seen
    assert [n for n, _ in page.seen] == sorted(n for n, _ in page.seen if n is not None)

    pairs = [(number, mask) for number, mask in client.seen if mask is not None]
    assert len(pairs) > 20
    assert all(number == mask for number, mask in pairs), pairs
    assert [n for n, _ in client.seen] == sorted(n for n, _ in client.seen)

    film = _film(movie)
    assert len(film) == len(shown)
    assert [frame for frame, _ in film] == numbers
    assert all(mask in (frame, None) for frame, mask in film)
    assert sum(mask is not None for _, mask in film) > 5  # where contours leave room for it

    counts = record.counts
    assert counts["captured"] == counts["accounted"] == FRAMES
    for sink in record.sinks:
        assert sink["offered"] == sink["written"] + sink["dropped"]


def test_what_a_screen_shows_is_one_frame_with_its_own_mask(tmp_path: Path) -> None:
    """Screenshots of the page in Chromium, while the stream runs."""
    viewer, source = ViewerSink(port=0), Counting(100_000)
    patient = LiveSettings(deadline_s=20, expire_s=20)  # on a machine that is busy
    stream = LiveStream(Strip(), source, [(10.0, 10.0)], sinks=[viewer], settings=patient).start()
    with Browser.start(tmp_path) as browser:
        page = browser.open(viewer.url, 900, 700)
        page.wait("!['CONNECTING'].includes(document.querySelector('#word').innerText)")
        source.go.set()
        page.wait("document.querySelector('#word').innerText === 'LIVE'")
        seen: list[tuple[int | None, int | None]] = []
        end = time.monotonic() + 30
        while len({f for f, m in seen if None not in (f, m)}) < 4 and time.monotonic() < end:
            left, top, width, height = (round(v) for v in page.box("#sheet"))
            shot = page.screenshot()[top : top + height, left : left + width]
            colour = shot.max(2).astype(int) - shot.min(2)
            frame = read_counter(np.asarray(shot.mean(2), np.uint8))
            mask = read_counter(np.where(colour > 25, 255, 0).astype(np.uint8))
            seen.append((frame, mask))
        assert not page.errors
    stream.finish()
    frames = [frame for frame, _ in seen if frame is not None]
    assert frames == sorted(frames)
    pairs = [(frame, mask) for frame, mask in seen if None not in (frame, mask)]
    assert len(pairs) >= 4
    assert all(frame == mask for frame, mask in pairs), pairs


def _film(path: Path) -> list[tuple[int | None, int | None]]:
    """Counters of the frames of a video, and of the masks drawn over them in colour."""
    found = []
    with av.open(str(path)) as container:
        for decoded in container.decode(video=0):
            picture = decoded.to_ndarray(format="rgb24")
            tall = round(HEIGHT * picture.shape[1] / WIDTH)
            frame = picture[:tall]
            colour = frame.max(2).astype(int) - frame.min(2)
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            tint = np.where(colour > 12, 255, 0).astype(np.uint8)
            found.append((read_counter(np.asarray(grey, np.uint8)), read_counter(tint)))
    return found
