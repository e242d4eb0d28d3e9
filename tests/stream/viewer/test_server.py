"""The server, as programs see it: its pages, and who is let in."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from samedge.files.limits import BROWSERS
from samedge.stream.viewer import client as client_module
from tests.stream.viewer.clients import (
    WAIT_S,
    closed,
    get,
    joined,
    listen,
    refused,
    server_of,
    until,
)
from tests.stream.viewer.made import NOTICE, Stream, viewer

TOKEN = "a-token-of-this-test"


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
            for _ in range(BROWSERS.most):
                listen(guests.enter_context(joined(stream)), "hello")
            with joined(stream) as one_more:
                assert closed(one_more) == client_module.FULL
            assert refused(stream) == {"too many viewers": 1}
            guests.close()
            until(lambda: not server_of(stream).hub.wants_frames)
            with joined(stream) as again:
                listen(again, "hello")
