"""The server, as programs see it: pages, messages, and what becomes of those who misbehave."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from samedge.errors import OutputError, SourceError
from samedge.stream.live.controls import Click, Hold, Record
from samedge.stream.live.states import Alarm, Kind, State
from samedge.stream.viewer import client as client_module
from samedge.stream.viewer import protocols
from samedge.stream.viewer.hub import MOST_CLIENTS
from samedge.stream.viewer.message import unpack
from samedge.stream.viewer.server import MOST_BYTES, ViewerServer
from tests.stream.viewer.made import NOTICE, Stream, disc, found, frame_of, picture, viewer

WAIT_S = 5.0
FRAME = frame_of(picture())
TOKEN = "a-token-of-this-test"


@contextmanager
def joined(stream: Stream, origin: str | None = None, **options: Any) -> Iterator[ClientConnection]:
    """A program that is connected; the greeting still waits to be read."""
    parts = urlsplit(stream.sink.url)
    query = f"?{parts.query}" if parts.query else ""
    address = f"ws://{parts.netloc}/stream{query}"
    with connect(address, proxy=None, origin=origin, max_size=None, **options) as one:  # type: ignore[arg-type]
        yield one


def listen(one: ClientConnection, key: str) -> dict[str, Any]:
    """The next text message that has `key`; what comes before it is passed over."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        message = one.recv(timeout=WAIT_S)
        if isinstance(message, str) and key in json.loads(message):
            value: dict[str, Any] = json.loads(message)
            return value
    raise TimeoutError(key)


def frame(one: ClientConnection) -> dict[str, Any]:
    """The header of the next frame."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        message = one.recv(timeout=WAIT_S)
        if isinstance(message, bytes):
            return unpack(message)[0]
    raise TimeoutError("no frame")


def drawn(one: ClientConnection, number: int, **more: Any) -> None:
    one.send(json.dumps({"drawn": number, **more}))


def closed(one: ClientConnection) -> int:
    """The code with which the server closes; 0: without a word."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            one.recv(timeout=WAIT_S)
        except ConnectionClosed as error:
            return 0 if error.rcvd is None else error.rcvd.code
    raise TimeoutError("it was not closed")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.005)


def server_of(stream: Stream) -> ViewerServer:
    server = stream.sink._server
    assert server is not None
    return server


def connections(stream: Stream) -> set[Any]:
    return server_of(stream)._server.server_state.connections


def refused(stream: Stream) -> dict[str, int]:
    counts: dict[str, int] = stream.sink.describe()["refused"]
    return counts


def get(stream: Stream, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body."""
    parts = urlsplit(stream.sink.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=WAIT_S)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": parts.netloc, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def still() -> Iterator[Stream]:
    """A viewer that nothing is sent to."""
    with viewer(token=TOKEN) as stream:
        yield stream


class TestPages:
    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            (f"/?token={TOKEN}", "text/html; charset=utf-8"),
            ("/app.js", "text/javascript; charset=utf-8"),
            ("/style.css", "text/css; charset=utf-8"),
            ("/colours.css", "text/css; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
        ],
    )
    def test_come_with_their_fence(self, still: Stream, path: str, kind: str) -> None:
        status, headers, body = get(still, path)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Server"] is None
        assert body

    def test_name_nothing_from_elsewhere(self, still: Stream) -> None:
        _, _, body = get(still, f"/?token={TOKEN}")
        assert b"//" not in body.replace(b"<!--", b"")
        assert b"style=" not in body
        assert b"onclick" not in body

    def test_have_the_colours_of_the_pictures(self, still: Stream) -> None:
        _, _, body = get(still, "/colours.css")
        assert b"--object-1: rgb(86, 180, 233);" in body

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/index.html",
            "/../sink.py",
            "/..%2fsink.py",
            "/static/app.js",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            "/app.js/",
            "/app.js%00",
            "/docs",
            "/openapi.json",
        ],
    )
    def test_that_do_not_exist(self, still: Stream, path: str) -> None:
        assert get(still, f"{path}?token={TOKEN}")[0] == 404

    def test_take_nothing(self, still: Stream) -> None:
        assert get(still, "/app.js", "POST")[0] == 405
        assert get(still, "/app.js", "HEAD")[::2] == (200, b"")

    def test_need_the_token(self, still: Stream) -> None:
        before = refused(still).get("token", 0)
        for path in ("/", "/?token=wrong-wrong", "/nothing"):
            status, _, body = get(still, path)
            assert status == 403
            assert TOKEN.encode() not in body
        assert refused(still)["token"] == before + 3

    def test_answer_to_this_machine_alone(self, still: Stream) -> None:
        assert get(still, "/app.js", Host="evil.example")[0] == 403
        assert get(still, "/app.js", Origin="http://evil.example")[0] == 403
        assert refused(still)["host"] >= 1
        assert refused(still)["origin"] >= 1

    def test_are_no_answer_to_rubbish(self, still: Stream) -> None:
        place = urlsplit(still.sink.url)
        assert place.hostname
        assert place.port
        for words in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000):
            with socket.create_connection((place.hostname, place.port), WAIT_S) as one:
                one.settimeout(WAIT_S)
                try:
                    one.sendall(words)
                    assert one.recv(100).startswith(b"HTTP/1.1 4")
                except ConnectionError:
                    pass  # cut off while it spoke
        assert get(still, "/app.js")[0] == 200


class TestDoor:
    @pytest.mark.parametrize(
        ("query", "headers", "origin"),
        [
            ("", {}, None),
            ("?token=wrong-wrong", {}, None),
            (f"?token={TOKEN}", {}, "http://evil.example"),
            (f"?token={TOKEN}", {"Host": "evil.example"}, None),
        ],
    )
    def test_strangers_are_not_connected(
        self, still: Stream, query: str, headers: dict[str, str], origin: str | None
    ) -> None:
        place = urlsplit(still.sink.url)
        lines = ["GET /stream" + query + " HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
        lines += [f"{k}: {v}" for k, v in {"Host": place.netloc, **headers}.items()]
        lines += [f"Origin: {origin}"] if origin else []
        assert place.hostname
        assert place.port
        with socket.create_connection((place.hostname, place.port), WAIT_S) as one:
            one.sendall("\r\n".join([*lines, "", ""]).encode())
            assert one.recv(100).startswith(b"HTTP/1.1 403")

    def test_the_own_page_is(self, still: Stream) -> None:
        place = urlsplit(still.sink.url)
        with joined(still, origin=f"http://{place.netloc}") as one:
            assert listen(one, "hello")["hello"]["notice"] == NOTICE

    def test_other_paths_have_no_stream(self, still: Stream) -> None:
        address = still.sink.url.replace("http:", "ws:").replace("/?", "/other?")
        with pytest.raises(InvalidStatus), connect(address, proxy=None):
            pass

    def test_the_token_is_in_no_log(
        self, still: Stream, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with caplog.at_level(logging.DEBUG), joined(still) as one:
            listen(one, "hello")
            get(still, f"/?token={TOKEN}")
            get(still, f"/wrong?token={TOKEN}")
            one.send("no json")
            closed(one)
        server_side = [r for r in caplog.records if not r.name.startswith("websockets.client")]
        assert TOKEN not in "".join(r.getMessage() for r in server_side) + "".join(
            capfd.readouterr()
        )
        assert TOKEN not in json.dumps(dict(still.sink.describe()))

    def test_there_is_room_for_so_many(self) -> None:
        with viewer() as stream, ExitStack() as guests:
            for _ in range(MOST_CLIENTS):
                listen(guests.enter_context(joined(stream)), "hello")
            with joined(stream) as one_more:
                assert closed(one_more) == client_module.FULL
            assert refused(stream) == {"too many viewers": 1}
            guests.close()
            until(lambda: not server_of(stream).hub.wants_frames)
            with joined(stream) as again:
                listen(again, "hello")


class TestStream:
    def test_frames_masks_and_states_come_in_one_message(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, [found(FRAME, disc(FRAME, 50, 60, 20))], [State.LATE], drops=4)
            while not isinstance(message := one.recv(timeout=WAIT_S), bytes):
                pass
            header, _, (mask,) = unpack(message)
            assert (header["states"], header["drops"], header["new"]) == (["late"], 4, True)
            assert mask is not None
            assert int(mask.sum()) == header["objects"][0]["area_px"]

    def test_latency_is_from_the_capture_to_the_word_that_it_was_drawn(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, age_s=0.5)
            drawn(one, frame(one)["number"])
            until(lambda: stream.sink.describe()["drawn"] == 1)
            stream.show(FRAME)
            ((number, latency),) = frame(one)["drawn"]
            assert number == 0
            assert 500 <= latency < 5000
            assert stream.sink.describe()["latency_ms"]["max"] == pytest.approx(latency, abs=0.1)

    def test_what_a_hidden_page_draws_and_what_comes_again_has_no_latency(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME)
            drawn(one, frame(one)["number"], hidden=True)
            stream.show(FRAME, is_new=False)
            drawn(one, frame(one)["number"])
            stream.show(FRAME)
            last = frame(one)
            assert last["drawn"] == []
            assert stream.sink.describe()["drawn"] == 0

    def test_one_that_draws_slowly_gets_the_newest(self) -> None:
        with viewer() as stream, joined(stream) as slow:
            listen(slow, "hello")
            for number in range(2):  # so many may be under way
                stream.show(FRAME)
                assert frame(slow)["number"] == number
            stream.show(FRAME)
            assert frame_count(slow) == 0
            for _ in range(7):
                stream.show(FRAME)
            until(lambda: stream.sink.describe()["skipped"] == 7)
            drawn(slow, 1)
            last = frame(slow)
            assert (last["number"], last["skipped"]) == (9, 7)

    def test_nothing_is_encoded_while_nobody_looks_and_newcomers_see_the_last_frame(self) -> None:
        with viewer() as stream:
            for _ in range(3):
                stream.show(FRAME, states=[State.FROZEN])
            assert stream.sink.describe()["frames"] == 0
            with joined(stream) as first:
                listen(first, "hello")
                stream.sink.idle(State.FROZEN)
                header = frame(first)
                assert (header["number"], header["new"]) == (2, False)
                assert header["states"] == ["frozen"]
                with joined(stream) as second:
                    listen(second, "hello")
                    stream.sink.idle(State.FROZEN)
                    assert frame(second)["number"] == 2
                assert frame_count(first) == 0

    def test_the_state_is_told_while_no_frame_comes(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.sink.idle(State.STARTING)
            assert listen(one, "status")["status"]["states"] == ["starting"]
            stream.sink.idle(State.NO_SIGNAL)
            told = listen(one, "status")
            assert told["status"]["states"] == ["no signal"]
            assert told["sent_ms"] >= told["status"]["at_ms"]

    def test_states_of_the_last_frame_hold_beside_that_of_the_stream(self) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, states=[State.LOST, State.FROZEN])
            stream.sink.idle(State.LOST)
            assert listen(one, "status")["status"]["states"] == ["lost", "frozen"]
            stream.sink.idle(State.NO_SIGNAL)
            assert listen(one, "status")["status"]["states"] == ["no signal"]

    def test_alarms_reach_those_who_are_there_and_those_who_come(self) -> None:
        alarm = Alarm(Kind.SCENE, "the scene is another one", time.monotonic())
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME, alarms=[alarm])
            assert [a["message"] for a in frame(one)["alarms"]] == [alarm.message]
            with joined(stream) as two:
                listen(two, "hello")
                stream.show(FRAME)
                assert [a["kind"] for a in frame(two)["alarms"]] == ["scene changed"]
            assert frame(one)["alarms"] == []

    def test_commands_reach_the_stream(self) -> None:
        with viewer() as stream, joined(stream) as one, joined(stream) as two:
            one.send('{"command": "click", "x": 3.5, "y": 4}')
            one.send('{"command": "hold", "on": true}')
            assert stream.commands(2) == [Click(3.5, 4.0), Hold(True)]
            two.send('{"command": "record", "on": true}')
            assert stream.commands() == [Record(True)]
            stream.sink.idle(State.HELD)
            assert listen(one, "status")["status"]["recording"] is True
            assert stream.sink.describe()["commands"] == 3

    @pytest.mark.parametrize(
        ("error", "why"),
        [
            (None, ""),
            (SourceError("the cable is out"), "the cable is out"),
            (ValueError("x"), "ValueError"),
        ],
    )
    def test_the_end_is_told(self, error: Exception | None, why: str) -> None:
        with viewer() as stream, joined(stream) as one:
            listen(one, "hello")
            stream.show(FRAME)
            stream.sink.close(error)
            assert listen(one, "end")["end"] == {"why": why, "failed": error is not None}
            assert closed(one) == client_module.GOING_AWAY
        assert not server_of(stream)._thread.is_alive()

    def test_a_server_that_died_ends_the_sink(self) -> None:
        with viewer() as stream:
            server_of(stream).stop("", failed=False)
            with pytest.raises(OutputError, match="server ended"):
                stream.show(FRAME)
            with pytest.raises(OutputError, match="server ended"):
                stream.sink.idle(State.LIVE)


def frame_count(one: ClientConnection) -> int:
    """Frames that wait to be read."""
    count = 0
    try:
        while True:
            count += isinstance(one.recv(timeout=0.1), bytes)
    except TimeoutError:
        return count


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
            ("x" * (MOST_BYTES + 1), 1009),
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


def raw(stream: Stream) -> socket.socket:
    """A connection that is a WebSocket, and reads nothing by itself."""
    place = urlsplit(stream.sink.url)
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(WAIT_S)
    assert place.hostname
    assert place.port
    one.connect((place.hostname, place.port))
    one.sendall(
        f"GET /stream HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return one


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
