"""The usual Python package for OpenIGTLink reads what we write, and we read what it writes.

Its server reads signals, so it is built in the main thread. Its client cannot connect on Linux (a
time limit of 10 ms and no second look), so a socket is handed to what it has for receiving.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from samedge.openigtlink.crc64 import crc64
from samedge.openigtlink.header import SIZE, Message, parse_body, parse_header
from samedge.openigtlink.image import Image, centre_matrix, first_pixel_matrix
from samedge.openigtlink.messages import (
    Point,
    Points,
    Text,
    Transform,
    decode_content,
    message,
)
from samedge.openigtlink.stamps import ticks_from_seconds
from samedge.sources.frame import Frame, Origin
from samedge.sources.openigtlink import open_openigtlink
from samedge.sources.uri import parse_uri
from samedge.stream.live.controls import Controls
from samedge.stream.live.item import LiveFrame
from samedge.stream.sinks.openigtlink import OpenIgtLinkSink
from tests.openigtlink.peers import eventually, picture
from tests.stream.sinks.live_items import about, found, item

pyigtl = pytest.importorskip("pyigtl")

STAMP = 1484870400.5


def read(data: bytes) -> tuple[Message, Any]:
    header = parse_header(data[:SIZE])
    assert crc64(data[SIZE:]) == header.crc
    found = parse_body(header, data[SIZE:])
    return found, decode_content(found)


def their(kind: str, data: bytes) -> Any:
    """What their package makes of our bytes."""
    fields = pyigtl.messages.MessageBase.parse_header(data[:SIZE])
    assert fields["body_size"] == len(data) - SIZE
    found = pyigtl.messages.MessageBase.create_message(kind)
    found.unpack(fields, data[SIZE:])
    return found


@pytest.fixture
def place() -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = [[0.0, 0.3, 0.0], [0.2, 0.0, 0.0], [0.0, 0.0, -1.0]]
    found[:3, 3] = [10.0, 20.0, 30.0]
    return found


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_their_images(version: int, dtype: type, place: np.ndarray) -> None:
    voxels = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    theirs = pyigtl.ImageMessage(
        voxels, ijk_to_world_matrix=place, world_coordinate_system="ras", timestamp=STAMP,
        device_name="Image_Image",
    )  # fmt: skip
    theirs.header_version, theirs.metadata = version, {"a": "b"}
    found, body = read(theirs.pack())
    assert isinstance(body, Image)
    assert (found.device, found.version, found.ticks) == (
        "Image_Image", version, ticks_from_seconds(STAMP),
    )  # fmt: skip
    assert found.metadata == ({"a": "b"} if version == 2 else {})
    np.testing.assert_array_equal(body.pixels[..., 0], voxels)
    assert (body.size, body.axes) == ((4, 3, 2), "RAS")
    np.testing.assert_allclose(first_pixel_matrix(body.matrix, body.size), place, atol=1e-5)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("components", [1, 3])
def test_our_images(version: int, components: int, place: np.ndarray) -> None:
    pixels = np.stack([picture(number=c) for c in range(components)], axis=2)[None]
    matrix = centre_matrix(place, (64, 48, 1))
    ours = message(Image(pixels, matrix, (64, 48, 1), axes="RAS"), "Prediction", 5 << 32)
    found = their("IMAGE", ours.pack(version))
    np.testing.assert_array_equal(found.image.reshape(pixels.shape), pixels)
    np.testing.assert_allclose(found.ijk_to_world_matrix, place, atol=1e-5)
    assert (found.timestamp, found.world_coordinate_system) == (5.0, "ras")


@pytest.mark.parametrize("version", [1, 2])
def test_the_others(version: int, place: np.ndarray) -> None:
    """Both ways."""
    ours = message(Transform(place.astype(np.float32)), "ProbeToReference", 1 << 31)
    found = their("TRANSFORM", ours.pack(version))
    np.testing.assert_allclose(found.matrix, place, atol=1e-6)
    assert found.timestamp == 0.5
    theirs = pyigtl.TransformMessage(place, device_name="ProbeToReference", timestamp=STAMP)
    theirs.header_version = version
    _, body = read(theirs.pack())
    np.testing.assert_allclose(body.matrix, place, atol=1e-6)

    assert their("STRING", message(Text("h\u00fcte"), "T").pack(version)).string == "h\u00fcte"
    _, body = read(pyigtl.StringMessage("hut", device_name="T").pack())
    assert body == Text("hut")

    point = Point("-a", (1.0, 2.0, 3.0), "g", (1, 2, 3, 4), 5.0, "o")
    found = their("POINT", message(Points((point,)), "F").pack(version))
    assert (found.names, found.groups, found.owners) == (["-a"], ["g"], ["o"])
    assert found.positions == [(1.0, 2.0, 3.0)]
    theirs = pyigtl.PointMessage(
        positions=[[1, 2, 3]], names=["-a"], groups=["g"], owners=["o"],
        rgba_colors=[[1, 2, 3, 4]], diameters=[5.0], device_name="F",
    )  # fmt: skip
    assert read(theirs.pack())[1] == Points((point,))


@pytest.fixture
def server() -> Iterator[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = pyigtl.OpenIGTLinkServer(port=port, local_server=True)
    yield found
    found.stop()


def test_our_source_reads_their_server(server: Any, place: np.ndarray) -> None:
    uri = parse_uri(f"igtl://127.0.0.1:{server.port}", ("igtl",))
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.2, 0, 0], [0, 0.3, 0], [0, 0, 1]]
    with open_openigtlink(uri) as source:
        frames = iter(source)
        for number in range(3):
            if number == 1:
                server.send_message(
                    pyigtl.TransformMessage(place, device_name="ImageToReference", timestamp=STAMP),
                    wait=False,
                )
            sent = pyigtl.ImageMessage(
                picture(number=number)[None], ijk_to_world_matrix=matrix, timestamp=STAMP + number,
                device_name="Image_Image",
            )  # fmt: skip
            server.send_message(sent, wait=False)
            frame = next(frames)
            np.testing.assert_array_equal(frame.pixels, picture(number=number))
            assert frame.spacing_mm == pytest.approx((0.3, 0.2))
            assert frame.stamp_s == STAMP + number
            assert frame.origin is not None
            assert frame.origin.axes == "LPS"
            assert (frame.origin.transform is None) == (number == 0)
        source.interrupt()
        assert next(frames, None) is None


FOUND = np.zeros((48, 64), np.uint8)
FOUND[10:20, 30:50] = 1


def delivery(number: int = 0) -> LiveFrame:
    """A frame with a mask, from a sender that said 1 s after `STAMP`."""
    place = centre_matrix(np.diag([0.2, 0.3, 1.0, 1.0]), (64, 48, 1))
    origin = Origin(ticks_from_seconds(STAMP + 1), place, np.eye(4, dtype=np.float32))
    now = time.monotonic()
    frame = Frame(picture(number=number), number, 0.0, "a", "a", captured_s=now, origin=origin)
    return item(number, frame=frame, objects=(found(frame, mask=FOUND),), expires_s=now + 60)


def check(theirs: Any) -> None:
    """What their package made of the mask of `delivery`."""
    np.testing.assert_array_equal(theirs.image[0], FOUND)
    np.testing.assert_allclose(theirs.ijk_to_world_matrix, np.diag([0.2, 0.3, 1, 1]), atol=1e-5)
    assert theirs.timestamp == STAMP + 1
    assert theirs.world_coordinate_system == "ras"


def test_their_client_reads_our_sink() -> None:
    sink = OpenIgtLinkSink.from_uri(parse_uri("igtl://:0", ("igtl",)))
    sink.open(about())
    theirs = pyigtl.OpenIGTLinkClient(start_now=False)
    with socket.create_connection(("127.0.0.1", sink.port)) as sock:
        sock.settimeout(0.5)
        eventually(lambda: sink.describe()["clients_now"] == 1)
        sink.write(delivery())
        names = {"Prediction", "PredToReference", "SamedgeStatus"}
        eventually(
            lambda: (
                theirs._receive_message_from_socket(sock), names <= set(theirs.incoming_messages)
            )[1]
        )  # fmt: skip
        check(theirs.incoming_messages["Prediction"])
        status = json.loads(theirs.incoming_messages["SamedgeStatus"].string)
        assert status["objects"][0]["area_px"] == 200
        np.testing.assert_array_equal(theirs.incoming_messages["PredToReference"].matrix, np.eye(4))
        # They look whether we are there.
        asking = pyigtl.messages.MessageBase(device_name="x")
        asking._message_type = "GET_STATUS"
        sock.sendall(asking.pack())
        end = time.monotonic() + 20
        while not sink.describe().get("in: read") and time.monotonic() < end:
            time.sleep(0.01)
    sink.close(None)
    assert sink.describe()["in: read"] == 1


def test_our_sink_connects_to_their_server(server: Any) -> None:
    controls = Controls()
    name = f"igtl+connect://127.0.0.1:{server.port}"
    sink = OpenIgtLinkSink.from_uri(parse_uri(name, ("igtl+connect",)))
    sink.open(about(controls=controls))
    eventually(lambda: sink.describe()["clients_now"] == 1)
    sink.write(delivery())
    theirs = server.wait_for_message("Prediction", timeout=10)
    assert theirs is not None
    check(theirs)
    # A mark of theirs, 4 columns and 5 rows from the first pixel.
    marks = pyigtl.PointMessage(positions=[[0.8, 1.5, 0.0]], names=["F-1"], device_name="Vessel")
    server.send_message(marks, wait=False)
    commands: list[Any] = []
    eventually(lambda: (commands.extend(controls.take()), bool(commands))[1])
    (((x, y, inside),),) = commands[0].points
    assert (x, y) == pytest.approx((4, 5), abs=1e-4)
    assert (inside, commands[0].names) == (True, ("Vessel",))
    sink.close(None)
