"""The clients of an OpenIGTLink sink, each with threads of its own: none can hold up another."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

from samedge.errors import OutputError
from samedge.openigtlink.address import Address
from samedge.openigtlink.connection import Connection
from samedge.openigtlink.header import Header
from samedge.openigtlink.messages import GetStatus, Points, Status, message
from samedge.openigtlink.problems import PeerStalled, ProtocolError
from samedge.openigtlink.sockets import Listener, Wake, connect
from samedge.stream.sinks.igtl_messages import Packet

MAX_CLIENTS = 16
SEND_S = 1.0  # a client that takes nothing for so long is dropped
HEARTBEAT_S = 0.25  # a client to which nothing was sent for so long gets a STATUS
TURN_S = 0.25
CONNECT_S = 5.0
RETRY_S, RETRY_MOST_S = 0.1, 5.0
MAX_ANSWERS = 8

OnMarks = Callable[[str, Points], None]


class Outbox:
    """What waits for one client: the newest packet, and a few answers.

    Attributes:
        skipped: packets that a newer one replaced.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._packet: Packet | None = None
        self._answers: deque[bytes] = deque(maxlen=MAX_ANSWERS)
        self._closed = self._busy = False
        self.skipped = 0

    def put(self, packet: Packet) -> None:
        with self._changed:
            self.skipped += self._packet is not None
            self._packet = packet
            self._changed.notify_all()

    def say(self, data: bytes) -> None:
        with self._changed:
            self._answers.append(data)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> tuple[list[bytes], Packet | None]:
        """All that waits, once something does or the time is over. What was taken before counts as
        sent."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._waits, timeout_s)
            found = list(self._answers), self._packet
            self._answers.clear()
            self._packet = None
            self._busy = bool(found[0] or found[1])
            return found

    def close(self) -> None:
        """Let the one who waits in `take` come out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def flush(self, until: float) -> None:
        """Wait until everything was sent, at most until then (`time.monotonic`)."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not (self._waits or self._busy),
                max(0.0, until - time.monotonic()),
            )

    @property
    def _waits(self) -> bool:
        return self._packet is not None or bool(self._answers)


class Client:
    """One program that is connected. The newest packet waits for it; older ones are dropped.

    Args:
        connection: to it.
        on_marks: told of the POINT messages that it sends.
        counts: of all clients, by what happened; used with `lock`.
    """

    def __init__(
        self,
        connection: Connection,
        on_marks: OnMarks,
        counts: Counter[str],
        lock: threading.Lock,
    ) -> None:
        self._connection, self._on_marks = connection, on_marks
        self._counts, self._lock = counts, lock
        self.outbox = Outbox()
        self._over = threading.Event()
        self._writer = threading.Thread(target=self._write, name="igtl writer", daemon=True)
        connection.wanted = _wanted

    def run(self) -> None:
        """Serve it until it goes or is dropped; then everything is closed."""
        self._writer.start()
        try:
            while not self._over.is_set():
                received = self._connection.receive(TURN_S)
                if received is None:
                    if self._connection.is_ended:
                        break
                    continue
                if isinstance(received.body, GetStatus):
                    self.say_status()
                elif isinstance(received.body, Points):
                    self._count("marks")
                    self._on_marks(received.message.device, received.body)
        except ProtocolError:
            self._leave("gone")
        finally:
            self._over.set()
            self.outbox.close()
            self._connection.hang_up()
            self._writer.join(SEND_S + 1.0)
            self._connection.close()
            with self._lock:
                self._counts.update({f"in: {k}": v for k, v in self._connection.counts.items()})
                self._counts["frames skipped"] += self.outbox.skipped

    def say_status(self, status: Status | None = None) -> None:
        self.outbox.say(self._packed(status or Status()))

    @property
    def version(self) -> int:
        return self._connection.version

    def _packed(self, status: Status) -> bytes:
        return message(status, "samedge").pack(self._connection.version)

    def _write(self) -> None:
        try:
            while not self._over.is_set():
                answers, packet = self.outbox.take(HEARTBEAT_S)
                if packet is not None:
                    answers.append(packet.pack(self._connection.version))
                elif not answers and not self._over.is_set():
                    answers = [self._packed(Status())]
                for data in answers:
                    self._connection.send(data, SEND_S)
                if packet is not None:
                    self._count("frames sent")
        except PeerStalled:
            self._leave("dropped")
        except ProtocolError:
            self._leave("gone")
        finally:
            self._over.set()
            self.outbox.close()
            self._connection.hang_up()

    def _leave(self, why: str) -> None:
        """It is over, for the reason that was seen first."""
        with self._lock:
            if not self._over.is_set():
                self._over.set()
                self._counts[why] += 1

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def _wanted(header: Header) -> bool:
    return header.type in ("GET_STATUS", "POINT")


class Clients:
    """All of them: of a server, or the one to which this side connects.

    Args:
        name: for messages.
        on_marks: told of POINT messages, from threads of the clients.

    Attributes:
        counts: what happened: "clients", "gone", "dropped" (took nothing), "refused" (too many),
            "frames sent", "frames skipped", "marks", "in: ..." (messages).
        port: at which clients are served.
    """

    def __init__(self, name: str, on_marks: OnMarks) -> None:
        self._name, self._on_marks = name, on_marks
        self._wake = Wake()
        self._lock = threading.Lock()
        self._clients: list[Client] = []
        self._threads: list[threading.Thread] = []
        self._listener: Listener | None = None
        self.counts: Counter[str] = Counter()
        self.port = 0

    def serve(self, address: Address) -> None:
        """Take clients from now on.

        Raises:
            OutputError: the address cannot be had.
        """
        self._listener = Listener(address, self._name, OutputError)
        self.port = self._listener.port
        self._start(self._accept_all)

    def connect(self, address: Address) -> None:
        """Connect, again and again, in a thread of its own."""
        self.port = address.port
        self._start(lambda: self._connect_again(address))

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name="igtl clients", daemon=True)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(thread)
        thread.start()

    def _accept_all(self) -> None:
        assert self._listener is not None
        while not self._wake.is_set:
            sock = None
            try:
                sock = self._listener.accept(self._wake, TURN_S)
                if sock is not None:
                    self._accepted(sock)
            except (OSError, ProtocolError):  # no descriptors: those who are here are still served
                self._refuse(sock)
                self._wake.wait(TURN_S)

    def _accepted(self, sock: socket.socket) -> None:
        if len(self.now) >= MAX_CLIENTS:
            self._refuse(sock)
            return
        client = self._added(Connection(sock, self._name, self._wake))
        self._start(lambda: self._run(client))

    def _refuse(self, sock: socket.socket | None) -> None:
        with self._lock:  # before it is closed: whoever sees that finds it counted
            self.counts["refused"] += 1
        if sock is not None:
            sock.close()

    def _connect_again(self, address: Address) -> None:
        pause_s = RETRY_S
        while not self._wake.is_set:
            with suppress(ProtocolError, OSError):
                sock = connect(address, self._wake, CONNECT_S, self._name)
                if sock is None:
                    return
                began_s = time.monotonic()
                self._run(self._added(Connection(sock, self._name, self._wake)))
                if time.monotonic() - began_s > RETRY_MOST_S:
                    pause_s = RETRY_S
            self._wake.wait(pause_s)
            pause_s = min(2 * pause_s, RETRY_MOST_S)

    def _added(self, connection: Connection) -> Client:
        client = Client(connection, self._on_marks, self.counts, self._lock)
        with self._lock:
            self._clients.append(client)
            self.counts["clients"] += 1
        return client

    def _run(self, client: Client) -> None:
        try:
            client.run()
        finally:
            with self._lock:
                self._clients.remove(client)

    @property
    def now(self) -> tuple[Client, ...]:
        """Those that are connected."""
        with self._lock:
            return tuple(self._clients)

    def put(self, packet: Packet) -> None:
        """Send a frame to all."""
        for client in self.now:
            client.outbox.put(packet)

    def flush(self, timeout_s: float) -> None:
        """Wait until everything was given to the system, at most so long."""
        until = time.monotonic() + timeout_s
        for client in self.now:
            client.outbox.flush(until)

    def close(self) -> None:
        """Let all go, within a bounded time."""
        self._wake.set()
        until = time.monotonic() + SEND_S + 2.0
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self._listener is not None:
            self._listener.close()
        self._wake.close()
