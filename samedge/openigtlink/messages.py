"""TRANSFORM, STRING, POINT, STATUS and GET_STATUS messages, and which type is read by what."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from samedge.files.limits import IGTL_BODY_BYTES, IGTL_POINTS, IGTL_SMALL_BYTES
from samedge.openigtlink.header import LATIN_1, Message, decode, encode
from samedge.openigtlink.image import Image, parse_image
from samedge.openigtlink.problems import ProtocolError

MAX_TEXT = 65535  # bytes: its length has 16 bits

_TRANSFORM = struct.Struct(">12f")
_TEXT = struct.Struct(">HH")
_STATUS = struct.Struct(">Hq20s")
_POINT = struct.Struct(">64s32s4B3ff20s")


@dataclass(frozen=True, eq=False)
class Transform:
    """A place and an orientation, or any affine map.

    Attributes:
        matrix: float32 `[4, 4]`; the last row is 0 0 0 1.
    """

    matrix: NDArray[np.float32]

    def pack(self) -> bytes:
        """The content of a TRANSFORM message: the columns one after the other."""
        return _TRANSFORM.pack(*np.asarray(self.matrix, np.float32)[:3].T.ravel().tolist())


@dataclass(frozen=True)
class Text:
    """A STRING message.

    Attributes:
        text: up to 65535 bytes of ASCII, or of UTF-8 if it has other characters.
    """

    text: str

    def pack(self) -> bytes:
        """The content of a STRING message.

        Raises:
            ProtocolError: the text is too long.
        """
        encoding, data = encode(self.text)
        if len(data) > MAX_TEXT:
            raise ProtocolError(f"a text has {len(data)} bytes; a STRING message holds {MAX_TEXT}")
        return _TEXT.pack(encoding, len(data)) + data


@dataclass(frozen=True)
class Status:
    """How the sender is.

    Attributes:
        code: 1: all is well; 2 to 19 are the protocol's errors.
        subcode: of the device's own.
        name: of the error, up to 20 characters.
        text: for people.
    """

    code: int = 1
    subcode: int = 0
    name: str = ""
    text: str = ""

    def pack(self) -> bytes:
        """The content of a STATUS message."""
        name = self.name.encode("latin-1", "replace")[:20]
        text = self.text.encode("latin-1", "replace") + b"\0" if self.text else b""
        return _STATUS.pack(self.code, self.subcode, name) + text


OK, NOT_READY, EXITING = 1, 13, 19  # codes of a STATUS


@dataclass(frozen=True)
class Point:
    """One point, in mm.

    Attributes:
        name: up to 64 bytes.
        group: up to 32 bytes.
        colour: (R, G, B, A).
        position: (x, y, z) in mm.
        diameter: in mm.
        owner: up to 20 bytes, the image it belongs to.
    """

    name: str
    position: tuple[float, float, float]
    group: str = ""
    colour: tuple[int, int, int, int] = (255, 255, 0, 255)
    diameter: float = 0.0
    owner: str = ""


@dataclass(frozen=True)
class Points:
    """A POINT message: all points of one list."""

    points: tuple[Point, ...]

    def pack(self) -> bytes:
        """The content of a POINT message; names that are too long are cut."""
        return b"".join(
            _POINT.pack(
                one.name.encode("utf-8")[:64], one.group.encode("utf-8")[:32], *one.colour,
                *one.position, one.diameter, one.owner.encode("utf-8")[:20],
            )
            for one in self.points
        )  # fmt: skip


@dataclass(frozen=True)
class GetStatus:
    """Asks for a STATUS."""

    def pack(self) -> bytes:
        """Nothing: the header says it all."""
        return b""


Body: TypeAlias = "Image | Transform | Text | Status | Points | GetStatus"


def _parse_transform(content: memoryview) -> Transform:
    if len(content) != _TRANSFORM.size:
        raise ProtocolError(f"a transform has {_TRANSFORM.size} bytes; {len(content)} came")
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3] = np.array(_TRANSFORM.unpack(content), np.float32).reshape(4, 3).T
    return Transform(matrix)


def _parse_text(content: memoryview) -> Text:
    if len(content) < _TEXT.size:
        raise ProtocolError(f"a text has at least {_TEXT.size} bytes; {len(content)} came")
    encoding, length = _TEXT.unpack(content[: _TEXT.size])
    data = content[_TEXT.size :]
    if len(data) < length:
        raise ProtocolError(f"a text of {length} bytes came with {len(data)}")
    return Text(decode(encoding, data[:length]))


def _parse_status(content: memoryview) -> Status:
    if len(content) < _STATUS.size:
        raise ProtocolError(f"a status has at least {_STATUS.size} bytes; {len(content)} came")
    code, subcode, name = _STATUS.unpack(content[: _STATUS.size])
    return Status(code, subcode, _field(name), _field(bytes(content[_STATUS.size :])))


def _parse_points(content: memoryview) -> Points:
    if len(content) % _POINT.size:
        raise ProtocolError(f"points have {_POINT.size} bytes each; {len(content)} came")
    IGTL_POINTS.check(len(content) // _POINT.size, "a message", ProtocolError)
    found = []
    for name, group, r, g, b, a, x, y, z, diameter, owner in _POINT.iter_unpack(content):
        found.append(
            Point(_utf8(name), (x, y, z), _utf8(group), (r, g, b, a), diameter, _utf8(owner))
        )
    return Points(tuple(found))


def _field(data: bytes) -> str:
    return decode(LATIN_1, data.partition(b"\0")[0])


def _utf8(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace")


@dataclass(frozen=True)
class _Kind:
    name: str
    body: type
    parse: Callable[[memoryview], Body]
    most: int = IGTL_SMALL_BYTES.most


_KINDS = (
    _Kind("IMAGE", Image, parse_image, IGTL_BODY_BYTES.most),
    _Kind("TRANSFORM", Transform, _parse_transform),
    _Kind("STRING", Text, _parse_text),
    _Kind("STATUS", Status, _parse_status),
    _Kind("POINT", Points, _parse_points),
    _Kind("GET_STATUS", GetStatus, lambda _: GetStatus()),
)
TYPES = {kind.name: kind for kind in _KINDS}
_TYPE_OF = {kind.body: kind.name for kind in _KINDS}


def decode_content(message: Message) -> Body:
    """What a message says.

    Raises:
        ProtocolError: its type is not known, or its content does not fit it.
    """
    kind = TYPES.get(message.type)
    if kind is None:
        raise ProtocolError(f"a message's type is none of {', '.join(TYPES)}")
    return kind.parse(memoryview(message.content))


def most_bytes(type_name: str) -> int:
    """The largest body of a type that is read; 0 for types that are not."""
    return TYPES[type_name].most if type_name in TYPES else 0


def message(
    body: Body, device: str, ticks: int = 0, metadata: dict[str, str] | None = None
) -> Message:
    """A message, ready for `pack`.

    Raises:
        ProtocolError: the body cannot be packed.
    """
    return Message(_TYPE_OF[type(body)], device, ticks, body.pack(), metadata or {})
