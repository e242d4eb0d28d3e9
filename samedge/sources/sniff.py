"""What a file is, by its content. Extensions lie; the first bytes seldom do."""

from __future__ import annotations

import zlib
from pathlib import Path

from samedge.errors import SourceError

HEAD_BYTES = 4096
IMAGE_KINDS = ("PNG", "JPEG", "BMP", "TIFF")
# What `open_source` reads -> words for a message.
SOURCE_KINDS: dict[str, str] = {
    **{kind: f"a {kind} image" for kind in IMAGE_KINDS},
    "video": "a video file",
    "DICOM": "a DICOM file",
    "NIfTI": "a NIfTI volume",
    "NPY": "a numpy array file",
    "NPZ": "an archive of numpy arrays",
}
HDF5 = "an HDF5 file"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\x1aE\xdf\xa3", "video"),  # Matroska, WebM
    (b"\0\0\x01\xba", "video"),  # MPEG program stream
    (b"\0\0\x01\xb3", "video"),  # MPEG elementary stream
    (b"FLV\x01", "video"),
    (b"OggS", "video"),
    (b"0&\xb2u\x8ef\xcf\x11", "video"),  # ASF, WMV
    (b"GIF87a", "video"),
    (b"GIF89a", "video"),
    (b"\x93NUMPY", "NPY"),
    # Known, but nothing to segment; the name goes into the message.
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive (or a zipped bundle, or a .pth checkpoint)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89HDF", HDF5),
    (b"NRRD", "an NRRD volume"),
    (b"II+\0", "a BigTIFF"),
    (b"MM\0+", "a BigTIFF"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    (b"version https://git-lfs", "a Git LFS pointer: the real file was not fetched"),
)
_ISO_IMAGES = (b"avif", b"heic", b"heix", b"mif1")
_ISO_VIDEO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free")


def read_head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror or error}") from error


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path.name}: {error.strerror or error}") from error


def sniff(head: bytes) -> str:
    """Name the kind of file that begins with `head`.

    Returns:
        One of `SOURCE_KINDS` for what samedge reads; otherwise words for a message, for instance
        "a text file".
    """
    if not head:
        return "an empty file"
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[4:8] == b"ftyp" and head[8:12] in _ISO_IMAGES:
        return "an HEIF or AVIF image"
    if head[4:8] in _ISO_VIDEO_BOXES:
        return "video"
    if head[:4] == b"RIFF":
        return {b"AVI ": "video", b"WEBP": "a WebP image"}.get(head[8:12], "a RIFF file")
    if head.startswith(b"PK\x03\x04") and _zip_member(head).endswith(b".npy"):
        return "NPZ"
    if (volume := _nifti(head)) is not None:
        return volume
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "video"  # MPEG transport stream
    if head[:4] in (b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x02\0\0\0"):
        return "a DICOM dataset without its 128-byte preamble and DICM mark"
    return "a text file" if _is_text(head) else "of no kind that samedge knows"


def _zip_member(head: bytes) -> bytes:
    """Name of a zip archive's first member."""
    return head[30 : 30 + int.from_bytes(head[26:28], "little")]


def _nifti(head: bytes) -> str | None:
    """Whether a file is NIfTI, also inside gzip."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
        except zlib.error:
            return None
    size = head[:4]
    if size in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):  # 348, either byte order
        mark = head[344:348]
        if mark == b"ni1\0":
            return "the header of a NIfTI pair (convert the pair to one .nii file)"
        return "NIfTI" if mark == b"n+1\0" else None
    if size in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") and head[4:8] == b"n+2\0":  # 540
        return "NIfTI"
    return None


def _is_text(head: bytes) -> bool:
    try:
        # A multi-byte character may be cut at the end of the head.
        text = head[:-4].decode() if len(head) == HEAD_BYTES else head.decode()
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\t\r\n\f" for c in text)
