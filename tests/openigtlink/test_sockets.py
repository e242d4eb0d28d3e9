"""Addresses, connecting and listening."""

from __future__ import annotations

import socket
import threading

import pytest

from samedge.errors import OutputError, SourceError
from samedge.openigtlink.address import Address, parse_address
from samedge.openigtlink.problems import ProtocolError
from samedge.openigtlink.sockets import Listener, Wake, connect
from tests.openigtlink.peers import Runner, serving


@pytest.mark.parametrize(
    ("where", "host", "port"),
    [
        ("", "127.0.0.1", 18944),
        (":1", "127.0.0.1", 1),
        ("plus", "plus", 18944),
        ("plus.local:18950/", "plus.local", 18950),
        ("0.0.0.0", "0.0.0.0", 18944),
        ("[::1]:7", "::1", 7),
        ("[::1]", "::1", 18944),
    ],
)
def test_addresses(where: str, host: str, port: int) -> None:
    assert parse_address(where, 18944, "igtl:", SourceError) == Address(host, port)


@pytest.mark.parametrize("where", ["a:b", "a:70000", "a:1:2", "user@host", "::1", "a/b", "a b:"])
def test_what_is_no_address(where: str) -> None:
    with pytest.raises(OutputError, match="is no address; expected HOST or HOST:PORT"):
        parse_address(where, 18945, f"igtl://{where}", OutputError)


def test_connecting() -> None:
    wake = Wake()
    with serving() as server:
        sock = connect(Address("localhost", server.port), wake, 10.0, "igtl-1")
        assert sock is not None
        server.accept()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        sock.close()
    wake.close()


def test_nobody_there() -> None:
    with serving() as server:
        port = server.port
    wake = Wake()
    with pytest.raises(ProtocolError, match=f"no connection to port {port}.*refused") as caught:
        connect(Address("127.0.0.1", port), wake, 10.0, "igtl-1")
    assert "127.0.0.1" not in str(caught.value)
    wake.close()


def test_names_that_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    wake = Wake()
    with pytest.raises(ProtocolError, match="cannot be looked up: name or service not known"):
        connect(Address("no.such.host", 1), wake, 10.0, "igtl-1")
    wake.close()


def test_looking_up_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def hang(*_: object, flags: int = 0, **__: object) -> None:
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        never.wait(30)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    wake = Wake()
    with pytest.raises(ProtocolError, match="no answer"):
        connect(Address("slow.host", 1), wake, 0.05, "igtl-1")
    waiting = Runner(lambda: connect(Address("slow.host", 1), wake, 3600, "igtl-1"))
    wake.set()
    assert waiting.join().result is None
    assert waiting.error is None
    never.set()
    wake.close()


def test_nobody_takes_the_connection() -> None:
    """A server that accepts nothing: its queue is full, and connecting waits."""
    wake = Wake()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(ProtocolError, match=r"no answer within 0\.05 s"):
            connect(Address("127.0.0.1", port), wake, 0.05, "igtl-1")
        stuck = Runner(lambda: connect(Address("127.0.0.1", port), wake, 3600, "igtl-1"))
        wake.set()
        assert stuck.join().result is None
        for one in waiting:
            one.close()
    wake.close()


def test_a_port_in_use() -> None:
    first = Listener(Address("127.0.0.1", 0), "igtl-1", OutputError)
    with pytest.raises(OutputError, match=f"port {first.port} of that address: address already"):
        Listener(Address("127.0.0.1", first.port), "igtl-1", OutputError)
    first.close()


def test_an_address_of_another_machine() -> None:
    with pytest.raises(SourceError, match="cannot serve"):
        Listener(Address("192.0.2.1", 18945), "igtl-1", SourceError)


def test_accepting_ends() -> None:
    wake = Wake()
    listener = Listener(Address("127.0.0.1", 0), "igtl-1", OutputError)
    assert listener.accept(wake, 0.0) is None
    assert not listener.waits()
    client = socket.create_connection(("127.0.0.1", listener.port))
    taken = listener.accept(wake, 10.0)
    assert taken is not None
    taken.close()
    client.close()
    waiting = Runner(lambda: listener.accept(wake, 3600))
    wake.set()
    assert waiting.join().result is None
    listener.close()
    assert listener.accept(wake, 0.0) is None
    wake.close()
    wake.set()
