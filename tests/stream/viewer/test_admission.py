"""Who may come in."""

from __future__ import annotations

import pytest

from samedge.stream.viewer.address import address
from samedge.stream.viewer.admission import Admission

HERE = Admission(address())
OPEN = Admission(address("0.0.0.0", 8000, "the-long-token"))
TOKEN = b"token=the-long-token"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "localhost:9000"]
)
def test_this_machine_may(host: str) -> None:
    assert HERE.refusal({"host": host}, b"") is None
    assert HERE.refusal({"host": host, "origin": f"http://{host}"}, b"") is None


def test_a_proxy_may_under_its_name() -> None:
    behind = Admission(address("127.0.0.1", 8000, "the-long-token", ["cart.example"]))
    by_name = {"host": "cart.example", "origin": "https://cart.example"}
    assert behind.refusal(by_name, TOKEN) is None
    assert behind.refusal(by_name, b"") == "token"
    assert HERE.refusal(by_name, b"") == "host"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "192.0.2.1:8000",
        "localhost@evil.example",
        "127.0.0.1:8000:1",
        "[::1",
        "127.0.0.1\n",
    ],
)
def test_a_name_that_somebody_made_point_here_may_not(host: str) -> None:
    assert HERE.refusal({"host": host}, b"") == "host"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://localhost:8000",
        "http://127.0.0.1:8001",
        "file://",
        "http://127.0.0.1:8000.evil.example",
        "http://[",
        "ftp://127.0.0.1:8000",
    ],
)
def test_pages_from_elsewhere_may_not(origin: str) -> None:
    assert HERE.refusal({"host": "127.0.0.1:8000", "origin": origin}, b"") == "origin"


@pytest.mark.parametrize("host", ["192.0.2.1:8000", "[2001:db8::1]:8000", "localhost:8000"])
def test_others_may_with_the_token(host: str) -> None:
    assert OPEN.refusal({"host": host}, TOKEN) is None
    assert OPEN.refusal({"host": host}, b"") == "token"
    assert OPEN.refusal({"host": host}, b"", needs_token=False) is None
    assert OPEN.refusal({"host": "evil.example"}, TOKEN) == "host"


@pytest.mark.parametrize(
    "query",
    [
        b"token=",
        b"token=the-long-toke",
        b"token=the-long-token-",
        b"token=x&token=the-long-token",
        b"Token=the-long-token",
        b"token=\xff",
        b"token=%ff",
        b"token=%E2%82%AC",
        b"&".join([b"a=1"] * 50) + b"&" + TOKEN,
    ],
)
def test_another_token_does_not_fit(query: bytes) -> None:
    assert OPEN.refusal({"host": "192.0.2.1"}, query) == "token"
