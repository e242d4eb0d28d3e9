"""Masks, transforms and states for programs that read OpenIGTLink."""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samedge.errors import OutputError
from samedge.openigtlink import connection as connection_module
from samedge.openigtlink.header import Message
from samedge.openigtlink.image import Image, first_pixel_matrix
from samedge.openigtlink.messages import Body, Point, Points, Status, Text, Transform, message
from samedge.openigtlink.stamps import seconds_from_ticks
from samedge.sources.frame import Frame, Origin
from samedge.sources.uri import parse_uri
from samedge.stream.live.controls import Controls
from samedge.stream.live.controls import Points as PointsCommand
from samedge.stream.live.item import LiveFrame, LiveObject, Times
from samedge.stream.live.item import Status as ObjectStatus
from samedge.stream.live.states import State
from samedge.stream.sinks import igtl_clients as clients_module
from samedge.stream.sinks.igtl_messages import status_text
from samedge.stream.sinks.openigtlink import OpenIgtLinkSink
from tests.openigtlink.captures import TICKS
from tests.openigtlink.peers import (
    Peer,
    Runner,
    connected,
    eventually,
    matrix,
    picture,
    serving,
)
from tests.stream.sinks.live_items import about
from tests.stream.sinks.live_items import item as live_item

HEIGHT, WIDTH = 48, 64
SCHEMES = ("igtl", "igtl+connect")


def one_object(mask: np.ndarray | None, number: int = 1, **more: Any) -> LiveObject:
    """An object that was found, or one without a mask."""
    values: dict[str, Any] = {
        "name": f"object {number}",
        "colour": (255, 0, 0),
        "status": ObjectStatus.FOUND if mask is not None else ObjectStatus.LOST,
        "score": 0.9 if mask is not None else None,
        "area_px": int(np.count_nonzero(mask)) if mask is not None else 0,
    }
    return LiveObject(number, mask=mask, **{**values, **more})


def live_frame(
    pixels: np.ndarray,
    *objects: LiveObject,
    origin: Origin | None = None,
    index: int = 0,
    spacing_mm: tuple[float, float] | None = None,
    **more: Any,
) -> LiveFrame:
    """A frame of just now."""
    now = time.monotonic()
    frame = Frame(
        pixels, index, 0.0, "test", f"test-{index}", spacing_mm, captured_s=now, origin=origin
    )
    given = {"times": Times(captured=now), "expires_s": math.inf, "objects": objects, **more}
    return live_item(index, frame=frame, **given)


def origin(**more: Any) -> Origin:
    values: dict[str, Any] = {"ticks": TICKS + 1, "matrix": matrix(), "device": "Image_Image"}
    return Origin(**{**values, **more})


def mask(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x0, y0, x1, y1 in boxes:
        found[y0:y1, x0:x1] = 1
    return found


def item(*objects: Any, number: int = 0, **more: Any) -> LiveFrame:
    more.setdefault("origin", origin())
    return live_frame(picture(HEIGHT, WIDTH, number), *objects, index=number, **more)


FOUND = one_object(mask((3, 5, 20, 30)))
FOUND_LARGE = one_object(np.ones((2000, 2000), np.uint8))


def from_name(text: str) -> OpenIgtLinkSink:
    return OpenIgtLinkSink.from_uri(parse_uri(text, SCHEMES))


@contextmanager
def serving_sink(options: str = "", controls: Controls | None = None) -> Iterator[OpenIgtLinkSink]:
    sink = from_name(f"igtl://:0{options}")
    sink.open(about(controls=controls or Controls()))
    try:
        yield sink
    finally:
        sink.close(None)


@contextmanager
def with_client(
    options: str = "", controls: Controls | None = None
) -> Iterator[tuple[OpenIgtLinkSink, Peer]]:
    with serving_sink(options, controls) as sink, connected(sink.port) as peer:
        here(sink, 1)
        yield sink, peer


def here(sink: OpenIgtLinkSink, count: int) -> None:
    """So many clients are connected."""
    eventually(lambda: sink.describe()["clients_now"] == count)


def prediction(peer: Peer, name: str = "Prediction") -> tuple[Message, Image]:
    found, body = peer.read_type("IMAGE", name)
    assert isinstance(body, Image)
    return found, body


def state(peer: Peer) -> dict[str, Any]:
    _, body = peer.read_type("STRING", "SamedgeStatus")
    assert isinstance(body, Text)
    return dict(json.loads(body.text))


def rest_of(peer: Peer) -> Iterator[tuple[Message, Body]]:
    """All messages until the connection is closed."""
    while True:
        try:
            yield peer.read()
        except ConnectionError:
            return


def plain(image: Image) -> np.ndarray:
    return image.pixels[0, :, :, 0]


def test_a_mask_with_the_time_and_place_of_its_input() -> None:
    for axes in ("RAS", "LPS"):
        with with_client() as (sink, peer):
            sink.write(item(FOUND, origin=origin(axes=axes)))
            found, image = prediction(peer)
            assert (found.ticks, found.version, image.axes) == (TICKS + 1, 1, axes)
            assert image.size == (WIDTH, HEIGHT, 1)
            assert image.pixels.dtype == np.uint8
            assert image.pixels.shape[3] == 1
            np.testing.assert_array_equal(image.matrix, matrix())
            np.testing.assert_array_equal(plain(image), FOUND.mask)


def test_matrices_of_nans_are_passed_on() -> None:
    with with_client() as (sink, peer):
        place = np.full((4, 4), np.nan, np.float32)
        place[3] = [0, 0, 0, 1]
        sink.write(item(FOUND, origin=origin(matrix=place)))
        np.testing.assert_array_equal(prediction(peer)[1].matrix, place)


def test_values() -> None:
    second = one_object(mask((40, 5, 50, 30)), 7)
    for options, values in (
        ("", [0, 1]),
        ("?values=binary", [0, 1]),
        ("?values=labels", [0, 1, 7]),
    ):
        with with_client(options) as (sink, peer):
            sink.write(item(FOUND, second))
            assert np.unique(plain(prediction(peer)[1])).tolist() == values


def test_classes() -> None:
    classes = np.zeros((HEIGHT, WIDTH), np.uint8)
    classes[10:20] = 3
    for options, value in (("?values=labels", 3), ("", 1)):
        with with_client(options) as (sink, peer):
            sink.write(item(one_object(classes // 3, 3), class_map=classes))
            assert plain(prediction(peer)[1])[10, 0] == value


def test_probabilities_are_scaled_to_bytes() -> None:
    sure = np.full((64, 64), -9, np.float32)
    sure[16:48, 16:48] = 9
    one = one_object(mask((3, 5, 20, 30)), logits=sure)
    with with_client("?values=probability") as (sink, peer):
        sink.write(item(one))
        pixels = plain(prediction(peer)[1])
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert pixels[pixels.shape[0] // 2, pixels.shape[1] // 2] == 255
    with pytest.raises(OutputError, match="or probability"):
        from_name("igtl:?values=logits")


def test_doubtful_masks_are_not_sent_unasked() -> None:
    doubtful = one_object(mask((3, 5, 20, 30)), status=ObjectStatus.DOUBTFUL)
    for options, some in (("", False), ("?doubtful=yes", True)):
        with with_client(options) as (sink, peer):
            sink.write(item(doubtful))
            assert prediction(peer)[1].pixels.any() == some
            assert state(peer)["objects"][0]["status"] == "doubtful"


def test_without_a_mask_an_empty_one_is_sent() -> None:
    with with_client() as (sink, peer):
        sink.write(item(FOUND))
        assert prediction(peer)[1].pixels.any()
        sink.write(item(one_object(None), is_new=False, states=frozenset([State.LOST])))
        found, image = prediction(peer)
        assert not image.pixels.any()
        assert found.ticks == TICKS + 1
        assert state(peer)["state"] == "lost"


def test_a_mask_that_is_too_old_when_its_turn_comes() -> None:
    with with_client() as (sink, peer):
        sink.write(item(FOUND, expires_s=time.monotonic() - 0.001))
        assert not prediction(peer)[1].pixels.any()
        said = state(peer)
        assert said["expired"] is True


def test_a_mask_that_becomes_too_old_without_a_further_frame() -> None:
    with with_client() as (sink, peer):
        sink.write(item(FOUND, expires_s=time.monotonic() + 0.1))
        assert prediction(peer)[1].pixels.any()
        eventually(lambda: (sink.idle(State.NO_SIGNAL), not sink._shown)[1])
        assert not prediction(peer)[1].pixels.any()


def test_a_held_picture_keeps_its_mask() -> None:
    with with_client() as (sink, peer):
        sink.write(item(FOUND, expires_s=math.inf, states=frozenset([State.HELD])))
        sink.idle(State.HELD)
        assert prediction(peer)[1].pixels.any()
        assert state(peer)["state"] == "held"


def test_the_end_leaves_no_mask_behind() -> None:
    for error, said in ((None, "ended"), (RuntimeError("no"), "failed")):
        sink = from_name("igtl://:0")
        sink.open(about())
        with connected(sink.port) as peer:
            here(sink, 1)
            sink.write(item(FOUND))
            assert prediction(peer)[1].pixels.any()
            assert state(peer)["state"] == "live"
            sink.close(error)
            found = list(rest_of(peer))
        images = [body for _, body in found if isinstance(body, Image)]
        assert images
        assert not images[-1].pixels.any()
        texts = [json.loads(body.text)["state"] for _, body in found if isinstance(body, Text)]
        assert texts[-1] == said
        assert [body.code for _, body in found if isinstance(body, Status)][-1] == 19


def test_the_transform_of_the_input() -> None:
    with with_client() as (sink, peer):
        transform = np.arange(16, dtype=np.float32).reshape(4, 4)
        transform[3] = [0, 0, 0, 1]
        sink.write(item(FOUND, origin=origin(transform=transform, transform_ticks=77)))
        found, body = peer.read_type("TRANSFORM")
        assert isinstance(body, Transform)
        assert (found.device, found.ticks) == ("PredToReference", 77)
        np.testing.assert_array_equal(body.matrix, transform)
        # It comes before its image, so that no image is seen at an earlier place.
        assert "IMAGE" not in peer.skipped


def test_a_transform_that_must_not_be_used() -> None:
    invalid = origin(transform=np.eye(4, dtype=np.float32), transform_valid=False)
    with with_client() as (sink, peer):
        sink.write(item(FOUND, origin=invalid))
        state(peer)
        assert "TRANSFORM" not in peer.skipped  # version 1 has no words for it
        peer.send(Message("GET_STATUS", "", version=2).pack())
        assert peer.read_until(lambda m, _: m.version == 2)[0].type == "STATUS"
        sink.write(item(FOUND, origin=invalid))
        found, _ = peer.read_type("TRANSFORM")
        assert found.metadata == {"TransformStatus": "INVALID", "TransformValid": "false"}


def test_names() -> None:
    names = "?name=Inference&transform=InferenceToReference&status=State&image=Image_Image"
    with with_client(names) as (sink, peer):
        sink.write(item(FOUND, origin=origin(transform=np.eye(4, dtype=np.float32))))
        peer.read_type("TRANSFORM", "InferenceToReference")
        found, body = peer.read_type("IMAGE", "Image_Image")
        assert isinstance(body, Image)
        np.testing.assert_array_equal(plain(body), picture(HEIGHT, WIDTH))
        assert found.ticks == prediction(peer, "Inference")[0].ticks
        peer.read_type("STRING", "State")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("?name=a_name_with_21_letters", "name is 'a_name_with_21_letters'; expected a name of up"),
        ("?name=", "expected a name of up to 20 characters"),
        ("?names=a", "did you mean 'name'?"),
        ("?doubtful=perhaps", "expected yes or no"),
        ("?points=world", "expected image or reference"),
        ("?values=grey", "expected binary"),
    ],
)
def test_options_that_are_none(options: str, what: str) -> None:
    with pytest.raises(OutputError) as caught:
        from_name(f"igtl:{options}")
    assert what in str(caught.value)


def test_frames_without_an_origin() -> None:
    """This machine's clock, the frame's spacing, and the first pixel at 0, 0, 0."""
    for spacing in (None, (0.3, 0.2)):
        with with_client() as (sink, peer):
            before = time.time()
            sink.write(item(FOUND, origin=None, spacing_mm=spacing))
            found, image = prediction(peer)
            assert before - 0.1 <= seconds_from_ticks(found.ticks) <= time.time()
            first = first_pixel_matrix(image.matrix, image.size)
            row, column = spacing or (1.0, 1.0)
            np.testing.assert_allclose(first, np.diag([column, row, 1, 1]), atol=1e-5)
            assert image.axes == "RAS"


def test_the_state() -> None:
    with with_client() as (sink, peer):
        named = one_object(FOUND.mask, 2, name="Gef\u00e4\u00df", area_mm2=12.34567, score=math.nan)
        sink.write(item(named, states=frozenset([State.LIVE, State.LATE]), drops=4, number=9))
        said = state(peer)
        assert (said["state"], said["states"]) == ("late", ["late", "live"])
        assert (said["frame"], said["drops"]) == (9, 4)
        assert said["latency_ms"] >= 0
        assert said["objects"] == [
            {
                "number": 2, "name": "Gef\u00e4\u00df", "status": "found", "score": None,
                "area_px": named.area_px, "area_mm2": 12.3457,
            }
        ]  # fmt: skip


def test_a_state_that_is_too_long_for_a_message() -> None:
    said = status_text({"state": "live", "objects": [{"name": "x" * 1000}] * 255})
    assert len(said) <= 65535
    found = json.loads(said)
    assert len(found["objects"]) + found["objects_left_out"] == 255


def test_while_there_is_no_frame_the_state_is_said_and_a_heart_beats() -> None:
    with with_client() as (sink, peer):
        sink.idle(State.NO_SIGNAL)
        assert state(peer)["state"] == "no signal"
        _, body = peer.read_type("STATUS")
        assert isinstance(body, Status)
        assert body.code == 1
        sink.idle(State.STARTING)
        assert state(peer)["state"] == "starting"


@pytest.mark.parametrize("version", [1, 2])
def test_get_status_is_answered_in_the_lower_version(version: int) -> None:
    with with_client() as (_, peer):
        peer.send(Message("GET_STATUS", "x", version=version).pack())
        found, body = peer.read_until(lambda m, _: m.type == "STATUS" and m.version == version)
        assert isinstance(body, Status)
        assert (found.version, body.code) == (version, 1)


def test_several_clients_get_the_same() -> None:
    with serving_sink() as sink, connected(sink.port) as first, connected(sink.port) as second:
        with connected(sink.port) as third:
            here(sink, 3)
            sink.write(item(FOUND))
            images = [prediction(peer)[1].pixels for peer in (first, second, third)]
            assert all((pixels == images[0]).all() for pixels in images)
        here(sink, 2)
        sink.write(item(FOUND, number=1))
        assert state(first)["frame"] in (0, 1)
        assert sink.describe()["gone"] == 1


def test_a_client_that_takes_nothing_is_dropped_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clients_module, "SEND_S", 0.1)
    with serving_sink("?image=Image_Image") as sink:
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", sink.port))
        with connected(sink.port) as peer:
            here(sink, 2)
            large = live_frame(np.zeros((2000, 2000), np.uint8), FOUND_LARGE)
            longest = 0.0
            for _ in range(3):
                began = time.monotonic()
                sink.write(large)
                longest = max(longest, time.monotonic() - began)
                assert prediction(peer)[1].pixels.any()
            here(sink, 1)
            assert sink.describe()["dropped"] == 1
            assert "gone" not in sink.describe()
            assert longest < 5.0
        stalled.close()


def test_a_slow_client_gets_the_newest_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was too slow for is dropped and counted; nothing piles up."""
    monkeypatch.setattr(clients_module, "SEND_S", 30.0)
    with serving_sink("?image=Image_Image") as sink, connected(sink.port) as peer:
        here(sink, 1)
        blank = np.zeros((1000, 1000), np.uint8)
        for number in range(100):
            sink.write(live_frame(blank, index=number))
        numbers = []
        while not numbers or numbers[-1] != 99:
            numbers.append(state(peer)["frame"])
        assert numbers == sorted(numbers)
        assert len(numbers) < 80
    described = sink.describe()
    assert described["frames"] == 100
    assert described["frames skipped"] >= 100 - len(numbers)


def test_a_client_that_is_killed_in_the_middle() -> None:
    with serving_sink("?image=Image_Image") as sink, connected(sink.port) as peer:
        here(sink, 1)
        with connected(sink.port) as killed:
            here(sink, 2)
            # Closing with "linger 0" is what the system does for a process that is killed.
            killed.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sink.write(item(FOUND))
            killed.socket.recv(100)
        for number in range(5):
            sink.write(item(FOUND, number=number))
        here(sink, 1)
        while state(peer)["frame"] != 4:
            pass


def test_half_a_message_from_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SILENCE_S", 0.05)
    with with_client() as (sink, peer):
        peer.send(Message("POINT", "F", content=bytes(136)).pack()[:80])
        here(sink, 0)
        assert peer.is_closed()


def test_clients_that_send_rubbish() -> None:
    with serving_sink() as sink, connected(sink.port) as peer:
        here(sink, 1)
        with connected(sink.port) as web:
            web.send(b"GET / HTTP/1.1\r\n" * 10)
            assert web.is_closed()
        with connected(sink.port) as wrong:
            wrong.send(Message("IMAGE", "x", content=bytes(5000)).pack())
            wrong.send(Message("POINT", "x", content=b"Doe^Jane").pack())
            data = bytearray(message(Points(()), "F", 5).pack(2))
            data[-1] ^= 1
            wrong.send(bytes(data), Message("GET_STATUS", "").pack())
            wrong.read_type("STATUS")
        here(sink, 1)
        sink.write(item(FOUND))
        prediction(peer)
    described = sink.describe()
    assert (described["in: damaged"], described["in: wrong checksum"]) == (1, 1)
    assert "Doe" not in str(described)


def test_too_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients_module, "MAX_CLIENTS", 1)
    with with_client() as (sink, peer), connected(sink.port) as second:
        assert second.is_closed()
        sink.write(item(FOUND))
        prediction(peer)
        assert sink.describe()["refused"] == 1


def click(x: float, y: float, name: str = "F-1") -> Point:
    steps = np.array([x - (WIDTH - 1) / 2, y - (HEIGHT - 1) / 2, 0, 1])
    return Point(name, tuple((matrix() @ steps)[:3].tolist()), "GROUP_0")


def commands(controls: Controls) -> list[Any]:
    found: list[Any] = []
    eventually(lambda: (found.extend(controls.take()), bool(found))[1])
    return found


def test_marks_become_prompts() -> None:
    controls = Controls()
    with with_client("", controls) as (sink, peer):
        # Marks wait for the first frame.
        peer.send(message(Points((click(10, 20), click(12, 25, "-out"))), "Vessel"))
        eventually(lambda: sink.describe().get("marks") == 1)
        assert controls.take() == []
        sink.write(item(FOUND))
        (command,) = commands(controls)
        assert isinstance(command, PointsCommand)
        (((x, y, inside), (_, _, outside)),) = command.points
        assert (x, y) == pytest.approx((10, 20), abs=1e-3)
        assert (inside, outside, command.names) == (True, False, ("Vessel",))
        peer.send(message(Points((click(30, 40),)), "Vessel"))
        (command,) = commands(controls)
        assert command.points[0][0][:2] == pytest.approx((30, 40), abs=1e-3)
        sink.write(item(FOUND))
        peer.send(message(Points(()), "Vessel"))
        assert commands(controls) == [PointsCommand(())]


def test_marks_in_the_frame_of_the_reference() -> None:
    controls = Controls()
    to_reference = np.diag([-1.0, -1.0, 1.0, 1.0]).astype(np.float32)
    to_reference[:3, 3] = [100, 50, 20]
    with with_client("?points=reference", controls) as (sink, peer):
        sink.write(item(FOUND, origin=origin(transform=to_reference)))
        place = (to_reference @ [*click(10, 20).position, 1])[:3].tolist()
        peer.send(message(Points((Point("F-1", tuple(place)),)), "Vessel"))
        (command,) = commands(controls)
        assert command.points[0][0][:2] == pytest.approx((10, 20), abs=1e-3)


def test_marks_that_are_refused_are_counted() -> None:
    controls = Controls()
    with with_client("", controls) as (sink, peer):
        sink.write(item(FOUND))
        lists = [Point(f"F-{n}", click(n, n).position, f"group {n}") for n in range(20)]
        peer.send(message(Points(tuple(lists)), "Many"))
        eventually(lambda: sink.describe()["marks_refused"] == 1)
        sink.write(item(FOUND, number=1))
        peer.read_until(lambda _, b: isinstance(b, Text) and "20 objects came" in b.text)
        peer.send(message(Points((click(1000, 20),)), "Many"))
        eventually(lambda: sink.describe()["marks_left_out"] == 1)


def test_a_port_that_is_in_use() -> None:
    with serving_sink() as sink:
        other = from_name(f"igtl://127.0.0.1:{sink.port}")
        with pytest.raises(OutputError, match="already in use"):
            other.open(about())
        other.close(None)


def test_it_serves_at_the_loopback_address_unless_another_is_named() -> None:
    assert from_name("igtl:")._address.host == "127.0.0.1"
    assert from_name("igtl:")._address.port == 18945
    assert from_name("igtl://0.0.0.0")._address.host == "0.0.0.0"
    assert "0.0.0.0" not in from_name("igtl://0.0.0.0").name
    assert from_name("igtl:").serves == "127.0.0.1:18945"
    assert from_name("igtl://[::1]:7").serves == "[::1]:7"
    assert from_name("igtl+connect://slicer").serves == ""
    with serving_sink() as sink:
        assert sink.serves == f"127.0.0.1:{sink.port}"


def test_connecting_to_a_server() -> None:
    with serving() as server:
        sink = from_name(f"igtl+connect://127.0.0.1:{server.port}")
        sink.open(about())
        peer = server.accept()
        here(sink, 1)
        sink.write(item(FOUND))
        assert prediction(peer)[1].pixels.any()
        peer.close()
        again = server.accept()
        here(sink, 1)
        sink.write(item(FOUND))
        assert prediction(again)[1].pixels.any()
        sink.close(None)
        assert again.is_closed()


def test_nobody_serves_yet() -> None:
    """The stream goes on; the sink tries again, and the end of it is no wait."""
    with serving() as server:
        port = server.port
    sink = from_name(f"igtl+connect://127.0.0.1:{port}")
    sink.open(about())
    sink.write(item(FOUND))
    with socket.create_server(("127.0.0.1", port)) as late:
        late.settimeout(10)
        sock, _ = late.accept()
        here(sink, 1)
        sink.write(item(FOUND))
        assert prediction(Peer(sock))[1].pixels.any()
        sock.close()
    assert Runner(lambda: sink.close(None)).join().error is None


def test_nothing_is_left_behind() -> None:
    """Threads end with the sink, whatever its clients do."""
    before = threading.active_count()
    with serving_sink() as sink, connected(sink.port), connected(sink.port):
        here(sink, 2)
        sink.write(item(FOUND))
    eventually(lambda: threading.active_count() <= before)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of descriptors")
def test_clients_that_come_and_go_leave_no_descriptors() -> None:
    with serving_sink() as sink:
        counts = []
        for _ in range(20):
            with connected(sink.port), connected(sink.port) as peer:
                here(sink, 2)
                sink.write(item(FOUND))
                prediction(peer)
            here(sink, 0)
            eventually(lambda: not any("igtl w" in t.name for t in threading.enumerate()))
            counts.append(len(os.listdir("/proc/self/fd")))
    assert max(counts) - min(counts) <= 4  # those that wait open and close one of their own


def test_a_client_that_cannot_be_taken_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with with_client() as (sink, peer):
        with monkeypatch.context() as broken:
            broken.setattr(clients_module, "Connection", fail)
            with connected(sink.port) as second:
                assert second.is_closed()
        with connected(sink.port) as third:
            here(sink, 2)
            sink.write(item(FOUND))
            prediction(peer)
            prediction(third)
        assert sink.describe()["refused"] == 1


def test_closing_before_opening() -> None:
    from_name("igtl:").close(None)
    assert from_name("igtl:").describe()["frames"] == 0
