"""What a DICOM file declares, looked at before pydicom and its decoders believe it.

pydicom unpacks a deflated file as a whole, makes an object of every item, and hands codestreams to
decoders that allocate whatever size these name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samedge.errors import SourceError
from samedge.files.limits import (
    DICOM_FRAMES,
    DICOM_ITEMS,
    DICOM_SMALL,
    DICOM_TIMES,
    JPEG_SCANS,
)

_CHUNK = 1 << 20
_LOOKED_AT = 1 << 24  # bytes in which items are counted; what is beyond costs its own bytes
_ITEMS = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"  # little and big endian
_META = 132  # where the file meta information begins
_LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UN", b"UT", b"UC", b"UR")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # JPEG-LS the last
_J2K_SIZE = b"\xff\x4f\xff\x51"
_RLE = "1.2.840.10008.1.2.5"
_COMPONENTS = 4


def check_declared(path: Path) -> None:
    """Refuse a file that unpacks to far more than it is, or holds ever so many items.

    Raises:
        SourceError: says how many.
        OSError: it cannot be read.
    """
    import pydicom

    syntax = getattr(pydicom.filereader.read_file_meta_info(path), "TransferSyntaxUID", None)
    with path.open("rb") as file:
        if syntax is None or not syntax.is_deflated:
            head = file.read(_LOOKED_AT)
        else:
            file.seek(_after_meta(file))
            most = max(DICOM_SMALL, DICOM_TIMES.most * path.stat().st_size)
            head = _inflated(file, most, path.name)
    DICOM_ITEMS.check(sum(map(head.count, _ITEMS)), path.name, SourceError)


def _after_meta(file: Any) -> int:
    """Where the elements of group 2 end."""
    at = _META
    while True:
        file.seek(at)
        head = file.read(12)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            return at
        long = head[4:6] in _LONG and len(head) == 12
        at += (
            12 + int.from_bytes(head[8:12], "little")
            if long
            else 8 + int.from_bytes(head[6:8], "little")
        )


def _inflated(file: Any, most: int, name: str) -> bytes:
    """The first bytes of a deflated dataset; all of it is counted, and nothing more is kept."""
    unpack, head, size = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), 0
    while not unpack.eof and (packed := unpack.unconsumed_tail or file.read(_CHUNK)):
        part = unpack.decompress(packed, _CHUNK)
        size += len(part)
        if size > most:
            raise SourceError(
                f"{name} unpacks to more than {most / 1e6:,.0f} MB, which no DICOM file of its "
                "size does; store it without deflation if it is one"
            )
        head += part[: _LOOKED_AT - len(head)]
    return bytes(head)


def check_frames(count: int, name: str) -> None:
    """Refuse a number of frames that cannot be.

    Raises:
        SourceError: says how many.
    """
    DICOM_FRAMES.check(count, name, SourceError)


def checked_frames(path: Path, header: Any, count: int, name: str) -> Iterator[None]:
    """One step for each frame that is good to decode; without end where nothing is encoded.

    Raises:
        SourceError: at the frame whose codestream is larger than the header says, or too many
            scans.
        Exception: whatever pydicom raises on damaged files.
    """
    from pydicom.encaps import generate_frames

    if not header.file_meta.TransferSyntaxUID.is_encapsulated:
        while True:
            yield
    element = header.get_item("PixelData")
    with path.open("rb") as file:
        stream: Any = element.value
        if stream is None:
            file.seek(element.value_tell)
            stream = file
        # Where a file says twice where its frames are, decoders go by this table.
        table = [header.get(f"ExtendedOffsetTable{which}") for which in ("", "Lengths")]
        offsets: Any = tuple(table) if all(table) else None
        frames = generate_frames(stream, number_of_frames=count, extended_offsets=offsets)
        for data in frames:
            _check_codestream(bytes(data), header, name)
            yield


def _check_codestream(data: bytes, header: Any, name: str) -> None:
    width, height = int(header.Columns), int(header.Rows)
    samples = int(header.get("SamplesPerPixel", 1) or 1)
    if header.file_meta.TransferSyntaxUID == _RLE:
        frame = width * height * samples * int(header.BitsAllocated) // 8
        if len(data) > 4 * frame + 1024:
            raise SourceError(
                f"{name} is a damaged DICOM file: a frame of {frame} bytes is {len(data)} bytes "
                "long when packed"
            )
        return
    size = _jpeg2000_size(data) if _J2K_SIZE in data else _jpeg_size(data)
    if size is None:  # no decoder finds one either
        return
    if size[0] > width or size[1] > height or size[2] > _COMPONENTS:
        raise SourceError(
            f"{name} is a damaged DICOM file: a frame in it is of {size[0]} x {size[1]} px and "
            f"{size[2]} components, and its header says {width} x {height} px"
        )
    JPEG_SCANS.check(data.count(b"\xff\xda"), name, SourceError)


def _jpeg2000_size(data: bytes) -> tuple[int, int, int] | None:
    at = data.find(_J2K_SIZE) + len(_J2K_SIZE)
    if len(data) < at + 38:
        return None
    right, bottom, left, top = struct.unpack(">IIII", data[at + 4 : at + 20])
    (components,) = struct.unpack(">H", data[at + 36 : at + 38])
    return right - left, bottom - top, components


def _jpeg_size(data: bytes) -> tuple[int, int, int] | None:
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height, data[at + 9]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    return None
