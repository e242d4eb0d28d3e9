"""What cv2 does not say about an image file: is it whole, how large, how is it turned?

cv2 decodes with the alpha channel only where it ignores the EXIF orientation, answers a truncated
file with an empty result or with grey rows, and allocates before it looks at the size. So the
headers are read here first.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from samedge.files.limits import FRAME_SIDE

# TIFF's PhotometricInterpretation
WHITE_IS_ZERO = 0
_JPEG_IN_TIFF = (6, 7)  # compression: old style and new
SEPARATED = 5  # CMYK, which decoders give as RGB
COLOURS_OF_LIGHT = {
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32844: "LogL",
    32845: "LogLuv",
}


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file says.

    Attributes:
        width, height: in px as stored; None: not found.
        orientation: of EXIF, 1..8.
        pages: of a TIFF, or pictures of an animated PNG.
        problem: what is wrong, or None.
        photometric: of a TIFF: what its values are (see `WHITE_IS_ZERO`); None: not found.
        channels: of a TIFF, alpha among them; 0: not found.
        scans: of a JPEG picture, or of all those in a TIFF.
        alpha: of a TIFF: 1, the colours are multiplied by it; 2, they are not; None: it has none,
            or does not say so.
    """

    width: int | None = None
    height: int | None = None
    orientation: int = 1
    pages: int = 1
    problem: str | None = None
    photometric: int | None = None
    channels: int = 0
    scans: int = 0
    alpha: int | None = None


def read_header(kind: str, data: bytes) -> ImageHeader:
    """Read the header of a "PNG", "JPEG", "BMP" or "TIFF" file. Never raises on damaged data."""
    reader = {"PNG": _png, "JPEG": _jpeg, "BMP": _bmp, "TIFF": _tiff}[kind]
    try:
        return reader(data)
    except (struct.error, IndexError):
        return ImageHeader(problem="its header is cut off")


def _png(data: bytes) -> ImageHeader:
    width, height = struct.unpack(">II", data[16:24])
    orientation, pages, at = 1, 1, 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        end = at + 12 + length
        if end > len(data):
            break
        (checksum,) = struct.unpack(">I", data[end - 4 : end])
        if zlib.crc32(name + body) != checksum:
            return ImageHeader(width, height, problem="a checksum in it does not match")
        if name == b"eXIf":
            orientation = exif_orientation(body)
        if name == b"acTL":  # an animation, of which decoders give one picture
            (pages,) = struct.unpack(">I", body[:4])
        if name == b"IEND":
            problem = "its last part is not empty" if body else None
            return ImageHeader(width, height, orientation, pages, problem=problem)
        at = end
    return ImageHeader(width, height, orientation, problem="it ends in the middle (truncated)")


_ANIMATION = (b"acTL", b"fcTL", b"fdAT")


def still_png(data: bytes) -> bytes:
    """A PNG file without the chunks of an animation and what follows its end: its one picture that
    every decoder shows.

    OpenCV's decoder of animations writes outside of its memory where those chunks do not fit the
    picture, and takes as much memory as a chunk behind the end says that it has.
    """
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _ANIMATION:
            parts.append(data[at:end])
        if data[at + 4 : at + 8] == b"IEND":
            break
        at = end
    return b"".join(parts)


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes) -> ImageHeader:
    size: tuple[int | None, int | None] = (None, None)
    orientation, at = 1, 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return ImageHeader(*size, orientation, problem="its segments are damaged")
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # fill byte, no payload
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        body = data[at + 4 : at + 2 + length]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", body[1:5])
            size = (width, height)
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = exif_orientation(body[6:])
        if marker == 0xDA:  # the scan: everything after it is pixels up to the end mark
            whole = data.rfind(b"\xff\xd9") > at
            problem = None if whole else "it ends in the middle (truncated)"
            scans = data.count(b"\xff\xda", at)  # in pixels, a zero follows every 0xff
            return ImageHeader(*size, orientation, problem=problem, scans=scans)
        at += 2 + max(length, 2)
    return ImageHeader(*size, orientation, problem="it ends in the middle (truncated)")


def _bmp(data: bytes) -> ImageHeader:
    (size, _, offset, dib) = struct.unpack("<IIII", data[2:18])
    if dib == 12:
        width, height, _, bits = struct.unpack("<HHHH", data[18:26])
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack("<iiHHI", data[18:34])
    height = abs(height)
    needed = offset + (width * bits + 31) // 32 * 4 * height if compression in (0, 3) else size
    problem = "it ends in the middle (truncated)" if len(data) < needed else None
    return ImageHeader(width, height, problem=problem)


def _tiff(data: bytes) -> ImageHeader:
    tags, following = _ifd(data, 0)
    pages, seen = 1, set()
    while following and following not in seen and following + 2 <= len(data) and pages < 10_000:
        seen.add(following)
        pages += 1
        following = _ifd(data, 0, following)[1]
    size = tags.get(256), tags.get(257)
    problem = None if all(size) else "it does not say its size in the way that TIFF does"
    parts = max(tags.get(322, 0), tags.get(323, 0))
    if parts > FRAME_SIDE.most:
        problem = f"it is stored in tiles of {parts} px"
    # cv2 turns TIFF images by itself, so their orientation stays 1 here.
    return ImageHeader(
        *size,
        problem=problem,
        scans=data.count(b"\xff\xda") if tags.get(259) in _JPEG_IN_TIFF else 0,
        pages=pages,
        photometric=tags.get(262),
        channels=tags.get(277, 1),
        alpha=tags.get(338),
    )


def exif_orientation(block: bytes) -> int:
    """Orientation 1..8 of an EXIF block (a TIFF structure); 1 if it has none or is damaged."""
    try:
        value = _ifd(block, 0)[0].get(274, 1)
    except (struct.error, IndexError):
        return 1
    return value if 1 <= value <= 8 else 1


def _ifd(data: bytes, base: int, at: int | None = None) -> tuple[dict[int, int], int]:
    """Short and long single values of one TIFF directory, and where the next one starts."""
    order = "<" if data[base : base + 2] == b"II" else ">"
    if at is None:
        (at,) = struct.unpack(order + "I", data[base + 4 : base + 8])
    (count,) = struct.unpack(order + "H", data[at : at + 2])
    tags: dict[int, int] = {}
    seen: set[int] = set()
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack(order + "HHI", data[entry : entry + 8])
        if tag in seen:  # decoders differ in which of two they take
            tags.pop(tag, None)
        elif number == 1 and kind in (3, 4):
            code = order + ("H" if kind == 3 else "I")
            (tags[tag],) = struct.unpack(code, data[entry + 8 : entry + (10 if kind == 3 else 12)])
        seen.add(tag)
    tail = at + 2 + 12 * count
    (following,) = struct.unpack(order + "I", data[tail : tail + 4])
    return tags, following
