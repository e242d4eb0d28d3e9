"""One connection: bytes of a socket as whole messages, whatever the other side does.

A message with a wrong checksum, an odd content or an unknown type is skipped by its size, counted,
and the next one is read. What cannot be skipped (a size no message has, half a message and then
silence) ends the connection with an error. Nothing is allocated before its size was looked at.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from samedge.files.limits import IGTL_SKIPPED_BYTES
from samedge.openigtlink.crc64 import crc64
from samedge.openigtlink.header import SIZE, VERSIONS, Header, Message, parse_body, parse_header
from samedge.openigtlink.messages import Body, decode_content, most_bytes
from samedge.openigtlink.problems import PeerGone, PeerStalled, ProtocolError
from samedge.openigtlink.sockets import READ, WRITE, Waiter, Wake

OUR_VERSION = 2
MAX_UNKNOWN = 10
MESSAGE_S = 10.0  # a message that has begun is whole after so long, and a second more per MB
SILENCE_S = 5.0  # or no byte of it came for so long

_SCRATCH = 1 << 16


@dataclass(frozen=True, eq=False)
class Received:
    """A message that came.

    Attributes:
        message: its header's fields and metadata.
        body: what it says.
        at_s: when its last byte was there, in seconds of `time.monotonic`.
    """

    message: Message
    body: Body
    at_s: float


class Connection:
    """Reads and writes messages. One thread may read while another writes.

    Args:
        sock: connected; belongs to this object from now on.
        name: for messages.
        wake: ends all waits.
        wanted: says by its header whether a message is of interest; the others are skipped.
        note: told once of every kind of trouble.

    Attributes:
        wanted: see above.
        counts: messages by what became of them: "read", "wrong checksum", "damaged", "too large",
            "unknown type", "unwanted".
        unknown: the first types that are not known.
        peer_version: highest version of a header that came, at first 1.
        received_s: when the last byte came (`time.monotonic`).
    """

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        wake: Wake,
        wanted: Callable[[Header], bool] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._socket, self._name, self._wake = sock, name, wake
        self.wanted = wanted or (lambda _: True)
        self._note = note or (lambda _: None)
        self._reading = Waiter(sock, READ, wake)
        self._writing = Waiter(sock, WRITE, wake)
        self._scratch = memoryview(bytearray(_SCRATCH))
        self._closed = threading.Event()
        self.counts: Counter[str] = Counter()
        self.unknown: set[str] = set()
        self.peer_version = 1
        self.received_s = time.monotonic()

    @property
    def version(self) -> int:
        """Of the headers to send: the lower one of both sides."""
        return min(OUR_VERSION, self.peer_version)

    @property
    def is_ended(self) -> bool:
        """Somebody ended all waits."""
        return self._wake.is_set

    def receive(self, timeout_s: float) -> Received | None:
        """The next message that is of interest; None: none began in time, or `wake` is set.

        Raises:
            PeerGone: the other side closed the connection or fell silent within a message.
            ProtocolError: it does not speak OpenIGTLink, or sends more than can be skipped.
        """
        until = time.monotonic() + timeout_s
        while self._reading.wait(until):
            found = self._message()
            if found is not None or time.monotonic() >= until:
                return found
        return None

    def _message(self) -> Received | None:
        """One whole message; None if it was skipped, or `wake` came."""
        began = time.monotonic()
        head = memoryview(bytearray(SIZE))
        if not self._fill(head, began + MESSAGE_S, first=True):
            return None
        header = parse_header(head)
        IGTL_SKIPPED_BYTES.check(header.body_size, self._name, ProtocolError)
        until = began + MESSAGE_S + header.body_size / 1e6
        why = self._why_skipped(header)
        if why:
            self.counts[why] += 1
            self._skip(header.body_size, until)
            return None
        body = memoryview(bytearray(header.body_size))
        if not self._fill(body, until):
            return None
        at_s = time.monotonic()
        if crc64(body) != header.crc:
            self._trouble("wrong checksum", "a message came with a wrong checksum and was skipped")
            return None
        self.peer_version = max(self.peer_version, header.version)
        try:
            message = parse_body(header, body)
            content = decode_content(message)
        except ProtocolError as problem:
            self._trouble("damaged", f"a damaged message was skipped: {problem}")
            return None
        self.counts["read"] += 1
        return Received(message, content, at_s)

    def _why_skipped(self, header: Header) -> str:
        most = most_bytes(header.type)
        if not most or header.version not in VERSIONS:
            if len(self.unknown) < MAX_UNKNOWN:
                self.unknown.add(header.type)
            return "unknown type"
        if not self.wanted(header):
            return "unwanted"
        if header.body_size > most:
            self._note(
                f"{self._name}: a message of {header.body_size} bytes was skipped; "
                f"one of its type has up to {most}"
            )
            return "too large"
        return ""

    def _trouble(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        self._note(f"{self._name}: {text}")

    def _fill(self, into: memoryview, until: float, first: bool = False) -> bool:
        """Read until `into` is full; False: `wake` is set."""
        done = 0
        while done < len(into):
            limit = min(until, time.monotonic() + SILENCE_S)
            if not self._reading.wait(limit):
                if self._wake.is_set:
                    return False
                raise PeerGone(f"{self._name}: half a message came, and then nothing more")
            try:
                count = self._socket.recv_into(into[done:])
            except (BlockingIOError, InterruptedError):
                continue
            except (OSError, ValueError):
                count = 0
            if not count:
                where = "" if first and not done else ", in the middle of a message"
                raise PeerGone(f"{self._name}: the other side closed the connection{where}")
            done += count
            self.received_s = time.monotonic()
        return True

    def _skip(self, count: int, until: float) -> None:
        while count and self._fill(self._scratch[: min(count, _SCRATCH)], until):
            count -= min(count, _SCRATCH)

    def send(self, data: bytes | memoryview, timeout_s: float) -> None:
        """Write all of it.

        Raises:
            PeerStalled: the other side did not take it in time. What is sent is half a message
                then: close.
            PeerGone: it closed the connection.
        """
        until, left = time.monotonic() + timeout_s, memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except (BlockingIOError, InterruptedError):
                if not self._writing.wait(until):
                    raise PeerStalled(
                        f"{self._name}: the other side takes nothing any more"
                    ) from None
            except (OSError, ValueError):
                raise PeerGone(f"{self._name}: the other side closed the connection") from None

    def hang_up(self) -> None:
        """Let the other side, and whoever reads or writes here, see that it is over."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Once no thread reads or writes any more."""
        if not self._closed.is_set():
            self._closed.set()
            self._reading.close()
            self._writing.close()
            self._socket.close()
