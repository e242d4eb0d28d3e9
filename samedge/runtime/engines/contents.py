"""What samedge keeps in the user's cache folder, and clearing it.

Nothing is taken for samedge's own but what it names and records itself, and nothing that a process
uses is removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from samedge.bundle.archive import copies_folder
from samedge.bundle.copies import unpacked_copies
from samedge.errors import DeviceError, SourceError
from samedge.files.in_use import claimed, last_used
from samedge.runtime.engines.keys import (
    CalibrationKey,
    KernelsKey,
    NvidiaKey,
    OpenVinoGraphsKey,
    OpenVinoKey,
    TritonKey,
)
from samedge.runtime.engines.records import ENDING, EngineRecord, read_record, record_path
from samedge.runtime.engines.store import cache_folder, remove_engine

ENGINE, KERNELS, CALIBRATION = "engine", "kernels", "calibration"
COPY, LEFT_OVER = "unpacked bundle", "left over"

# Names that samedge gives: an engine with its record, and the draft of either while it is written.
_OWN_NAME = re.compile(
    r"(openvino-[a-z]+|calibration|tensorrt_rtx-kernels)-[0-9a-f]{32}\.(engine|json)"
    r"|openvino\.(fp32|fp16|bf16|int8)\.(engine|json)"
    r"|triton\.(fp32|fp16|bf16|int8)\.sm[0-9-]+\.(engine|json)"
    r"|(encoder|decoder)\.(fp32|fp16|int8)\.tensorrt(_rtx)?-[0-9.]+\.sm[0-9]+\.(engine|json)"
)
_DRAFT = re.compile(r"\.(.+?)(\.[0-9a-f]{8})?\.part\.(engine|json)")


@dataclass(frozen=True)
class Kept:
    """One thing in the cache.

    Attributes:
        kind: `ENGINE`, `KERNELS` (what TensorRT-RTX compiled for an engine on this device),
            `CALIBRATION`, `COPY` of a zipped bundle, or `LEFT_OVER` of a process that was stopped.
        path: of its file, or folder.
        bytes: with its record.
        last_used: or made, in s since 1970.
        library: that runs an engine: "OpenVINO", "TensorRT", "TensorRT-RTX", "triton"; else "".
        bundle: name of the bundle that it was made for, or title of a copy; "" if not known.
        in_use: by a running process.
    """

    kind: str
    path: Path
    bytes: int
    last_used: float
    library: str = ""
    bundle: str = ""
    in_use: bool = False


@dataclass(frozen=True)
class Contents:
    """What lies in the cache.

    Attributes:
        folder: that holds it.
        kept: all that is samedge's, what was used longest ago first.
        foreign: names of other files there; they are never touched.
    """

    folder: Path
    kept: tuple[Kept, ...]
    foreign: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all that is samedge's."""
        return sum(item.bytes for item in self.kept)


@dataclass(frozen=True)
class Cleared:
    """What became of what was to be removed.

    Attributes:
        removed, in_use: things that are gone, and that were left since a process uses them.
        failed: why others could not be removed.
    """

    removed: tuple[Kept, ...]
    in_use: tuple[Kept, ...]
    failed: tuple[str, ...]


def contents() -> Contents:
    """What lies in the user's cache now."""
    kept, foreign = _engines(cache_folder())
    for copy in unpacked_copies():
        with claimed(copy.path) as free:
            busy = not free
        item = Kept(COPY, copy.path, copy.bytes, copy.last_used, bundle=copy.title, in_use=busy)
        kept.append(item)
    kept.sort(key=lambda item: (item.last_used, item.path))
    return Contents(copies_folder().parent, tuple(kept), tuple(foreign))


def clear(items: Sequence[Kept], removing: Callable[[Kept], object] = lambda _: None) -> Cleared:
    """Remove things from the cache.

    Args:
        items: out of `contents`.
        removing: called before each.
    """
    copies = {copy.path: copy for copy in unpacked_copies()}
    removed: list[Kept] = []
    in_use: list[Kept] = []
    failed: list[str] = []
    for item in items:
        removing(item)
        try:
            if item.kind == COPY:
                done = item.path not in copies or copies[item.path].remove()
            else:
                done = _remove_file(item)
        except (OSError, DeviceError) as error:
            failed.append(f"{item.path.name}: {getattr(error, 'strerror', None) or error}")
            continue
        (removed if done else in_use).append(item)
    return Cleared(tuple(removed), tuple(in_use), tuple(failed))


def _remove_file(item: Kept) -> bool:
    if not os.path.lexists(item.path):  # another process was faster
        return True
    with claimed(item.path) as free:
        if free and item.kind == LEFT_OVER:
            item.path.unlink(missing_ok=True)
        elif free:
            remove_engine(item.path)
    if free:
        with suppress(OSError):  # the folder of a bundle's NVIDIA engines, once it is empty
            if item.path.parent != cache_folder():
                item.path.parent.rmdir()
    return free


def _engines(folder: Path) -> tuple[list[Kept], list[str]]:
    """Engines and what belongs to them, below a folder; and names of what is not samedge's."""
    kept: list[Kept] = []
    foreign = []
    digests: dict[str, str] = {}  # of an engine -> its bundle: kernels know no other name for it
    kernels: dict[Path, str] = {}
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(parent) / name
            try:
                item, record = _judge(path)
            except OSError:  # another process removed it
                continue
            if item is None:
                foreign.append(name)
            elif item.kind:
                kept.append(item)
            if record is not None:
                digests[record.sha256] = record.bundle
                if isinstance(record.key, KernelsKey):
                    kernels[path] = record.key.engine_sha256
    named = [
        replace(item, bundle=item.bundle or digests.get(kernels.get(item.path, ""), ""))
        for item in kept
    ]
    return named, foreign


_WITH_ITS_ENGINE = Kept("", Path(), 0, 0.0)


def _judge(path: Path) -> tuple[Kept | None, EngineRecord | None]:
    """What a file is: None if it is not samedge's; of no kind if it belongs to the file beside."""
    info = path.lstat()
    draft = _DRAFT.fullmatch(path.name)
    name = path.name if draft is None else f"{draft[1]}.{draft[3]}"
    if _OWN_NAME.fullmatch(name) is None or not path.is_file() or path.is_symlink():
        return None, None
    engine = path.with_name(f"{path.stem}{ENDING}")
    if draft is None and path.suffix != ENDING and engine.exists():
        return _WITH_ITS_ENGINE, None
    with claimed(path) as free:
        busy = not free
    item = Kept(LEFT_OVER, path, info.st_size, last_used(path), in_use=busy)
    if draft is not None or path.suffix != ENDING:
        return item, None
    try:
        record = read_record(path)
        item = replace(item, bytes=item.bytes + record_path(path).stat().st_size)
    except SourceError:
        return item, None
    kind, library = _kind(record)
    return replace(item, kind=kind, library=library, bundle=record.bundle), record


def _kind(record: EngineRecord) -> tuple[str, str]:
    key = record.key
    if isinstance(key, CalibrationKey):
        return CALIBRATION, ""
    if isinstance(key, KernelsKey):
        return KERNELS, "TensorRT-RTX"
    if isinstance(key, NvidiaKey):
        return ENGINE, "TensorRT" if key.backend == "tensorrt" else "TensorRT-RTX"
    if isinstance(key, TritonKey):
        return ENGINE, "triton"
    assert isinstance(key, (OpenVinoKey, OpenVinoGraphsKey))
    return ENGINE, "OpenVINO"
