"""Files of a few bytes that declare gigabytes, or hours of work; and large ones that are real."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.lib import format as npy
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from tests.bounded import MEMORY, SECONDS, open_bounded

SETUP = """
from samedge.prompts.file import read_prompts
from samedge.sources.opening import open_source
import samedge.sources.images, samedge.sources.video, samedge.sources.nifti
import samedge.sources.numpy_files, samedge.sources.dicom.file
import av, nibabel, pydicom, PIL.Image
import pydicom.pixels.utils

cv2 = samedge.sources.images.cv2
cv2.setNumThreads(1)

def opens(path):
    if path.endswith(".csv"):
        return len(read_prompts(Path(path)).frames)
    with open_source(path) as source:
        sizes = [frame.pixels.shape for _, frame in zip(range(3), source)]
    return sizes
"""
MB = 1 << 20


def packed_zeros(size: int, head: bytes = b"", wbits: int = 15) -> bytes:
    """`head` and zeros, deflated to a thousandth."""
    pack = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return b"".join(
        [pack.compress(head), *(pack.compress(bytes(MB)) for _ in range(size // MB)), pack.flush()]
    )


def tiff(
    width: int, height: int, kind: int = 4, more: list[tuple[int, int, int, int]] | None = None
) -> bytes:
    """RGB of 8 bits, deflated, 100 rows a strip; its sizes are of any kind of integer."""
    strip = zlib.compress(bytes(width * 3 * 100), 1)
    strips = height // 100
    offsets = 8 + len(strip) + len(strip) % 2
    counts, bits = offsets + 4 * strips, offsets + 8 * strips
    entries = [
        (256, kind, 1, width), (257, kind, 1, height), (258, 3, 3, bits), (259, 3, 1, 8),
        (262, 3, 1, 2), (273, 4, strips, offsets), (277, 3, 1, 3), (278, 4, 1, 100),
        (279, 4, strips, counts), (284, 3, 1, 1), *(more or []),
    ]  # fmt: skip
    tables = struct.pack(f"<{strips}I", *[8] * strips)
    tables += struct.pack(f"<{strips}I", *[len(strip)] * strips) + struct.pack("<3H", 8, 8, 8)
    body = (strip + bytes(len(strip) % 2) + tables).ljust(bits + 8 - 8, b"\0")
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body
        + struct.pack("<H", len(entries)) + directory + bytes(4)
    )  # fmt: skip


def png(
    width: int, height: int, bits: int, colour: int, chunks: bytes = b"", data: bytes = b""
) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunks
        + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )  # fmt: skip


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def jpeg_scans(scans: int, side: int = 2048) -> bytes:
    """A progressive JPEG whose scans say that nothing changes."""
    blocks = (side // 8) ** 2
    bits = ("0" + "1" * 14) * -(-blocks // 32767)
    bits += "1" * (-len(bits) % 8)
    runs = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    return (
        b"\xff\xd8\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([1] * 64)
        + b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + bytes([1, 0x11, 0])
        + b"\xff\xc4" + struct.pack(">HB", 20, 0) + bytes([1] + [0] * 15) + b"\0"
        + b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + bytes([1] + [0] * 15) + b"\xe0"
        + b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\0\0\0\0" + bytes(blocks // 8)
        + (b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\0\x01\x3f\0" + runs) * scans
        + b"\xff\xd9"
    )  # fmt: skip


def gif(width: int, height: int, frames: int = 1) -> bytes:
    frame = (
        b"!\xf9\x04\0\x0a\0\0\0"
        + b","
        + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
        + b"\x02\x02\x44\x01\0"
    )
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + bytes(6)
        + frame * frames
        + b";"
    )


def npz(shape: tuple[int, ...], descr: str) -> bytes:
    """An archive whose one array is zeros."""
    out, head = io.BytesIO(), io.BytesIO()
    npy.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("image.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(head.getvalue())
        for _ in range(int(np.prod(shape)) * np.dtype(descr).itemsize // MB):
            entry.write(bytes(MB))
    return out.getvalue()


def npy_header(shape: tuple[int, ...]) -> bytes:
    head = io.BytesIO()
    npy.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return head.getvalue() + bytes(1000)


def nifti(shape: tuple[int, ...], packed: bool, offset: float = 352) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = offset, b"n+1"
    if not packed:
        return bytes(header.binaryblock) + bytes(1000)
    return packed_zeros(int(np.prod(shape)) * 8, header.binaryblock + bytes(4), 31)


def dicom(
    syntax: Any = ExplicitVRLittleEndian, frames: list[bytes] | None = None, **tags: Any
) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        SecondaryCaptureImageStorage,
        "1.2.3",
    )
    meta.TransferSyntaxUID = syntax
    data = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    data.Rows = data.Columns = 32
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 7, 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = bytes(1024) if frames is None else encapsulate(frames)
    data["PixelData"].VR = "OB"
    for tag, value in tags.items():
        setattr(data, tag, value)
    out = io.BytesIO()
    data.save_as(out, enforce_file_format=True)
    return out.getvalue()


def deflated(size: int) -> bytes:
    """DICOM with a private element of zeros in its deflated dataset."""
    raw = dicom(DeflatedExplicitVRLittleEndian)
    begin = raw.find(b"DICM") + 16 + int.from_bytes(raw[140:144], "little")
    head = struct.pack("<HH2sH", 9, 0x10, b"LO", 4) + b"EVIL"
    head += struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 0xFFFFFFF0)
    return raw[:begin] + packed_zeros(size, head, -15)


def items(count: int) -> bytes:
    """A sequence of empty items."""
    sequence = (
        struct.pack("<HH2sHI", 9, 0x1001, b"SQ", 0, 8 * count) + b"\xfe\xff\x00\xe0\0\0\0\0" * count
    )
    raw = dicom()
    begin = raw.find(b"\x28\0\x02\0")
    return raw[:begin] + struct.pack("<HH2sH", 9, 0x10, b"LO", 4) + b"EVIL" + sequence + raw[begin:]


def elements(count: int) -> bytes:
    """Very many empty elements."""
    many = b"".join(
        struct.pack("<HH2sH", 9 + 2 * (i >> 15), i & 0x7FFF | 0x8000, b"LO", 0)
        for i in range(count)
    )
    raw = dicom()
    begin = raw.find(b"\x28\0\x02\0")
    return raw[:begin] + many + raw[begin:]


def encoded(width: int, height: int, kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, kind)
    return out.getvalue()


def jpeg2000(width: int, height: int) -> bytes:
    """A codestream of one size that says that it has another."""
    data = bytearray(encoded(32, 32, "JPEG2000"))
    at = data.find(b"\xff\x4f\xff\x51") + 8
    data[at : at + 8] = struct.pack(">II", width, height)
    data[at + 16 : at + 24] = struct.pack(">II", width, height)
    return bytes(data[at - 8 :])


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "signed.tif": (lambda: tiff(20_000, 20_000, 9), "does not say its size"),
    "signed of 16 bits.tif": (lambda: tiff(20_000, 20_000, 8), "does not say its size"),
    "large.tif": (lambda: tiff(20_000, 20_000), "is 20000 x 20000 px"),
    "two sizes.tif": (
        lambda: tiff(20_000, 20_000, more=[(256, 4, 1, 99)]),
        "does not say its size",
    ),
    "tiles.tif": (
        lambda: tiff(1000, 1000, more=[(322, 4, 1, 1 << 15), (323, 4, 1, 1 << 15)]),
        "tiles of 32768 px",
    ),
    "large.png": (lambda: png(50_000, 50_000, 8, 0), "is 50000 x 50000 px"),
    "scans.jpg": (lambda: jpeg_scans(30_000), "scans of a JPEG picture: 30,001; at most 64"),
    "large.gif": (lambda: gif(16_383, 16_383), "holds no frame .* 16 to 4096 px"),
    "large frames.gif": (lambda: gif(16_000, 16_000, 3), "holds no frame .* 16 to 4096 px"),
    "long.gif": (lambda: gif(65_535, 4000), "holds no frame .* 16 to 4096 px"),
    "large.nii.gz": (lambda: nifti((1024, 1024, 60), True), "unpacks from .* to 0.5 GB"),
    "promises.nii": (lambda: nifti((2048, 2048, 200), False), "truncated"),
    "offset.nii": (lambda: nifti((64, 64, 9), False, 1e9), "start at byte"),
    "floats.npz": (lambda: npz((60, 1024, 1024), "<f8"), "unpacks from .* to 0.5 GB"),
    "promises.npy": (lambda: npy_header((10**9, 10**9)), "is damaged|px; frames have"),
    "slices.npy": (lambda: npy_header((10**9, 64, 64)), "is damaged|slices"),
    "unpacks.dcm": (lambda: deflated(400 * MB), "unpacks to more than 160 MB"),
    "unpacks to what is allowed.dcm": (lambda: deflated(150 * MB), "with no pixels"),
    "items.dcm": (lambda: items(400_000), "items of sequences .*: 400,000; at most 100,000"),
    "frames.dcm": (lambda: dicom(NumberOfFrames=10**9), "frames of a DICOM file: 1,000,000,000"),
    "promised.dcm": (lambda: dicom(NumberOfFrames=10**6), "holds 1024 bytes of pixels"),
    "large.dcm": (lambda: dicom(Rows=60_000, Columns=60_000), "is 60000 x 60000 px"),
    "codestream.dcm": (
        lambda: dicom(JPEGBaseline8Bit, [encoded(12_000, 12_000, "JPEG")]),
        "a frame in it is of 12000 x 12000 px",
    ),
    "codestream 2000.dcm": (
        lambda: dicom(JPEG2000Lossless, [jpeg2000(50_000, 50_000)]),
        "a frame in it is of 50000 x 50000 px",
    ),
    "scans.dcm": (
        lambda: dicom(JPEGBaseline8Bit, [jpeg_scans(30_000)], Rows=2048, Columns=2048),
        "scans of a JPEG picture: 30,001",
    ),
    "runs.dcm": (
        lambda: dicom(RLELossless, [struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 4_000_000]),
        "bytes long when packed",
    ),
    "points.csv": (lambda: b"frame,x,y\n" + b"0,20,20\n" * 30_000, "points and boxes in one frame"),
    "rows.csv": (
        lambda: b"frame,x,y\n" + b"".join(b"%d,1,1\n" % i for i in range(700_000)),
        "rows of a file of prompts: 700,001; at most 200,000",
    ),
    "cell.csv": (lambda: b"frame,x,y\n0,1," + b"1" * 9_000_000, "is no CSV|CSV"),
}  # fmt: skip
# Large, and read: within the same memory and time.
READ: dict[str, tuple[Callable[[], bytes], str]] = {
    "4096 px.png": (
        lambda: png(4096, 4096, 8, 0, data=packed_zeros(17 * MB)),
        "4096, 4096",
    ),
    "16 bits and alpha.png": (
        lambda: png(4096, 4096, 16, 6, data=packed_zeros(4096 * (8 * 4096 + 1) // MB * MB + MB)),
        r"4096, 4096, 3",
    ),
    "profile.png": (
        lambda: png(
            64, 64, 8, 0, png_chunk(b"iCCP", b"x\0\0" + packed_zeros(300 * MB)),
            zlib.compress(bytes(64 * 65)),
        ),
        "64, 64",
    ),
    "text.png": (
        lambda: png(
            64, 64, 8, 0, png_chunk(b"zTXt", b"x\0\0" + packed_zeros(150 * MB)) * 9,
            zlib.compress(bytes(64 * 65)),
        ),
        "64, 64",
    ),
    "chunks.png": (
        lambda: png(64, 64, 8, 0, png_chunk(b"prVt", b"") * 400_000, zlib.compress(bytes(64 * 65))),
        "64, 64",
    ),
    "progressive.jpg": (lambda: jpeg_scans(60), "2048, 2048"),
    "truth values.npz": (lambda: npz((200, 1024, 1024), "|b1"), "1024, 1024"),
    "512.npz": (lambda: npz((512, 512, 512), "<i2"), "512, 512"),
    "elements.dcm": (lambda: elements(300_000), "32, 32"),
}  # fmt: skip


def test_bombs(tmp_path: Path) -> None:
    cases = {**REFUSED, **{f"read {name}": case for name, case in READ.items()}}
    paths = [tmp_path / name for name in cases]
    for path, (write, _) in zip(paths, cases.values(), strict=True):
        path.write_bytes(write())
        assert path.stat().st_size < 10_000_000, path.name
    wrong = []
    for path, outcome in zip(paths, open_bounded(SETUP, paths), strict=True):
        begin = "opened: .*" if path.name.startswith("read ") else r"\w+Error: .*"
        fine = re.match(begin + f"(?:{cases[path.name][1]})", outcome.said)
        if not fine or outcome.memory > MEMORY or outcome.seconds > SECONDS:
            wrong.append(f"{path.name}: {outcome}")
    assert not wrong, "\n".join(wrong)
