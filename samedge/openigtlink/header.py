"""The header of a message (58 bytes), and what version 2 puts around its content.

    version 1:  header | content
    version 2:  header | extended header (12) | content | sizes of metadata | metadata

All numbers are big endian. The header's checksum and size cover everything behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from samedge.files.limits import IGTL_METADATA
from samedge.openigtlink.crc64 import crc64
from samedge.openigtlink.problems import ProtocolError

SIZE = 58
VERSIONS = (1, 2)
MAX_VERSION = 9  # a "version" beyond it is that of no OpenIGTLink at all
NAME_BYTES = 20
TYPE_BYTES = 12

US_ASCII, LATIN_1, UTF_8 = 3, 4, 106  # numbers of IANA's character sets
CHARACTERS = {US_ASCII: "ascii", LATIN_1: "latin-1", UTF_8: "utf-8",
              1013: "utf-16-be", 1014: "utf-16-le", 1015: "utf-16"}  # fmt: skip

_HEADER = struct.Struct(">H12s20sQQQ")
_EXTENDED = struct.Struct(">HHII")
_COUNT = struct.Struct(">H")
_ENTRY = struct.Struct(">HHI")


@dataclass(frozen=True)
class Header:
    """The first 58 bytes.

    Attributes:
        version: of the header, 1 or 2.
        type: of the message, up to 12 characters ("IMAGE").
        device: name of the device, up to 20 characters.
        ticks: time stamp; see `stamps`. 0: none.
        body_size: bytes that follow.
        crc: checksum of these.
    """

    version: int
    type: str
    device: str
    ticks: int
    body_size: int
    crc: int

    def pack(self) -> bytes:
        """The 58 bytes.

        Raises:
            ProtocolError: a name is too long or no ASCII.
        """
        name = check_device(self.device).encode("ascii")
        kind = _ascii(self.type, TYPE_BYTES, "type of message").encode("ascii")
        return _HEADER.pack(self.version, kind, name, self.ticks, self.body_size, self.crc)


def parse_header(data: bytes | bytearray | memoryview) -> Header:
    """A header from its 58 bytes.

    Raises:
        ProtocolError: they are too few, or their version cannot be one of OpenIGTLink. Versions 3
            to 9 are taken, so that such messages can be skipped.
    """
    if len(data) != SIZE:
        raise ProtocolError(f"a header of OpenIGTLink has {SIZE} bytes; {len(data)} came")
    version, kind, name, ticks, size, crc = _HEADER.unpack(data)
    if not 1 <= version <= MAX_VERSION:
        raise ProtocolError(
            f"what came is no OpenIGTLink: a header's version is 1 or 2, and there stands {version}"
        )
    return Header(version, _text(kind), _text(name), ticks, size, crc)


@dataclass(frozen=True, eq=False)
class Message:
    """One message with its content still as bytes.

    Attributes:
        type, device, ticks: see `Header`.
        content: what the type says, without what version 2 puts around it.
        metadata: key -> text; only version 2 carries it.
        number: of the message, as its sender counts; only in version 2.
        version: of the header it came with.
    """

    type: str
    device: str
    ticks: int = 0
    content: bytes | bytearray | memoryview = b""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    number: int = 0
    version: int = 1

    def pack(self, version: int | None = None) -> bytes:
        """The whole message; `version` instead of its own. Version 1 loses the metadata.

        Raises:
            ProtocolError: a name is too long or no ASCII; a key or text does not fit its size.
        """
        version = self.version if version is None else version
        body = bytes(self.content)
        if version >= 2:
            sizes, texts = _pack_metadata(self.metadata)
            extended = _EXTENDED.pack(_EXTENDED.size, len(sizes), len(texts), self.number)
            body = b"".join((extended, body, sizes, texts))
        crc = crc64(body)
        return Header(version, self.type, self.device, self.ticks, len(body), crc).pack() + body


def parse_body(header: Header, body: bytes | bytearray | memoryview) -> Message:
    """The message of a header and of the bytes behind it, whose checksum was looked at already.

    Raises:
        ProtocolError: the extended header or the metadata does not fit the body, or the version is
            another one than 1 or 2.
    """
    if header.version not in VERSIONS:
        raise ProtocolError(f"a message has version {header.version}; 1 and 2 are read")
    view = memoryview(body)
    metadata: dict[str, str] = {}
    number = 0
    if header.version == 2:
        view, metadata, number = _parse_version_2(view)
    return Message(header.type, header.device, header.ticks, view, metadata, number, header.version)


def check_device(name: str) -> str:
    """A name that fits a header.

    Raises:
        ProtocolError: it has more than 20 bytes, or characters that are no printable ASCII.
    """
    return _ascii(name, NAME_BYTES, "name of a device")


def encode(text: str) -> tuple[int, bytes]:
    """The number of the character set, and the bytes: ASCII if that will do, else UTF-8."""
    return (US_ASCII, text.encode("ascii")) if text.isascii() else (UTF_8, text.encode("utf-8"))


def decode(encoding: int, data: bytes | bytearray | memoryview) -> str:
    """Text of a character set by its number.

    Raises:
        ProtocolError: the set is not known, or the bytes are none of its characters.
    """
    name = CHARACTERS.get(encoding)
    if name is None:
        raise ProtocolError(
            f"a text has character set {encoding}; expected one of "
            f"{', '.join(map(str, CHARACTERS))}"
        )
    try:
        return str(data, name)
    except UnicodeDecodeError:
        raise ProtocolError(f"a text is no {name}, as its message says it is") from None


def _ascii(name: str, most: int, what: str) -> str:
    if len(name) > most or not (name.isascii() and (name.isprintable() or not name)):
        raise ProtocolError(
            f"'{name[:60]}' cannot be the {what}: it has up to {most} letters, digits and signs "
            "of ASCII"
        )
    return name


def _text(data: bytes) -> str:
    """A field up to its first zero byte; what is no ASCII becomes "?"."""
    return data.partition(b"\0")[0].decode("ascii", "replace").replace("\ufffd", "?").rstrip()


def _pack_metadata(metadata: Mapping[str, str]) -> tuple[bytes, bytes]:
    sizes, texts = [_COUNT.pack(min(len(metadata), 0xFFFF))], []
    for key, value in metadata.items():
        name, (encoding, text) = key.encode("utf-8"), encode(value)
        if len(name) > 0xFFFF or len(metadata) > IGTL_METADATA.most:
            raise ProtocolError(
                f"{len(metadata)} entries of metadata; up to {IGTL_METADATA.most} go into a "
                "message, each with a key of up to 65535 bytes"
            )
        sizes.append(_ENTRY.pack(len(name), encoding, len(text)))
        texts += [name, text]
    return b"".join(sizes), b"".join(texts)


def _parse_version_2(view: memoryview) -> tuple[memoryview, dict[str, str], int]:
    """Content, metadata and number of a version 2 body."""
    if len(view) < _EXTENDED.size:
        raise ProtocolError(f"a body of version 2 has at least {_EXTENDED.size} bytes")
    extended, sizes, texts, number = _EXTENDED.unpack(view[: _EXTENDED.size])
    end = len(view) - sizes - texts
    if extended < _EXTENDED.size or end < extended:
        raise ProtocolError("the parts of a version 2 body are larger than the whole")
    metadata = _parse_metadata(view[end : end + sizes], view[end + sizes :]) if sizes else {}
    return view[extended:end], metadata, number


def _parse_metadata(sizes: memoryview, texts: memoryview) -> dict[str, str]:
    if len(sizes) < _COUNT.size:
        raise ProtocolError("the sizes of the metadata are cut off")
    (count,) = _COUNT.unpack(sizes[: _COUNT.size])
    IGTL_METADATA.check(count, "a message", ProtocolError)
    if len(sizes) < _COUNT.size + count * _ENTRY.size:
        raise ProtocolError("the sizes of the metadata are cut off")
    found: dict[str, str] = {}
    at = 0
    for name_size, encoding, size in _ENTRY.iter_unpack(
        sizes[_COUNT.size : _COUNT.size + count * _ENTRY.size]
    ):
        if at + name_size + size > len(texts):
            raise ProtocolError("the metadata is shorter than its sizes say")
        name = str(texts[at : at + name_size], "utf-8", "replace")
        at += name_size
        # Senders invent character sets; an image is not lost for that.
        known = CHARACTERS.get(encoding, "ascii")
        found[name] = str(texts[at : at + size], known, "replace")
        at += size
    return found
