"""Frames that come over OpenIGTLink: from a server, or from a sender that connects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import numpy as np
import pytest

from samedge.errors import PromptError, SourceError
from samedge.openigtlink.header import Message
from samedge.openigtlink.image import Image
from samedge.openigtlink.messages import Point, Points, Status, message
from samedge.openigtlink.stamps import TICKS as SECOND
from samedge.sources import openigtlink as module
from samedge.sources.frame import Frame
from samedge.sources.openigtlink import OpenIgtLinkSource, open_openigtlink
from samedge.sources.uri import parse_uri
from tests.openigtlink import captures
from tests.openigtlink.captures import TICKS
from tests.openigtlink.peers import (
    PATIENCE_S,
    Peer,
    Runner,
    connected,
    eventually,
    image_message,
    matrix,
    picture,
    serving,
    transform_message,
)

SCHEMES = ("igtl", "igtl+serve")


class Stream:
    """A source that is read in a thread, as a live stream does."""

    def __init__(self, source: OpenIgtLinkSource) -> None:
        self.source = source
        self.frames: Queue[Frame] = Queue()
        self.reader = Runner(self._read)

    def _read(self) -> None:
        for frame in self.source:
            self.frames.put(frame)

    def frame(self) -> Frame:
        return self.frames.get(timeout=PATIENCE_S)

    def error(self) -> str:
        error = self.reader.join().error
        assert isinstance(error, SourceError), error
        return str(error)


def opened(port: int, options: str = "", scheme: str = "igtl") -> OpenIgtLinkSource:
    return open_openigtlink(parse_uri(f"{scheme}://127.0.0.1:{port}{options}", SCHEMES))


@contextmanager
def streaming(options: str = "") -> Iterator[tuple[Stream, Peer]]:
    """A source that is connected to a server, and the server's side of it."""
    with serving() as server, opened(server.port, options) as source:
        stream = Stream(source)
        peer = server.accept()
        yield stream, peer
        source.interrupt()
        stream.reader.join()


def test_a_frame() -> None:
    before = time.monotonic()
    with streaming() as (stream, peer):
        pixels = picture(48, 64)
        place = matrix((0.3, 0.2), (10.0, -20.0, 30.0))
        peer.send(image_message(pixels, place=place))
        frame = stream.frame()
        assert (frame.index, frame.time_s, frame.source) == (0, 0.0, stream.source.name)
        np.testing.assert_array_equal(frame.pixels, pixels)
        assert frame.pixels.dtype == np.uint8
        assert frame.spacing_mm == pytest.approx((0.3, 0.2))
        assert frame.captured_s is not None
        assert before <= frame.captured_s <= time.monotonic()
        assert frame.stamp_s == TICKS / SECOND
        origin = frame.origin
        assert origin is not None
        assert (origin.ticks, origin.device, origin.axes) == (TICKS, "Image_Image", "RAS")
        np.testing.assert_array_equal(origin.matrix, place)
        assert (origin.transform, origin.transform_ticks) == (None, None)
        peer.send(image_message(picture(number=1), ticks=0))
        second = stream.frame()
        assert (second.index, second.stamp_s, second.pixels[0, 0]) == (1, None, 1)
        assert second.name != frame.name
        assert second.time_s == pytest.approx(second.captured_s - frame.captured_s)  # type: ignore[operator]


def test_what_the_source_says_of_itself() -> None:
    source = opened(18944)
    assert (source.is_live, source.is_loop, source.total, source.kind) == (
        True, True, None, "openigtlink",
    )  # fmt: skip
    assert source.name == source.stem == "igtl-18944"
    source.close()


def test_colour_and_axes() -> None:
    with streaming() as (stream, peer):
        pixels = np.stack([picture(), picture() // 2, 255 - picture()], axis=2)
        peer.send(image_message(pixels, "Image_Reference", axes="LPS"))
        frame = stream.frame()
        np.testing.assert_array_equal(frame.pixels, pixels)
        assert frame.origin is not None
        assert (frame.origin.axes, frame.origin.device) == ("LPS", "Image_Reference")


def test_the_first_message_shows_that_version_2_is_known() -> None:
    """PLUS tells the status of transforms only to those who do."""
    with streaming() as (_, peer):
        found, _body = peer.read()
        assert (found.type, found.version) == ("GET_STATUS", 2)


@pytest.mark.parametrize("version", [1, 2])
def test_get_status_is_answered_in_the_lower_version(version: int) -> None:
    with streaming() as (_, peer):
        peer.read_type("GET_STATUS")
        peer.send(Message("GET_STATUS", "", version=version).pack())
        found, body = peer.read_type("STATUS")
        assert isinstance(body, Status)
        assert (found.version, body.code) == (version, 1)


def test_heartbeats_and_the_rest_are_no_frames() -> None:
    with streaming() as (stream, peer):
        peer.send(captures.STATUS, captures.STRING, captures.POINT, captures.GET_STATUS)
        peer.send(Message("POLYDATA", "mesh", content=bytes(500)).pack(), captures.STATUS)
        peer.send(image_message())
        assert stream.frame().index == 0
        peer.send(message(Status(13, name="Doe"), "PlusServer"))
        eventually(lambda: any("status 13" in note for note in stream.source.warnings))
        assert "Doe" not in str(stream.source.warnings)


def test_the_nearest_transform_is_taken_and_none_is_waited_for() -> None:
    with streaming() as (stream, peer):
        peer.send(image_message())
        assert stream.frame().origin.transform is None  # type: ignore[union-attr]
        for seconds in (-2, -1, 1, 3):
            peer.send(
                transform_message(ticks=TICKS + seconds * SECOND, place=np.eye(4) * abs(seconds))
            )
        peer.send(image_message(ticks=TICKS - int(0.9 * SECOND)))
        origin = stream.frame().origin
        assert origin is not None
        assert origin.transform_ticks == TICKS - SECOND
        assert origin.transform_valid
        assert origin.transform is not None
        np.testing.assert_array_equal(origin.transform[:3], np.eye(4)[:3])
        # Equally near: the newer one.
        peer.send(image_message(ticks=TICKS))
        assert stream.frame().origin.transform_ticks == TICKS + SECOND  # type: ignore[union-attr]


def test_old_transforms_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """By this machine's clock: a stamp may say what it likes."""
    monkeypatch.setattr(module, "TRANSFORM_S", -1.0)
    with streaming() as (stream, peer):
        peer.send(transform_message(), image_message())
        assert stream.frame().origin.transform is None  # type: ignore[union-attr]


def test_names_of_transforms() -> None:
    with streaming() as (stream, peer):
        peer.send(transform_message("NeedleToReference"), image_message())
        assert stream.frame().origin.transform is None  # type: ignore[union-attr]
        peer.send(transform_message("ProbeToReference", TICKS + 1), image_message())
        assert stream.frame().origin.transform_ticks == TICKS + 1  # type: ignore[union-attr]
        peer.send(transform_message("ImageToReference", TICKS + 9), image_message())
        assert stream.frame().origin.transform_ticks == TICKS + 9  # type: ignore[union-attr]
    with streaming("?transform=NeedleToReference") as (stream, peer):
        peer.send(transform_message("ImageToReference"), transform_message("NeedleToReference", 5))
        peer.send(image_message())
        assert stream.frame().origin.transform_ticks == 5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "metadata",
    [
        {"TransformStatus": "INVALID"},
        {"TransformStatus": "OUT_OF_VIEW", "TransformValid": "true"},
        {"TransformValid": "0"},
    ],
)
def test_transforms_that_must_not_be_used(metadata: dict[str, str]) -> None:
    with streaming() as (stream, peer):
        peer.send(transform_message(metadata=metadata).pack(2), image_message())
        origin = stream.frame().origin
        assert origin is not None
        assert not origin.transform_valid
        peer.send(transform_message(metadata={"TransformStatus": "OK"}).pack(2), image_message())
        assert stream.frame().origin.transform_valid  # type: ignore[union-attr]


def test_a_transform_of_nans_must_not_be_used() -> None:
    with streaming() as (stream, peer):
        peer.send(transform_message(place=np.full((4, 4), np.nan)), image_message())
        assert not stream.frame().origin.transform_valid  # type: ignore[union-attr]


def test_names_of_images() -> None:
    with streaming() as (stream, peer):
        peer.send(image_message(device="Other"))
        peer.send(image_message(device="Image_Reference"), image_message(device="Image_Image"))
        peer.send(image_message(device="Image_Reference", ticks=7))
        assert [stream.frame().stamp_s for _ in range(2)] == [TICKS / SECOND, 7 / SECOND]
        assert "'Image_Image' come as well; those called 'Image_Reference' came first" in str(
            stream.source.warnings
        )


def test_only_images_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.0)
    with streaming() as (stream, peer):
        peer.send(image_message(device="Cart_Image"), captures.STATUS)
        eventually(lambda: bool(stream.source.warnings))
        assert "images called Cart_Image come" in stream.source.warnings[0]
        assert "image=NAME" in stream.source.warnings[0]
        assert stream.frames.empty()


def test_no_images_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.0)
    with streaming() as (stream, peer):
        peer.send(Message("VIDEO", "Cart", content=bytes(500)).pack(), captures.STATUS)
        eventually(lambda: bool(stream.source.warnings))
        assert "messages of type VIDEO come" in stream.source.warnings[0]
        assert "no IMAGE" in stream.source.warnings[0]


@pytest.mark.parametrize("name", ["Cart_Image", "*"])
def test_images_by_the_name_that_is_asked_for(name: str) -> None:
    with streaming(f"?image={name}") as (stream, peer):
        peer.send(image_message(device="Cart_Image"))
        assert stream.frame().origin.device == "Cart_Image"  # type: ignore[union-attr]


def test_stamps_that_run_backwards_or_into_the_future() -> None:
    with streaming() as (stream, peer):
        for ticks in (TICKS, TICKS + 10**18, TICKS - SECOND, 1, (1 << 64) - 1):
            peer.send(image_message(ticks=ticks))
            frame = stream.frame()
            assert frame.origin.ticks == ticks  # type: ignore[union-attr]
            assert frame.time_s is not None
            assert 0 <= frame.time_s < PATIENCE_S


def test_the_size_and_the_kind_change() -> None:
    with streaming() as (stream, peer):
        for shape in ((48, 64), (100, 30), (48, 64, 3), (16, 16), (700, 900)):
            pixels = np.zeros(shape, np.uint8)
            peer.send(image_message(pixels))
            assert stream.frame().pixels.shape == shape


@pytest.mark.parametrize("step", [np.nan, 0.0, np.inf, 1e-30, 3e38])
def test_spacing_that_is_none(step: float) -> None:
    with streaming() as (stream, peer):
        place = matrix()
        place[0, 0] = step
        peer.send(image_message(place=place))
        frame = stream.frame()
        assert frame.spacing_mm is None
        np.testing.assert_array_equal(frame.origin.matrix, place)  # type: ignore[union-attr]
        assert "the size of a pixel is unknown" in str(stream.source.warnings)


def test_pixels_of_one_millimetre_are_no_calibration() -> None:
    with streaming() as (stream, peer):
        peer.send(image_message(place=np.eye(4, dtype=np.float32)))
        assert stream.frame().spacing_mm is None
        assert "uncalibrated" in str(stream.source.warnings)
        # ImageToReference of PLUS has the scale.
        scaled = np.diag([0.2, 0.3, 0.2, 1.0])
        peer.send(transform_message(place=scaled))
        peer.send(image_message(place=np.eye(4, dtype=np.float32)))
        assert stream.frame().spacing_mm == pytest.approx((0.3, 0.2))
        invalid = {"TransformStatus": "INVALID"}
        peer.send(transform_message(place=scaled, metadata=invalid).pack(2))
        peer.send(image_message(place=np.eye(4, dtype=np.float32)))
        assert stream.frame().spacing_mm is None


@pytest.mark.parametrize(("option", "expected"), [("0.5", (0.5, 0.5)), ("0.5,0.25", (0.5, 0.25))])
def test_spacing_that_is_given(option: str, expected: tuple[float, float]) -> None:
    with streaming(f"?spacing={option}") as (stream, peer):
        peer.send(image_message())
        assert stream.frame().spacing_mm == expected


def test_the_sender_goes_and_comes_back() -> None:
    with serving() as server, opened(server.port) as source:
        stream = Stream(source)
        peer = server.accept()
        peer.send(image_message())
        first = stream.frame()
        peer.close()
        assert "the other side closed the connection" in stream.error()
        stream = Stream(source)
        server.accept().send(image_message(picture(number=9)))
        again = stream.frame()
        assert (again.index, again.pixels[0, 0]) == (1, 9)
        assert again.name != first.name
        assert again.time_s is not None
        assert again.time_s > 0
        source.interrupt()
        stream.reader.join()


def test_half_an_image_and_gone() -> None:
    with streaming() as (stream, peer):
        data = image_message().pack()
        peer.send(data, data[:1000])
        peer.close()
        stream.frame()
        assert "in the middle of a message" in stream.error()


def test_wrong_checksums_cost_frames_and_nothing_else() -> None:
    with streaming() as (stream, peer):
        data = bytearray(image_message().pack())
        data[-1] ^= 1
        peer.send(bytes(data), image_message(picture(number=5)))
        assert stream.frame().pixels[0, 0] == 5
        assert "wrong checksum" in str(stream.source.warnings)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text", "no OpenIGTLink"),
        (captures.IMAGE[:42] + b"\x7f" * 8 + captures.IMAGE[50:58], "at most 1,024 MB"),
    ],
)
def test_what_is_no_sender(data: bytes, what: str) -> None:
    with streaming() as (stream, peer):
        peer.send(data)
        assert what in stream.error()


@pytest.mark.parametrize("shape", [(15, 64), (64, 4097)])
def test_sides_that_no_frame_has(shape: tuple[int, int]) -> None:
    with streaming() as (stream, peer):
        peer.send(image_message(np.zeros(shape, np.uint8)))
        assert "16 to 4096 px" in stream.error()


def test_nobody_serves() -> None:
    with serving() as server:
        port = server.port
    with opened(port) as source:
        assert "does it serve there?" in Stream(source).error()


def test_interrupted_while_it_waits() -> None:
    with serving() as server, opened(server.port) as source:
        stream = Stream(source)
        server.accept()
        source.interrupt()
        assert stream.reader.join().error is None
        assert list(source) == []


def test_serving() -> None:
    with opened(0, scheme="igtl+serve") as source:
        stream = Stream(source)
        eventually(lambda: source.port > 0)
        with connected(source.port) as peer:
            assert peer.read()[0].type == "GET_STATUS"
            peer.send(image_message(picture(number=3)))
            assert stream.frame().pixels[0, 0] == 3
        assert "closed the connection" in stream.error()
        # The port stays open, and the next sender waits there.
        with connected(source.port) as peer:
            stream = Stream(source)
            peer.send(image_message(picture(number=4)))
            assert stream.frame().pixels[0, 0] == 4
            source.interrupt()
            assert stream.reader.join().error is None


def test_nobody_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEPT_S", 0.05)
    with opened(0, scheme="igtl+serve") as source:
        assert "nobody connected within 0.05 s" in Stream(source).error()


def test_interrupted_while_nobody_connects() -> None:
    with opened(0, scheme="igtl+serve") as source:
        stream = Stream(source)
        eventually(lambda: source.port > 0)
        source.interrupt()
        assert stream.reader.join().error is None


def test_a_second_sender_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.02)
    with opened(0, scheme="igtl+serve") as source:
        stream = Stream(source)
        eventually(lambda: source.port > 0)
        with connected(source.port) as peer, connected(source.port) as other:
            peer.send(image_message())
            stream.frame()
            eventually(lambda: (peer.send(captures.STATUS), bool(source.warnings))[1])
            assert other.is_closed()
            assert "a second sender was turned away" in source.warnings[0]
            peer.send(image_message(picture(number=8)))
            assert stream.frame().pixels[0, 0] == 8
            source.interrupt()
            stream.reader.join()


def test_a_silent_sender_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_S", 0.02)
    monkeypatch.setattr(module, "DEAD_S", -1.0)
    with opened(0, scheme="igtl+serve") as source:
        stream = Stream(source)
        eventually(lambda: source.port > 0)
        with connected(source.port), connected(source.port) as other:
            assert "takes the place of a silent one" in stream.error()
            stream = Stream(source)
            other.send(image_message(picture(number=6)))
            assert stream.frame().pixels[0, 0] == 6
            source.interrupt()
            stream.reader.join()


def test_a_port_that_is_in_use() -> None:
    with serving() as server, opened(server.port, scheme="igtl+serve") as source:
        assert "already in use" in Stream(source).error()


def click(x: float, y: float, place: np.ndarray, width: int = 64, height: int = 48) -> Point:
    steps = np.array([x - (width - 1) / 2, y - (height - 1) / 2, 0, 1])
    return Point("F-1", tuple((place @ steps)[:3].tolist()), "GROUP_0")


def test_marks_become_prompts() -> None:
    got: Queue[tuple[object, object]] = Queue()
    with serving() as server, opened(server.port) as source:
        source.on_points = lambda points, names: got.put((points, names))
        stream = Stream(source)
        peer = server.accept()
        # Marks wait for the first image.
        peer.send(message(Points((click(10, 20, matrix()),)), "Vessel"))
        peer.send(image_message(), image_message())
        (((x, y, inside),),), names = got.get(timeout=PATIENCE_S)  # type: ignore[misc]
        assert (x, y) == pytest.approx((10, 20), abs=1e-3)
        assert (inside, names) == (True, ("Vessel",))
        stream.frame()
        stream.frame()
        assert got.empty()
        peer.send(message(Points((click(30, 40, matrix()),)), "Vessel"))
        (((x, y, _),),), _ = got.get(timeout=PATIENCE_S)  # type: ignore[misc]
        assert (x, y) == pytest.approx((30, 40), abs=1e-3)
        peer.send(message(Points(()), "Vessel"))
        assert got.get(timeout=PATIENCE_S) == ((), ())
        source.interrupt()
        stream.reader.join()


def test_marks_in_the_frame_of_the_reference() -> None:
    got: Queue[object] = Queue()
    to_reference = np.diag([-1.0, -1.0, 1.0, 1.0])
    to_reference[:3, 3] = [100, 50, 20]
    with serving() as server, opened(server.port, "?points=reference") as source:
        source.on_points = lambda points, _: got.put(points)
        stream = Stream(source)
        peer = server.accept()
        peer.send(transform_message(place=to_reference), image_message())
        stream.frame()
        peer.send(message(Points((click(10, 20, to_reference @ matrix()),)), "Vessel"))
        (((x, y, _),),) = got.get(timeout=PATIENCE_S)  # type: ignore[misc]
        assert (x, y) == pytest.approx((10, 20), abs=1e-3)
        source.interrupt()
        stream.reader.join()


def test_marks_that_nobody_takes() -> None:
    def refuse(*_: object) -> None:
        raise PromptError("too many")

    with serving() as server, opened(server.port) as source:
        source.on_points = refuse
        stream = Stream(source)
        peer = server.accept()
        peer.send(image_message())
        stream.frame()
        peer.send(message(Points((click(1000, 20, matrix()),)), "Jane"))
        peer.send(image_message())
        stream.frame()
        assert "marks were refused: too many" in str(source.warnings)
        assert "do not lie in the image" in str(source.warnings)
        assert "Jane" not in str(source.warnings)
        source.interrupt()
        stream.reader.join()


def test_parts_of_an_image() -> None:
    with streaming() as (stream, peer):
        pixels = picture(48, 64)
        peer.send(image_message(pixels))
        whole = stream.frame()
        part = Image(np.full((1, 8, 16, 1), 200, np.uint8), matrix(), (64, 48, 1), (10, 20, 0))
        peer.send(message(part, "Image_Image", TICKS))
        expected = pixels.copy()
        expected[20:28, 10:26] = 200
        np.testing.assert_array_equal(stream.frame().pixels, expected)
        np.testing.assert_array_equal(whole.pixels, pixels)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("?image=", "image is ''; expected up to 20 characters"),
        ("?image=a_name_with_21_letters", "expected up to 20 characters"),
        ("?window=3", "expected BLACK,WHITE"),
        ("?window=3,3", "expected BLACK,WHITE"),
        ("?window=0,nan", "expected BLACK,WHITE"),
        ("?spacing=0", "expected the size of a pixel in mm"),
        ("?points=world", "expected image or reference"),
        ("?images=a", "did you mean 'image'?"),
        (":5", "is no address"),
    ],
)
def test_names_that_are_none(options: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        opened(18944, options)
    assert what in str(caught.value)
