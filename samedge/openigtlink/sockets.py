"""Sockets whose every wait can be ended at once from another thread, and ends by itself."""

from __future__ import annotations

import os
import queue
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from samedge.errors import SamEdgeError
from samedge.openigtlink.address import Address
from samedge.openigtlink.problems import PeerGone, ProtocolError

_UNSENT = 1 << 16  # bytes that wait to be sent, above which no more are given to the system
_LOOK_S = 0.02
_PAUSE_S = 0.05
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Wake:
    """Ends waits of any thread, once and for all: `set` is seen by all of them at once."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._set = threading.Event()

    @property
    def is_set(self) -> bool:
        return self._set.is_set()

    def set(self) -> None:
        """End all waits, and those to come. Any thread, any number of times."""
        if not self._set.is_set():
            self._set.set()
            with suppress(OSError):
                self._sender.send(b"!")

    def wait(self, timeout_s: float) -> bool:
        """Sleep so long, or until `set`; whether it was set."""
        return self._set.wait(timeout_s)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def close(self) -> None:
        """Give the sockets back, after all who wait are gone."""
        self._set.set()
        self._receiver.close()
        self._sender.close()


class Waiter:
    """Waits until a socket can be read or written, the time is over, or somebody calls `wake`."""

    def __init__(self, sock: socket.socket, events: int, wake: Wake) -> None:
        self._socket, self._wake = sock, wake
        self._selector = selectors.DefaultSelector()
        try:
            self._selector.register(sock, events)
            self._selector.register(wake, READ)
        except (OSError, ValueError) as problem:  # closed in the meantime
            self._selector.close()
            raise PeerGone("the connection was closed") from problem

    def wait(self, until: float) -> bool:
        """Whether the socket is ready; False: it is `until` (`time.monotonic`), or `wake` came."""
        if self._wake.is_set:
            return False
        left = max(0.0, until - time.monotonic())
        ready = self._selector.select(left)
        return not self._wake.is_set and any(key.fileobj is self._socket for key, _ in ready)

    def close(self) -> None:
        self._selector.close()


def prepare(sock: socket.socket) -> socket.socket:
    """Settings of a connection: it never blocks, sends at once, and the system looks now and then
    whether a silent peer is still there (a cable that was pulled is seen after some 10 s)."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 4), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    # No more than about a frame lies with the system: what waits there cannot be replaced by newer.
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
    return sock


def connect(address: Address, wake: Wake, timeout_s: float, name: str) -> socket.socket | None:
    """A connection to an address, or None if `wake` came first.

    Raises:
        ProtocolError: nobody answers within `timeout_s`, or the name cannot be looked up.
    """
    until = time.monotonic() + timeout_s
    found = _looked_up(address, wake, until, name)
    if found is None:
        return None
    family, place = found
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        prepare(sock)
        with suppress(BlockingIOError):
            sock.connect(place)
        waiter = Waiter(sock, WRITE, wake)
        try:
            ready = waiter.wait(until)
        finally:
            waiter.close()
        if wake.is_set:
            sock.close()
            return None
        if not ready:
            raise TimeoutError(f"no answer within {timeout_s:g} s")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except (OSError, ProtocolError) as problem:
        sock.close()
        raise ProtocolError(
            f"{name}: no connection to port {address.port} of its host: {_reason(problem)}. "
            "Does the other program run, and does it serve there?"
        ) from None
    return sock


def _looked_up(address: Address, wake: Wake, until: float, name: str) -> tuple[int, Any] | None:
    """Family and place of an address; a name is looked up in a thread, for that cannot be ended."""
    answer: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def look_up(flags: int = 0) -> None:
        try:
            answer.put(
                socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
            )
        except OSError as problem:
            answer.put(problem)

    look_up(socket.AI_NUMERICHOST)
    found = answer.get()
    if isinstance(found, OSError):
        threading.Thread(target=look_up, name="igtl look-up", daemon=True).start()
        while True:
            try:
                found = answer.get(timeout=_LOOK_S)
                break
            except queue.Empty:
                if wake.is_set:
                    return None
                if time.monotonic() >= until:
                    found = TimeoutError("no answer")
                    break
    if isinstance(found, OSError):
        raise ProtocolError(f"{name}: its host cannot be looked up: {_reason(found)}")
    return found[0][0], found[0][4]


class Listener:
    """Takes connections at an address.

    Args:
        address: port 0: any that is free; `port` tells.
        name: for messages.
        error: raised where the address cannot be had.
    """

    def __init__(self, address: Address, name: str, error: type[SamEdgeError]) -> None:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let two programs have one port
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address.host, address.port))
            self._socket.listen(8)
            self._socket.setblocking(False)
        except OSError as problem:
            self._socket.close()
            raise error(
                f"{name}: cannot serve at port {address.port} of that address: "
                f"{_reason(problem)}. Stop the program that has it, or name another port"
            ) from None
        self.port = int(self._socket.getsockname()[1])

    def accept(self, wake: Wake, timeout_s: float) -> socket.socket | None:
        """The next connection, or None if none came in time or `wake` is set."""
        try:
            waiter = Waiter(self._socket, READ, wake)
        except PeerGone:  # closed in the meantime
            return None
        try:
            if not waiter.wait(time.monotonic() + timeout_s):
                return None
            sock, _ = self._socket.accept()
            return prepare(sock)
        except OSError:  # it was gone again; or there are no descriptors, until others are closed
            wake.wait(_PAUSE_S)
            return None
        finally:
            waiter.close()

    def waits(self) -> bool:
        """Somebody wants to connect."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, READ)
            return bool(selector.select(0))

    def close(self) -> None:
        self._socket.close()


def _reason(problem: BaseException) -> str:
    """Why, without the address, which stands in some of the system's messages."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror.lower()
    return str(problem)
