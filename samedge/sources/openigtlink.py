"""OpenIGTLink as a source: frames of PLUS, 3D Slicer and others, with their times and places."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SamEdgeError, SourceError
from samedge.openigtlink import PORT_IN
from samedge.openigtlink.address import Address, parse_address
from samedge.openigtlink.connection import Connection, Received
from samedge.openigtlink.header import Header, Message, check_device
from samedge.openigtlink.image import Image
from samedge.openigtlink.markups import Markups, Place
from samedge.openigtlink.messages import GetStatus, Points, Status, Transform, message
from samedge.openigtlink.problems import PeerGone, ProtocolError
from samedge.openigtlink.sockets import Listener, Wake, connect
from samedge.openigtlink.stamps import seconds_from_ticks
from samedge.sources.frame import Frame, Origin, Source, Spacing, Warn
from samedge.sources.openigtlink_frames import FrameMaker, spacing_of
from samedge.sources.uri import Uri, positive

IMAGES = ("Image_Image", "Image_Reference")
TRANSFORMS = ("ImageToReference", "ProbeToReference")
ANY = "*"

CONNECT_S = 5.0
ACCEPT_S = 10.0  # that a serving source waits for its sender
TURN_S = 0.25  # between looks at what else has to be done
TRANSFORM_S = 1.0  # a transform that came earlier is not the image's
DEAD_S = 2.0  # a sender that was silent for so long gives way to another one
SEND_S = 1.0


@dataclass(frozen=True)
class IgtlSettings:
    """What is taken from the messages.

    Attributes:
        images: names of devices whose images are frames; the first of them that comes is kept to.
            "*": any.
        transforms: names of transforms; the first of them of which any came lately counts.
        window: (black, white) grey values, or None for 8-bit pixels as they are.
        spacing: (row, column) in mm where the sender's matrix does not tell it, or None.
        points: "image": marks lie in the frame that the image's matrix leads to. "reference": they
            lie in the one that the transform leads to from there.
    """

    images: tuple[str, ...] = IMAGES
    transforms: tuple[str, ...] = TRANSFORMS
    window: tuple[float, float] | None = None
    spacing: Spacing | None = None
    points: str = "image"


class OpenIgtLinkSource(Source):
    """Frames that come as IMAGE messages.

    Iterating connects, or waits up to 10 s for a sender; it raises a SourceError when there is
    none, or when it goes, and may be tried again. Frames carry what the sender said of their time
    and place (`Frame.origin`), and the transform whose time stamp is nearest among those of the
    last second; none is waited for.

    Args:
        address: of the sender, or to serve at.
        serve: False: the sender is the server (PLUS). True: it connects here.
        settings: see there.
        warn: told of everything that is not as expected.

    Attributes:
        on_points: called with the marks of POINT messages as prompts: for each object (x, y,
            inside) in px, and the objects' names. All marks of the sender, every time. What it
            raises (SamEdgeError) is noted.
        port: to which a sender connects, once iterating has begun.
    """

    kind = "openigtlink"
    is_live = True
    comes_later = True  # whichever program is started first
    is_loop = True
    total = None

    def __init__(
        self,
        address: Address,
        serve: bool = False,
        settings: IgtlSettings | None = None,
        warn: Warn | None = None,
    ) -> None:
        # The host is nobody else's business: this name stands in records.
        super().__init__(f"igtl-{address.port or 'any'}", warn)
        self._address, self._serve = address, serve
        self._settings = settings or IgtlSettings()
        self._wake = Wake()
        self._listener: Listener | None = None
        self._index = 0
        self._began_s: float | None = None
        self.port = 0 if serve else address.port

    @property
    def stem(self) -> str:
        return self.name

    def __iter__(self) -> Iterator[Frame]:
        connection = None if self._wake.is_set else self._connect()
        if connection is None:
            return
        try:
            yield from Sender(self, connection).frames()
        finally:
            connection.close()

    def interrupt(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._wake.set()
        if self._listener is not None:
            self._listener.close()
        self._wake.close()

    def _connect(self) -> Connection | None:
        if self._serve:
            self._listen()
            assert self._listener is not None
            sock = self._listener.accept(self._wake, ACCEPT_S)
            if sock is None and not self._wake.is_set:
                raise SourceError(f"{self.name}: nobody connected within {ACCEPT_S:g} s")
        else:
            sock = connect(self._address, self._wake, CONNECT_S, self.name)
        if sock is None:
            return None
        return Connection(sock, self.name, self._wake, note=self.warn)

    def _listen(self) -> None:
        """Serve from now on; senders that come between two iterations wait."""
        if self._listener is None:
            self._listener = Listener(self._address, self.name, SourceError)
            self.port = self._listener.port

    def _other_sender(self, connection: Connection) -> None:
        """Somebody else wants to send: the present one stays, unless it is silent.

        Raises:
            PeerGone: it is silent, so that the other one may come.
        """
        if self._listener is None:
            return
        if time.monotonic() - connection.received_s > DEAD_S:
            if self._listener.waits():
                raise PeerGone(f"{self.name}: another sender takes the place of a silent one")
            return
        sock = self._listener.accept(self._wake, 0.0)
        if sock is not None:
            sock.close()
            self.warn(f"{self.name}: a second sender was turned away while the first one sends")

    def _number(self, at_s: float) -> tuple[int, float]:
        """Index and time of the next frame, also over several connections."""
        if self._began_s is None:
            self._began_s = at_s
        self._index += 1
        return self._index - 1, at_s - self._began_s


class Sender:
    """What comes over one connection."""

    def __init__(self, source: OpenIgtLinkSource, connection: Connection) -> None:
        self._source, self._connection = source, connection
        self._settings = source._settings
        self._maker = FrameMaker(source.name, self._settings.window, source.warn)
        self._transforms: dict[str, deque[_Stamped]] = {}
        self._markups, self._marks_wait = Markups(), False
        self._image = ""  # the device that is kept to
        self._others: set[str] = set()
        self._last: Frame | None = None
        self._looked_s = time.monotonic()
        connection.wanted = self._wanted

    def frames(self) -> Iterator[Frame]:
        """Frames until the sender goes, or the source is interrupted."""
        # PLUS tells the status of transforms only to those who show that they know version 2.
        greeting = Message("GET_STATUS", "samedge", version=2)
        self._connection.send(greeting.pack(), SEND_S)
        while not self._source._wake.is_set:
            received = self._connection.receive(TURN_S)
            if time.monotonic() - self._looked_s > TURN_S:
                self._look_around()
            if received is None:
                continue
            frame = self._take(received)
            if frame is not None:
                self._last = frame
                self._answer_marks()
                yield frame

    def _wanted(self, header: Header) -> bool:
        if header.type == "IMAGE":
            return self._is_image(header.device)
        if header.type == "TRANSFORM":
            return header.device in self._settings.transforms
        if header.type == "POINT":
            return self._source.on_points is not None
        return header.type in ("STATUS", "GET_STATUS")

    def _is_image(self, device: str) -> bool:
        known = self._settings.images
        if self._image:
            if device in known and device != self._image:
                self._source.warn(
                    f"{self._source.name}: images called '{device}' come as well; those called "
                    f"'{self._image}' came first and are taken"
                )
            return device == self._image
        if device in known or ANY in known:
            self._image = device
            return True
        if len(self._others) < 20:
            self._others.add(device)
        return False

    def _look_around(self) -> None:
        """What has to be done now and then."""
        self._looked_s = time.monotonic()
        self._source._other_sender(self._connection)
        unknown = self._connection.unknown
        if unknown and not self._image and not self._others:
            self._source.warn(
                f"{self._source.name}: messages of type {', '.join(sorted(unknown))} come, which "
                "are not read, and no IMAGE: let the sender send IMAGE, without compression"
            )
        if self._others and not self._image:
            self._source.warn(
                f"{self._source.name}: images called {', '.join(sorted(self._others))} come, and "
                f"those called {' or '.join(self._settings.images)} are expected: image=NAME"
            )

    def _take(self, received: Received) -> Frame | None:
        header, body = received.message, received.body
        if isinstance(body, Image):
            return self._frame(received, body)
        if isinstance(body, Transform):
            kept = self._transforms.setdefault(header.device, deque(maxlen=256))
            kept.append(_Stamped(header.ticks, body.matrix, _is_valid(received), received.at_s))
        elif isinstance(body, GetStatus):
            answer = message(Status(), "samedge")
            self._connection.send(answer.pack(self._connection.version), SEND_S)
        elif isinstance(body, Status) and body.code not in (0, 1):
            self._source.warn(f"{self._source.name}: the sender reports status {body.code}")
        elif isinstance(body, Points):
            self._markups.take(header.device, body)
            self._marks_wait = True
            self._answer_marks()
        return None

    def _frame(self, received: Received, image: Image) -> Frame:
        source, head = self._source, received.message
        pixels, matrix = self._maker.make(image)
        nearest = self._nearest(head.ticks, received.at_s)
        index, time_s = source._number(received.at_s)
        origin = Origin(
            ticks=head.ticks,
            matrix=matrix,
            transform=nearest.matrix if nearest else None,
            transform_ticks=nearest.ticks if nearest else None,
            transform_valid=nearest.is_valid if nearest else True,
            device=head.device,
            axes=image.axes,
        )
        return Frame(
            pixels,
            index,
            time_s,
            source.name,
            f"{source.stem}-{index:06d}",
            spacing_mm=self._spacing(origin, pixels),
            captured_s=received.at_s,
            stamp_s=seconds_from_ticks(head.ticks) if head.ticks else None,
            origin=origin,
        )

    def _nearest(self, ticks: int, at_s: float) -> _Stamped | None:
        """The transform nearest by its time stamp, of those that came just now by our clock."""
        for name in self._settings.transforms:
            recent = [t for t in self._transforms.get(name, ()) if at_s - t.at_s <= TRANSFORM_S]
            if recent:
                # Of equally near ones the newest.
                return min(reversed(recent), key=lambda t: abs(t.ticks - ticks))
        return None

    def _spacing(self, origin: Origin, pixels: NDArray[np.uint8]) -> Spacing | None:
        if self._settings.spacing is not None:
            return self._settings.spacing
        usable = origin.transform if origin.transform_valid else None
        found, why = spacing_of(origin.matrix, pixels.shape[0], pixels.shape[1], usable)
        if found is None:
            self._source.warn(
                f"{self._source.name}: the size of a pixel is unknown: {why}. Areas are in px; "
                "spacing=MM says it"
            )
        return found

    def _answer_marks(self) -> None:
        """Marks as prompts of the newest image; they wait until there is one."""
        if not self._marks_wait or self._last is None or self._source.on_points is None:
            return
        self._marks_wait = False
        origin, frame = self._last.origin, self._last
        assert origin is not None
        in_reference = self._settings.points == "reference" and origin.transform_valid
        place = Place(
            origin.matrix,
            (frame.width, frame.height),
            origin.axes,
            origin.transform if in_reference else None,
        )
        marks = self._markups.on(place)
        name = self._source.name
        if marks.left_out:
            self._source.warn(f"{name}: marks that do not lie in the image were left out")
        try:
            self._source.on_points(marks.points, marks.names)
        except SamEdgeError as problem:
            self._source.warn(f"{name}: marks were refused: {problem}")


@dataclass(frozen=True, eq=False)
class _Stamped:
    """A transform that came."""

    ticks: int
    matrix: NDArray[np.float32]
    is_valid: bool
    at_s: float


def _is_valid(received: Received) -> bool:
    """PLUS writes a status beside each transform, "OK" or what is wrong ("INVALID", "MISSING",
    "OUT_OF_VIEW"); only OK may be used. Version 1 has no status, and sends no invalid ones."""
    metadata = received.message.metadata
    body: Any = received.body
    status = metadata.get("TransformStatus", "OK").strip().upper()
    valid = metadata.get("TransformValid", "true").strip().lower()
    return status == "OK" and valid in ("1", "true") and bool(np.isfinite(body.matrix).all())


def open_openigtlink(uri: Uri, warn: Warn | None = None) -> OpenIgtLinkSource:
    """The source that `igtl://HOST[:PORT]` (connects) or `igtl+serve://[HOST][:PORT]` names.

    Raises:
        SourceError: the address or an option is none.
    """
    uri.check_options(("image", "transform", "window", "spacing", "points"))
    defaults = IgtlSettings()
    settings = IgtlSettings(
        uri.take("image", _names, defaults.images, "up to 20 characters, or several with commas"),
        uri.take("transform", _names, defaults.transforms, "up to 20 characters"),
        uri.take("window", _window, None, "BLACK,WHITE"),
        uri.take("spacing", _spacing, None, "the size of a pixel in mm, or ROW,COLUMN"),
        uri.take("points", _points, defaults.points, "image or reference"),
    )
    address = parse_address(uri.where, PORT_IN, uri.text, SourceError)
    return OpenIgtLinkSource(address, uri.scheme == "igtl+serve", settings, warn)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise ProtocolError("a name is empty")
    return tuple(check_device(name) for name in names)


def _window(text: str) -> tuple[float, float]:
    low, high = map(float, text.split(","))
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(text)
    return low, high


def _spacing(text: str) -> Spacing:
    row, _, column = text.partition(",")
    return positive(row), positive(column or row)


def _points(text: str) -> str:
    if text not in ("image", "reference"):
        raise ValueError(text)
    return text
