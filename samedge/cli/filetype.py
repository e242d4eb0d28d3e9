"""What kind of file a path is, as far as its first bytes tell."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from samedge.errors import SourceError
from samedge.files.paths import kind_at, shown

# What `kind_of` returns for what samedge itself opens.
BUNDLE, CHECKPOINT, ENGINE = "bundle", "checkpoint", "engine"

# Serialised engines begin so: TensorRT, TensorRT-RTX; and samedge's own two.
_ENGINE_MAGIC = (b"ftrt", b"trtr", b"ptrt", b"vtrt", b"samedge\x1a", b"samedge\x1b")
_SAFETENSORS_LIMIT = 100_000_000  # bytes; the format allows no longer header


def kind_of(path: Path) -> str:
    """Name what `path` is.

    Returns:
        `BUNDLE`, `CHECKPOINT`, `ENGINE`, or words for a message: "a PNG image", "an empty file".

    Raises:
        SourceError: it does not exist or cannot be read.
    """
    from samedge.sources.sniff import SOURCE_KINDS, read_head, sniff

    found = kind_at(path, SourceError)
    if found == "folder":
        return _folder(path)
    if found == "missing":
        raise SourceError(f"there is no file or folder '{shown(path)}'")
    if found == "other":
        raise SourceError(f"'{path}' is neither a file nor a folder")
    head = read_head(path)
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if _is_safetensors(head) or head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return CHECKPOINT
    if head.startswith(_ENGINE_MAGIC):
        return ENGINE
    kind = sniff(head)
    if kind in SOURCE_KINDS:
        return SOURCE_KINDS[kind]
    if kind == "of no kind that samedge knows" and _is_onnx(path, head):
        return "an ONNX file"
    return kind


def _folder(path: Path) -> str:
    names = sorted(p.name for p in path.iterdir())
    if "manifest.json" in names or path.suffix == ".samedge":
        return BUNDLE
    return f"a folder with {len(names)} entries" if names else "an empty folder"


def _zip(path: Path) -> str:
    from samedge.sources.sniff import SOURCE_KINDS

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        # torch files are zip archives; one that was cut off has no table of contents.
        return CHECKPOINT
    if any(name.endswith("data.pkl") for name in names):
        return CHECKPOINT
    if names and all(name.endswith(".npy") for name in names):
        return SOURCE_KINDS["NPZ"]
    if any(name.rpartition("/")[2] == "manifest.json" for name in names):
        return BUNDLE
    return "a zip archive, neither a bundle nor a PyTorch checkpoint"


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of length, then a JSON object."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < _SAFETENSORS_LIMIT


def _is_onnx(path: Path, head: bytes) -> bool:
    """A protocol buffer whose first field is a small `ir_version`, under the usual name."""
    return path.suffix.lower() == ".onnx" and head[:1] == b"\x08" and head[1:2] <= b"\x20"


def size_text(count: int) -> str:
    """Bytes for people: "12.3 MB" (10^6 bytes)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def one_line(value: object) -> str:
    """A manifest value in one line of a table."""
    return value if isinstance(value, str) else json.dumps(value)
