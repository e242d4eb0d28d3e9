"""Where the page is: names of it, its port, and its token."""

from __future__ import annotations

import socket

import pytest

from samedge.errors import OutputError
from samedge.sources.uri import parse_uri
from samedge.stream.viewer import ViewerSink
from tests.stream.viewer.made import viewer


def sink_of(text: str) -> ViewerSink:
    return ViewerSink.from_uri(parse_uri(text, ["viewer"], OutputError))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("viewer:", "http://127.0.0.1:8000/"),
        ("viewer://", "http://127.0.0.1:8000/"),
        ("viewer://:8001", "http://127.0.0.1:8001/"),
        ("viewer://localhost:9000/", "http://localhost:9000/"),
        ("viewer://[::1]:9000", "http://[::1]:9000/"),
        ("viewer://127.0.0.1:8080?token=abcdefgh", "http://127.0.0.1:8080/?token=abcdefgh"),
        ("viewer://192.0.2.7?token=abc-EF_123", "http://192.0.2.7:8000/?token=abc-EF_123"),
    ],
)
def test_names(text: str, url: str) -> None:
    assert sink_of(text).url == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("viewer://host:port", "expected viewer: or viewer://HOST:PORT"),
        ("viewer://a/b", "expected viewer: or viewer://HOST:PORT"),
        ("viewer://:99999", "expected 0"),
        ("viewer:?token=short", "8 to 128"),
        ("viewer:?token=with%20blank", "8 to 128"),
        ("viewer:?tokn=abcdefgh", "token"),
        ("viewer:?name=a/b", "no host name"),
        ("viewer:?name=", "no host name"),
    ],
)
def test_what_is_no_place_is_refused(text: str, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        sink_of(text)


def test_a_wrong_place_is_named_without_its_token() -> None:
    with pytest.raises(OutputError) as caught:
        sink_of("viewer://a/b?token=secret-secret")
    assert "secret" not in str(caught.value)


def test_a_page_for_others_always_has_a_token() -> None:
    first, second = ViewerSink("192.0.2.7").url, ViewerSink("192.0.2.7").url
    assert first != second
    assert len(first.partition("?token=")[2]) > 20


def test_a_page_behind_a_proxy_has_a_token_too() -> None:
    sink = sink_of("viewer:?name=cart.example,Cart.local")
    assert "?token=" in sink.url
    assert sink._address.names == ("cart.example", "cart.local")


def test_a_wildcard_is_told_as_an_address_that_can_be_opened() -> None:
    assert "0.0.0.0" not in ViewerSink("0.0.0.0").url


def test_a_port_in_use_is_said_before_the_stream_starts() -> None:
    with viewer() as first:
        port = int(first.sink.url.rpartition(":")[2].strip("/"))
        second = ViewerSink(port=port)
        with pytest.raises(OutputError, match=f"port {port}.*:0 for any free port"):
            second.open(first.about)
        second.close(None)


def test_a_host_of_another_machine_is_said() -> None:
    with viewer() as stream, pytest.raises(OutputError, match=r"cannot listen on 192\.0\.2\.7"):
        ViewerSink("192.0.2.7").open(stream.about)


def test_the_port_is_free_again_at_once() -> None:
    with viewer() as stream:
        port = int(stream.sink.url.rpartition(":")[2].strip("/"))
        with socket.create_connection(("127.0.0.1", port), 5) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert other.recv(20).startswith(b"HTTP/1.1 200")
    sink = ViewerSink(port=port)
    sink.open(stream.about)
    sink.close(None)
