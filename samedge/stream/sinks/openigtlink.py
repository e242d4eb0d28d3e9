"""OpenIGTLink as a sink: masks for 3D Slicer and others, with the input's time and place."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import OutputError, PromptError
from samedge.openigtlink import PORT_OUT
from samedge.openigtlink.address import Address, parse_address
from samedge.openigtlink.header import check_device
from samedge.openigtlink.markups import Markups, Place
from samedge.openigtlink.messages import EXITING, Points, Status, Text, message
from samedge.sources.uri import Uri, yes_no
from samedge.stream.live import controls
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.probability import probability_map
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.live.states import State
from samedge.stream.sinks.igtl_clients import Clients
from samedge.stream.sinks.igtl_messages import (
    VALUES,
    IgtlNames,
    Pace,
    Packet,
    place_of,
    status_of,
    status_text,
)

SAY_S = 0.5  # between two messages about the state while there is no frame
FLUSH_S = 0.5


class OpenIgtLinkSink(LiveSink):
    """Serves, or connects to, programs that read OpenIGTLink.

    With every frame they get the mask (IMAGE, one component of uint8, with the input's time stamp,
    matrix and axes), the input's transform (TRANSFORM) and the state (STRING of JSON). Where there
    is no mask, or it is older than its time to live when its turn comes, the IMAGE is all zero. A
    client that takes nothing for a second is dropped. POINT messages become prompts.

    Args:
        address: to serve at, or to connect to.
        connects: whether this side connects.
        names: what is sent under which names.
        points: "image": marks lie in the frame that the image's matrix leads to. "reference": they
            lie in the one that the transform leads to from there.
    """

    def __init__(
        self,
        address: Address,
        connects: bool = False,
        names: IgtlNames | None = None,
        points: str = "image",
    ) -> None:
        self.name = f"igtl-{address.port or 'any'}"
        self._address, self._connects = address, connects
        self._names, self._in_reference = names or IgtlNames(), points == "reference"
        self._clients: Clients | None = None
        self._lock = threading.Lock()  # over what follows; clients' threads use it
        self._controls: controls.Controls | None = None
        self._about: About | None = None
        self._markups, self._marks_wait = Markups(), False
        self._place: Place | None = None
        self._marks_left_out = self._marks_refused = 0
        self._refusal = ""  # of the last marks
        self._last: LiveFrame | None = None
        self._shown = False  # clients have a mask that is not empty
        self._said: tuple[State, float] | None = None
        self._pace = Pace()
        self._frames = 0

    @property
    def port(self) -> int:
        """At which clients are served, after `open`."""
        return self._clients.port if self._clients else self._address.port

    @property
    def serves(self) -> str:
        """`HOST:PORT` that clients connect to, once it is open; empty where this side connects."""
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        return "" if self._connects else f"{host}:{self.port}"

    def open(self, about: About) -> None:
        self._controls, self._about = about.controls, about
        self._clients = Clients(self.name, self._take_marks)
        if self._connects:
            self._clients.connect(self._address)
        else:
            self._clients.serve(self._address)

    def write(self, item: LiveFrame) -> None:
        assert self._clients is not None
        now = time.monotonic()
        if item.is_new:
            self._pace.add(now)
            self._frames += 1
        self._send(item, now)
        with self._lock:
            self._place = place_of(item, self._in_reference)
        self._answer_marks()

    def _send(self, item: LiveFrame, now: float) -> None:
        assert self._clients is not None
        status = status_of(item, self._pace.per_second(now), now)
        status["refused"] = self._refusal
        packet = Packet(item, self._names, status, probability=self._probability)
        self._clients.put(packet)
        self._last, self._shown = item, item.has_masks
        self._said = (item.state, now)

    def _probability(self, item: LiveFrame, doubtful: bool) -> NDArray[np.uint8]:
        assert self._about is not None
        return probability_map(item, self._about.family, self._about.input_size, doubtful)

    def idle(self, state: State) -> None:
        assert self._clients is not None
        now = time.monotonic()
        if self._last is not None and self._shown and now > self._last.expires_s:
            self._send(self._last, now)  # empty by now
            self._shown = False
        if self._said and self._said[0] == state and now - self._said[1] < SAY_S:
            return
        self._said = (state, now)
        said = {"state": state.value, "fps": self._pace.per_second(now)}
        for client in self._clients.now:
            client.outbox.say(self._state_message(said, client.version))

    def close(self, error: BaseException | None) -> None:
        if self._clients is None:
            return
        if self._last is not None:
            ended = {"state": "ended" if error is None else "failed"}
            self._clients.put(Packet(self._last, self._names, ended, empty=True))
        for client in self._clients.now:
            client.say_status(Status(EXITING, name="Exiting"))
        self._clients.flush(FLUSH_S)
        self._clients.close()

    def describe(self) -> Mapping[str, Any]:
        clients = self._clients
        with self._lock:
            left_out, refused = self._marks_left_out, self._marks_refused
        return {
            "kind": "openigtlink",
            "frames": self._frames,
            "clients_now": len(clients.now) if clients else 0,
            "marks_left_out": left_out,
            "marks_refused": refused,
            **({key: clients.counts[key] for key in sorted(clients.counts)} if clients else {}),
        }

    def _state_message(self, said: Mapping[str, Any], version: int) -> bytes:
        return message(Text(status_text(said)), self._names.status).pack(version)

    def _take_marks(self, device: str, points: Points) -> None:
        """Called by the clients' threads."""
        with self._lock:
            self._markups.take(device, points)
            self._marks_wait = True
        self._answer_marks()

    def _answer_marks(self) -> None:
        """Marks as prompts of the newest frame; they wait until there is one."""
        with self._lock:
            if not self._marks_wait or self._place is None or self._controls is None:
                return
            self._marks_wait = False
            marks = self._markups.on(self._place)
            self._marks_left_out += marks.left_out
            try:
                self._controls.send(controls.Points(marks.points, marks.names))
                self._refusal = ""
            except PromptError as problem:
                self._marks_refused += 1
                self._refusal = str(problem)

    @classmethod
    def from_uri(cls, uri: Uri) -> OpenIgtLinkSink:
        """The sink that `igtl://[HOST][:PORT]` (serves) or `igtl+connect://HOST[:PORT]` names.

        Raises:
            OutputError: the address or an option is none.
        """
        uri.check_options(
            ("name", "transform", "status", "image", "values", "doubtful", "points"), OutputError
        )
        plain = IgtlNames()
        name = "a name of up to 20 characters"
        names = IgtlNames(
            uri.take("name", _name, plain.mask, name, OutputError),
            uri.take("transform", _name, plain.transform, name, OutputError),
            uri.take("status", _name, plain.status, name, OutputError),
            uri.take("image", _name, plain.image, name, OutputError),
            uri.take("values", _values, plain.values, _VALUES_SAID, OutputError),
            uri.take("doubtful", yes_no, plain.doubtful, "yes or no", OutputError),
        )
        points = uri.take("points", _points, "image", "image or reference", OutputError)
        address = parse_address(uri.where, PORT_OUT, uri.text, OutputError)
        return cls(address, uri.scheme == "igtl+connect", names, points)


_VALUES_SAID = "binary (0 and 1), labels (numbers of objects) or probability (times 255)"


def _name(text: str) -> str:
    if not text:
        raise ValueError(text)
    return check_device(text)


def _values(text: str) -> str:
    if text not in VALUES:
        raise ValueError(text)
    return text


def _points(text: str) -> str:
    if text not in ("image", "reference"):
        raise ValueError(text)
    return text
