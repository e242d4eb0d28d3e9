"""Whole messages out of a socket, whatever the other side does."""

from __future__ import annotations

import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.openigtlink import connection as module
from samedge.openigtlink.connection import Connection
from samedge.openigtlink.header import SIZE, Header, Message
from samedge.openigtlink.messages import GetStatus, Status, Transform, message
from samedge.openigtlink.problems import PeerGone, ProtocolError
from samedge.openigtlink.sockets import Wake
from tests.openigtlink import captures
from tests.openigtlink.peers import Peer, Runner, eventually, image_message, transform_message

LONG_S = 10.0


class Pair:
    """A connection and its other side."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.wake, self.notes = Wake(), []
        self.connection = Connection(ours, "igtl-1", self.wake, note=self.notes.append)
        self.peer = Peer(theirs)

    def close(self) -> None:
        self.connection.close()
        self.peer.close()
        self.wake.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    found = Pair()
    yield found
    found.close()


def corrupted(data: bytes, at: int = -1) -> bytes:
    found = bytearray(data)
    found[at] ^= 0x40
    return bytes(found)


def header(kind: str, size: int, version: int = 1) -> bytes:
    return Header(version, kind, "Image_Image", 0, size, 0).pack()


def test_messages_come_whole_and_in_order(pair: Pair) -> None:
    pair.peer.send(captures.TRANSFORM + captures.STATUS + captures.IMAGE)
    found = [pair.connection.receive(LONG_S) for _ in range(3)]
    assert [one.message.type for one in found if one] == ["TRANSFORM", "STATUS", "IMAGE"]
    assert isinstance(found[0].body, Transform)  # type: ignore[union-attr]
    assert pair.connection.receive(0.01) is None
    assert pair.connection.counts == {"read": 3}
    assert pair.notes == []


@given(st.lists(st.integers(1, 200), max_size=8))
def test_messages_come_in_pieces(cuts: list[int]) -> None:
    found = Pair()
    try:
        data = captures.POINT + captures.TRANSFORM_2

        def send() -> None:
            at = 0
            for cut in [*cuts, len(data)]:
                found.peer.send(data[at : at + cut])
                at += cut

        sender = Runner(send)
        types = [found.connection.receive(LONG_S).message.type for _ in range(2)]  # type: ignore[union-attr]
        sender.join()
        assert types == ["POINT", "TRANSFORM"]
    finally:
        found.close()


def test_a_wrong_checksum_costs_one_message(pair: Pair) -> None:
    pair.peer.send(corrupted(captures.IMAGE), corrupted(captures.IMAGE, 55), captures.STATUS)
    found = pair.connection.receive(LONG_S)
    assert found is not None
    assert found.message.type == "STATUS"
    assert pair.connection.counts == {"wrong checksum": 2, "read": 1}
    assert pair.notes == ["igtl-1: a message came with a wrong checksum and was skipped"] * 2


def test_a_damaged_message_costs_one_message(pair: Pair) -> None:
    patient = Message("STRING", "Text", content=b"\0\3\0\4Doe^Jane").pack()
    damaged = Message("STRING", "Text", content=b"\0\7\0\4Doe^").pack()
    short = Message("TRANSFORM", "T", content=b"Doe^Jane").pack()
    pair.peer.send(damaged, short, patient)
    found = pair.connection.receive(LONG_S)
    assert found is not None
    assert found.body.text == "Doe^"  # type: ignore[union-attr]
    assert pair.connection.counts["damaged"] == 2
    assert all("Doe" not in note for note in pair.notes)


def test_what_is_not_known_is_skipped_by_its_size(pair: Pair) -> None:
    data = (
        Message("POLYDATA", "mesh", content=bytes(200_000)).pack(),
        header("STATUS", 30, version=3) + bytes(30),
        Message("NDARRAY", "x").pack(),
        captures.STATUS,
    )
    sender = Runner(lambda: pair.peer.send(*data))
    assert pair.connection.receive(LONG_S).message.type == "STATUS"  # type: ignore[union-attr]
    assert pair.connection.counts == {"unknown type": 3, "read": 1}
    sender.join()


def test_what_is_not_wanted_is_skipped_unread(pair: Pair) -> None:
    pair.connection.wanted = lambda head: head.device == "PlusServer"
    pair.peer.send(corrupted(captures.IMAGE), captures.STATUS)
    assert pair.connection.receive(LONG_S).message.type == "STATUS"  # type: ignore[union-attr]
    assert pair.connection.counts == {"unwanted": 1, "read": 1}


@pytest.mark.parametrize(
    ("kind", "size"), [("IMAGE", 2**63), ("POLYDATA", 2**40), ("STATUS", 10**10)]
)
def test_sizes_that_no_message_has(pair: Pair, kind: str, size: int) -> None:
    """100 000 x 100 000 px have 10^10 bytes."""
    tracemalloc.start()
    try:
        pair.peer.send(header(kind, size))
        with pytest.raises(ProtocolError, match="at most 1,024 MB are read"):
            pair.connection.receive(LONG_S)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_large_messages_are_skipped_and_not_kept(pair: Pair) -> None:
    """A volume on the same connection; a text of 2 MB."""
    volume, text = 70 * 10**6, 2 * 10**6

    def send() -> None:
        pair.peer.send(header("IMAGE", volume))
        for _ in range(70):
            pair.peer.send(bytes(10**6))
        pair.peer.send(header("STRING", text), bytes(text), captures.STATUS)

    sender = Runner(send)
    tracemalloc.start()
    try:
        assert pair.connection.receive(60).message.type == "STATUS"  # type: ignore[union-attr]
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
    sender.join()
    assert pair.connection.counts == {"too large": 2, "read": 1}
    assert "of 70000000 bytes was skipped; one of its type has up to 64000000" in pair.notes[0]


def test_other_protocols(pair: Pair) -> None:
    pair.peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: something/1.0\r\n\r\n")
    with pytest.raises(ProtocolError, match="no OpenIGTLink"):
        pair.connection.receive(LONG_S)


@pytest.mark.parametrize("sent", [1, SIZE - 1, SIZE, SIZE + 20])
def test_half_a_message_and_silence(pair: Pair, sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.05)
    pair.peer.send(captures.TRANSFORM[:sent])
    with pytest.raises(PeerGone, match="half a message"):
        pair.connection.receive(LONG_S)


def test_a_message_that_drips(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte now and then is no silence, and takes too long all the same."""
    monkeypatch.setattr(module, "MESSAGE_S", 0.2)
    stop = threading.Event()

    def drip() -> None:
        for byte in captures.TRANSFORM:
            if stop.wait(0.02):
                return
            pair.peer.send(bytes([byte]))

    dripping = Runner(drip)
    with pytest.raises(PeerGone, match="half a message"):
        pair.connection.receive(LONG_S)
    stop.set()
    dripping.join()


@pytest.mark.parametrize(
    ("sent", "where"), [(0, "connection$"), (30, "middle"), (SIZE + 1, "middle")]
)
def test_the_other_side_goes(pair: Pair, sent: int, where: str) -> None:
    pair.peer.send(captures.STATUS, captures.IMAGE[:sent])
    pair.peer.close()
    assert pair.connection.receive(LONG_S) is not None
    with pytest.raises(PeerGone, match=where):
        pair.connection.receive(LONG_S)


def test_waiting_ends_at_once_when_it_shall(pair: Pair) -> None:
    waiting = Runner(lambda: pair.connection.receive(3600))
    pair.wake.set()
    assert waiting.join().error is None
    assert pair.connection.receive(3600) is None
    assert pair.connection.is_ended


def test_waiting_in_the_middle_of_a_message_ends_as_well(pair: Pair) -> None:
    pair.peer.send(captures.IMAGE[:60])
    waiting = Runner(lambda: pair.connection.receive(3600))
    eventually(lambda: pair.connection.received_s > 0)
    pair.wake.set()
    assert waiting.join().error is None
    assert waiting.result is None


def test_a_flood_does_not_hold_up_the_one_who_waits(pair: Pair) -> None:
    """Its time is over, whatever else there is to skip."""
    pair.connection.wanted = lambda _: False
    pair.peer.send(captures.STATUS * 100)
    assert pair.connection.receive(0.0) is None
    assert pair.connection.counts == {"unwanted": 1}


def test_the_lower_version_is_answered(pair: Pair) -> None:
    connection = pair.connection
    assert connection.version == 1
    pair.peer.send(captures.STATUS)
    connection.receive(LONG_S)
    assert connection.version == 1
    pair.peer.send(captures.TRANSFORM_2)
    connection.receive(LONG_S)
    assert connection.version == 2
    pair.peer.send(header("STATUS", 0, version=3), captures.STATUS)
    connection.receive(LONG_S)
    assert connection.version == 2


def test_sending(pair: Pair) -> None:
    data = image_message().pack()
    sending = Runner(lambda: [pair.connection.send(data, LONG_S) for _ in range(100)])
    for _ in range(100):
        assert pair.peer.read()[0].type == "IMAGE"
    assert sending.join().error is None


def test_one_who_takes_nothing(pair: Pair) -> None:
    with pytest.raises(PeerGone, match="takes nothing"):
        pair.connection.send(bytes(10**8), 0.05)


def test_one_who_is_gone(pair: Pair) -> None:
    pair.peer.close()
    with pytest.raises(PeerGone, match="closed"):
        pair.connection.send(bytes(10**7), LONG_S)


def test_reading_and_writing_at_once(pair: Pair) -> None:
    """Two threads, and messages that are larger than what the system keeps."""
    data, count = image_message().pack(), 200

    def send() -> None:
        for _ in range(count):
            pair.connection.send(data, LONG_S)

    def answer() -> None:
        for _ in range(count):
            pair.peer.read()
            pair.peer.send(transform_message())

    runners = Runner(send), Runner(answer)
    for _ in range(count):
        found = pair.connection.receive(LONG_S)
        assert found is not None
        assert found.message.type == "TRANSFORM"
    assert all(runner.join().error is None for runner in runners)


def test_closing_twice(pair: Pair) -> None:
    pair.connection.hang_up()
    pair.connection.close()
    pair.connection.close()


def test_when_it_came(pair: Pair) -> None:
    before = time.monotonic()
    pair.peer.send(message(Status(), "x").pack(), message(GetStatus(), "x").pack())
    found = pair.connection.receive(LONG_S)
    assert found is not None
    assert before <= found.at_s <= time.monotonic()


def test_sizes_in_the_header_are_looked_at_before_the_body(pair: Pair) -> None:
    """65535 x 65535 x 65535 px in the image's own header."""
    content = bytearray(captures.IMAGE[SIZE:])
    content[6:12] = b"\xff" * 6
    content[66:72] = struct.pack(">3H", 3, 2, 1)
    pair.peer.send(Message("IMAGE", "i", content=bytes(content)).pack(), captures.STATUS)
    assert pair.connection.receive(LONG_S).message.type == "STATUS"  # type: ignore[union-attr]
    assert "at most 64 MB are read" in pair.notes[0]
