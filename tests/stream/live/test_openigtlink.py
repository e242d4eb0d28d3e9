"""From a sender over OpenIGTLink through a whole live stream to a receiver: PLUS and Slicer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from samedge.openigtlink.address import Address
from samedge.openigtlink.image import Image
from samedge.openigtlink.messages import Point, Points, Text, message
from samedge.sources.openigtlink import OpenIgtLinkSource
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.states import Kind
from samedge.stream.live.stream import LiveStream
from samedge.stream.sinks.igtl_messages import IgtlNames
from samedge.stream.sinks.openigtlink import OpenIgtLinkSink
from tests.openigtlink.captures import TICKS
from tests.openigtlink.peers import (
    Peer,
    Server,
    connected,
    eventually,
    image_message,
    matrix,
    serving,
    transform_message,
)
from tests.stream.live.parts import HEIGHT, WIDTH, Model, number_of, picture


class Setup:
    """PLUS, samedge and Slicer."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.source = OpenIgtLinkSource(Address("127.0.0.1", server.port))
        self.sink = OpenIgtLinkSink(Address("127.0.0.1", 0), names=IgtlNames(image="Image_Image"))
        self.alarms: list[Kind] = []
        self.stream = LiveStream(
            Model(),
            self.source,
            sinks=[self.sink],
            settings=LiveSettings(retry_s=0.01, expire_s=20, signal_s=20, deadline_s=20),
            on_alarm=lambda alarm: self.alarms.append(alarm.kind),
        )
        self.number = 0

    def send(self, plus: Peer) -> None:
        """The next frame, which tells its number in its pixels and in its time stamp."""
        place = matrix(centre=(self.number, 2.0, 3.0))
        ticks = TICKS + self.number
        plus.send(transform_message(ticks=ticks), image_message(picture(self.number), ticks=ticks,
                                                                place=place))  # fmt: skip
        self.number += 1


@pytest.fixture
def setup() -> Iterator[Setup]:
    with serving() as server:
        found = Setup(server)
        try:
            with found.stream.start():
                yield found
        finally:
            found.source.close()


def click(x: float, y: float) -> Points:
    steps = np.array([x - (WIDTH - 1) / 2, y - (HEIGHT - 1) / 2, 0, 1])
    return Points((Point("F-1", tuple((matrix(centre=(0, 2, 3)) @ steps)[:3].tolist())),))


def next_pair(slicer: Peer) -> tuple[int, int, Image, Image]:
    """Time stamps and images of the next frame and of the mask that comes with it."""
    shown, frame = slicer.read_type("IMAGE", "Image_Image")
    masked, mask = slicer.read_type("IMAGE", "Prediction")
    assert isinstance(frame, Image)
    assert isinstance(mask, Image)
    return shown.ticks, masked.ticks, frame, mask


def test_the_mask_is_that_of_its_frame(setup: Setup) -> None:
    plus = setup.server.accept()
    with connected(setup.sink.port) as slicer:
        eventually(lambda: setup.sink.describe()["clients_now"] == 1)
        setup.send(plus)
        # Before a prompt there is a frame, and an empty mask.
        *_, mask = next_pair(slicer)
        assert not mask.pixels.any()
        slicer.send(message(click(WIDTH / 2, HEIGHT / 2), "Vessel"))
        seen = set()
        while len(seen) < 5:
            setup.send(plus)
            shown, masked, frame, mask = next_pair(slicer)
            number = number_of(frame.pixels[0, :, :, 0])
            assert shown == masked == TICKS + number
            np.testing.assert_array_equal(mask.matrix, matrix(centre=(number, 2.0, 3.0)))
            if mask.pixels.any():
                expected = picture(number) > 127
                expected[0] = False
                np.testing.assert_array_equal(mask.pixels[0, :, :, 0] != 0, expected)
                seen.add(number)
        assert '"Vessel"' in str(slicer.read_until(lambda _, b: isinstance(b, Text))[1])


def test_marks_of_the_sender(setup: Setup) -> None:
    """PLUS passes on what Slicer sent to it."""
    plus = setup.server.accept()
    with connected(setup.sink.port) as slicer:
        eventually(lambda: setup.sink.describe()["clients_now"] == 1)
        setup.send(plus)
        plus.send(message(click(WIDTH / 2, HEIGHT / 2), "Vessel"))
        setup.send(plus)
        slicer.read_until(lambda _, body: isinstance(body, Image) and body.matrix[0, 0] > 0
                          and body.pixels.max() == 1)  # fmt: skip


def test_the_sender_dies_and_comes_back(setup: Setup) -> None:
    plus = setup.server.accept()
    with connected(setup.sink.port) as slicer:
        eventually(lambda: setup.sink.describe()["clients_now"] == 1)
        setup.send(plus)
        next_pair(slicer)
        plus.send(image_message().pack()[:500])
        plus.close()
        again = setup.server.accept()
        setup.send(again)
        # The old frame may come once more, with another state.
        slicer.read_until(lambda m, b: isinstance(b, Image) and m.ticks == TICKS + 1)
        assert Kind.SOURCE in setup.alarms
