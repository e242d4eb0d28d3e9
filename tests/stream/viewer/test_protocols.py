"""What becomes of those who misbehave, and that nobody else notices."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from samedge.files.limits import BROWSER_BYTES
from samedge.stream.live.controls import Hold, Record
from samedge.stream.viewer import client as client_module
from samedge.stream.viewer import protocols
from tests.stream.viewer.clients import (
    FRAME,
    WAIT_S,
    closed,
    connections,
    drawn,
    frame,
    joined,
    listen,
    raw,
    refused,
    server_of,
    until,
)
from tests.stream.viewer.made import Stream, frame_of, viewer


class TestThoseWhoMisbehave:
    @pytest.fixture
    def stream(self) -> Iterator[Stream]:
        """With a guest that behaves, which sees a frame and is heard after each test."""
        with viewer() as stream, joined(stream) as good:
            listen(good, "hello")
            yield stream
            number = stream.show(FRAME)
            while (seen := frame(good)["number"]) != number:
                drawn(good, seen)
            stream.controls.take()
            good.send('{"command": "hold", "on": false}')
            assert stream.commands() == [Hold(False)]

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ("no json", client_module.NOT_JSON),
            ("[1, 2]", client_module.NOT_JSON),
            ("[" * 50_000, client_module.NOT_JSON),
            ("1" * 10_000, client_module.NOT_JSON),
            (b"bytes", client_module.UNSUPPORTED),
            ("x" * (BROWSER_BYTES.most + 1), 1009),
        ],
        ids=["words", "list", "deep", "digits", "bytes", "large"],
    )
    def test_rubbish_ends_the_connection(
        self, stream: Stream, message: str | bytes, code: int
    ) -> None:
        with joined(stream) as one:
            listen(one, "hello")
            one.send(message)
            assert closed(one) == code
        until(lambda: refused(stream) == {"rubbish": 1})

    @pytest.mark.parametrize(
        "value",
        [
            {"command": "rm"},
            {},
            {"command": "click", "x": 1},
            {"command": "click", "x": 1e300, "y": 0},
            {"drawn": 10**30},
            {"drawn": "0"},
            {"drawn": True},
            {"drawn": None},
        ],
    )
    def test_what_means_nothing_is_refused_with_words(
        self, stream: Stream, value: dict[str, Any]
    ) -> None:
        with joined(stream) as one:
            one.send(json.dumps(value))
            if "drawn" not in value:
                assert listen(one, "refused")["refused"]
            until(lambda: refused(stream).get("refused commands") == 1)
            one.send('{"command": "record", "on": true}')  # once is no crime
            assert stream.commands() == [Record(True)]

    def test_too_much_of_it_ends_the_connection(self, stream: Stream) -> None:
        with joined(stream) as one:
            with suppress(ConnectionClosed):  # before all of it was sent
                for _ in range(40):
                    one.send('{"command": "rm"}')
            assert closed(one) == client_module.RUBBISH

    def test_a_flood_ends_the_connection(self, stream: Stream) -> None:
        with joined(stream) as one:
            try:
                for _ in range(100_000):
                    one.send('{"command": "record", "on": true}')
                pytest.fail("all of it was taken")
            except ConnectionClosed:
                pass
            assert refused(stream).get("flooded") == 1
        assert len(stream.controls.take()) < 1000

    def test_one_that_hangs_up_in_mid_message_is_forgotten(self, stream: Stream) -> None:
        with joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME)
            one.socket.shutdown(socket.SHUT_RDWR)
        hub = server_of(stream).hub
        until(lambda: len(hub._clients) == 1)


class TestThoseWhoDoNotRead:
    """Their connection is cut: a polite goodbye would wait for ever."""

    def test_do_not_hold_up_the_end(self) -> None:
        noise = frame_of(noisy())
        with viewer() as stream, raw(stream):
            until(lambda: server_of(stream).hub.wants_frames)
            for _ in range(5):
                stream.show(noise)
            begin = time.monotonic()
            stream.sink.close(None)
            assert time.monotonic() - begin < 5
        assert not server_of(stream)._thread.is_alive()
        assert not connections(stream)

    def test_and_those_who_read_but_draw_nothing_are_let_go(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "STALL_S", 0.2)
        monkeypatch.setattr(client_module, "BEAT_S", 0.05)
        with viewer() as stream, joined(stream) as one, joined(stream) as good:
            listen(one, "hello")
            listen(good, "hello")
            stream.show(FRAME)
            drawn(good, frame(good)["number"])
            assert closed(one) == client_module.STALLED
            assert refused(stream) == {"stalled": 1}
            number = stream.show(FRAME)
            assert frame(good)["number"] == number

    def test_are_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_module, "STALL_S", 0.2)
        monkeypatch.setattr(protocols, "PARTING_S", 0.1)
        noise = frame_of(noisy())
        with viewer() as stream, raw(stream):
            hub = server_of(stream).hub
            until(lambda: hub.wants_frames)
            for _ in range(5):
                stream.show(noise)
            until(lambda: not hub.wants_frames)
            assert refused(stream) == {"stalled": 1}
            until(lambda: not connections(stream))

    def test_and_ask_for_more_are_cut_off(self) -> None:
        """Pings, whose answers would pile up."""
        ping = b"\x89\xfd" + bytes(4) + bytes(125)
        with viewer() as stream, raw(stream) as one:
            try:
                for _ in range(20_000):
                    one.sendall(ping * 50)
                pytest.fail("all of it was answered")
            except ConnectionError:
                pass

    def test_messages_of_empty_parts_are_cut_off(self) -> None:
        first, more = b"\x01\x80" + bytes(4), b"\x00\x80" + bytes(4)
        with viewer() as stream, raw(stream) as one:
            hub = server_of(stream).hub
            until(lambda: hub.wants_frames)
            one.sendall(first + more * 200)
            until(lambda: not hub.wants_frames)

    def test_one_that_never_says_what_it_wants_is_cut_off(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(protocols, "REQUEST_S", 0.1)
        with viewer() as stream:
            place = urlsplit(stream.sink.url)
            assert place.hostname
            assert place.port
            with socket.create_connection((place.hostname, place.port), WAIT_S) as one:
                one.sendall(b"GET / HT")
                one.settimeout(WAIT_S)
                assert one.recv(100) == b""


def noisy() -> Any:
    """As large as it can be made for its size."""
    return np.random.default_rng(0).integers(0, 255, (1000, 1000), np.uint8)
