"""What torch.save writes: storages in a zip archive, or behind the pickle in older files.

The file is opened once. Everything it declares is compared with what it holds before anything is
allocated; storages that lie uncompressed in an archive are memory-mapped.
"""

from __future__ import annotations

import io
import mmap
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from samedge.checkpoint.pickles import ForeignClass, PickleError, Storage, unpickle
from samedge.errors import CheckpointError, SamEdgeError
from samedge.files.limits import NAMED_TIMES, PICKLE_BYTES, SMALL_BYTES, UNPACKED_TIMES

_REMEDY = (
    "if you trust its source, load it once with the project that wrote it and save only the "
    "tensors: torch.save(model.state_dict(), 'weights.pth')"
)
_LOCAL_HEADER = 30  # bytes of a zip entry before its name
_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of an older file; its format is the second
_FORMAT = 1001
_ALIGNED = 16  # bytes; torch.save begins storages at multiples of 64
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def load_zip(file: Path) -> Any:
    """What `torch.save` wrote into a zip archive; memory-mapped unless compressed.

    Returns:
        as `samedge.checkpoint.pickles.unpickle`.

    Raises:
        CheckpointError: damaged, another archive, or a pickle that wants to run code.
    """
    with file.open("rb") as opened, _refusing(file):
        try:
            archive = zipfile.ZipFile(opened)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise CheckpointError(
                f"{file.name}: is truncated or damaged ({one_line(error)}); copy or download it "
                "again"
            ) from error
        size = opened.seek(0, io.SEEK_END)
        numbers = _Archived(opened, archive, _entries(archive, file.name, size), size)
        pickled = numbers.read("data.pkl", PICKLE_BYTES.most)
        return unpickle(io.BytesIO(pickled), numbers, _named_bytes(size))


def load_legacy(file: Path) -> Any:
    """What `torch.save` wrote before version 1.6: read, not mapped; the rest as `load_zip`."""
    with file.open("rb") as opened, _refusing(file):
        size = opened.seek(0, io.SEEK_END)
        opened.seek(0)
        # The bytes behind the pickles are read again below, as numbers.
        stream = io.BytesIO(opened.read(PICKLE_BYTES.most))
        magic, version, system = (unpickle(stream) for _ in range(3))
        if magic != _MAGIC or version != _FORMAT or not isinstance(system, dict):
            raise PickleError("no file of torch.save's")
        if not system.get("little_endian", True):
            raise PickleError("written on a big-endian machine, in the older format")
        numbers = _Behind(size)
        content = unpickle(stream, numbers, _named_bytes(size))
        keys = unpickle(stream)
        opened.seek(stream.tell())
        numbers.fill(opened, keys)
        return content


class _Archived:
    """Storages in a zip archive."""

    def __init__(
        self,
        opened: BufferedReader,
        archive: zipfile.ZipFile,
        entries: dict[str, zipfile.ZipInfo],
        size: int,
    ) -> None:
        self.opened, self.archive, self.entries, self.size = opened, archive, entries, size
        self.swapped = "byteorder" in entries and self.read("byteorder", 16) == b"big"
        self.found: dict[str, torch.UntypedStorage] = {}
        self.mapped: torch.UntypedStorage | None = None

    def read(self, name: str, most: int) -> bytes:
        """All of an entry; declared sizes are not exceeded by zipfile."""
        entry = self.entries[name]
        if entry.file_size > most:
            raise PickleError(f"{name} of {entry.file_size / 1e6:,.0f} MB")
        return self.archive.read(entry)

    def __call__(self, storage: Storage) -> torch.UntypedStorage:
        entry = self.entries.get(f"data/{storage.key}")
        if entry is None or entry.file_size < storage.nbytes:
            raise PickleError("a tensor whose numbers are not all there")
        if storage.key not in self.found:
            self.found[storage.key] = self._load(entry, storage)
        if self.found[storage.key].nbytes() < storage.nbytes:
            raise PickleError("one storage of two sizes")
        return _part(self.found[storage.key], 0, storage.nbytes)

    def _load(self, entry: zipfile.ZipInfo, storage: Storage) -> torch.UntypedStorage:
        if not storage.nbytes:
            return _empty(0)
        if entry.compress_type == zipfile.ZIP_STORED:
            begin = self._begin(entry)
            found = _part(self._map(), begin, storage.nbytes)
            if not begin % _ALIGNED and not self.swapped:
                return found
            found = _empty(storage.nbytes).copy_(found)
        else:
            found = _storage_of(bytearray(self.archive.read(entry)))
        if self.swapped:
            found.byteswap(storage.dtype)  # type: ignore[no-untyped-call]
        return found

    def _map(self) -> torch.UntypedStorage:
        """The whole file. Private to this process; pages are read when they are first used."""
        if self.mapped is None:
            self.mapped = _storage_of(
                mmap.mmap(self.opened.fileno(), self.size, access=mmap.ACCESS_COPY)
            )
        return self.mapped

    def _begin(self, entry: zipfile.ZipInfo) -> int:
        """Where the bytes of a stored entry are; they all lie in the file."""
        self.opened.seek(entry.header_offset)
        header = self.opened.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
            raise PickleError("an archive whose entries are not where it says")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        begin = entry.header_offset + _LOCAL_HEADER + lengths
        if begin + entry.file_size > self.size:
            raise PickleError("an archive whose entries reach beyond its end")
        return begin


class _Behind:
    """Storages behind the pickles of an older file, to be filled once these are read."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.found: dict[str, tuple[Storage, torch.UntypedStorage]] = {}

    def __call__(self, storage: Storage) -> torch.UntypedStorage:
        if storage.key not in self.found:
            self.left -= storage.nbytes
            if self.left < 0:
                raise PickleError("tensors whose numbers are not all there")
            self.found[storage.key] = storage, _empty(storage.nbytes)
        if self.found[storage.key][0] != storage:
            raise PickleError("one storage of two sizes")
        return self.found[storage.key][1]

    def fill(self, opened: BufferedReader, keys: Any) -> None:
        """Read the numbers: for each key how many there are, in 8 bytes, and themselves."""
        if not isinstance(keys, list) or not set(self.found) <= {str(key) for key in keys}:
            raise PickleError("tensors whose numbers are not all there")
        for key in keys:
            if str(key) not in self.found:
                raise PickleError("numbers that belong to no tensor")
            storage, place = self.found.pop(str(key))
            if int.from_bytes(opened.read(8), "little") != storage.size:
                raise PickleError("a storage of another size")
            into = torch.empty(0, dtype=torch.uint8).set_(place).numpy().data
            if storage.nbytes and opened.readinto(into) != storage.nbytes:
                raise PickleError("tensors whose numbers are not all there")


def _empty(nbytes: int) -> torch.UntypedStorage:
    return torch.empty(nbytes, dtype=torch.uint8).untyped_storage()


def _part(storage: torch.UntypedStorage, begin: int, nbytes: int) -> torch.UntypedStorage:
    """Bytes of a storage, in place."""
    part: torch.UntypedStorage = storage[begin : begin + nbytes]
    return part


def _storage_of(data: bytearray | mmap.mmap) -> torch.UntypedStorage:
    return torch.frombuffer(data, dtype=torch.uint8).untyped_storage()


def _named_bytes(size: int) -> int:
    """What the tensors of a file of `size` bytes may name in all."""
    return max(SMALL_BYTES, NAMED_TIMES.most * size)


def _entries(archive: zipfile.ZipFile, name: str, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by their names in the archive's one folder.

    Raises:
        CheckpointError: another archive, or one that grows beyond all measure.
    """
    found = {e.filename.partition("/")[2] or e.filename: e for e in archive.infolist()}
    if "data.pkl" not in found:
        hint = "it is a samedge bundle" if "manifest.json" in found else "it is another zip archive"
        raise CheckpointError(
            f"{name}: is not a checkpoint ({hint}); expected a file written by torch.save"
        )
    if "constants.pkl" in found:
        raise CheckpointError(f"{name}: is a TorchScript archive, which holds a program; {_REMEDY}")
    if any(e.compress_type not in _METHODS or e.flag_bits & 1 for e in found.values()):
        raise CheckpointError(
            f"{name}: is packed in a way that torch.save does not write; expected a plain zip "
            "archive: unpack it, or load and save it with torch"
        )
    unpacked = sum(e.file_size for e in found.values() if e.compress_type != zipfile.ZIP_STORED)
    if unpacked > max(SMALL_BYTES, UNPACKED_TIMES.most * size):
        raise CheckpointError(
            f"{name}: holds {size / 1e6:,.1f} MB that are said to be {unpacked / 1e6:,.0f} MB when "
            f"unpacked; weights grow by {UNPACKED_TIMES.most} times at most. Save it anew with "
            "torch.save, which does not compress"
        )
    return found


@contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """Faults of what is inside, in words for who has the file."""
    try:
        yield
    except ForeignClass as error:
        raise CheckpointError(
            f"{file.name}: wants to run code ('{error}') when it is opened, not only to hold "
            f"tensors; it was not run. {_REMEDY[0].upper()}{_REMEDY[1:]}"
        ) from error
    except (SamEdgeError, OSError, MemoryError):
        raise
    except Exception as error:  # zipfile and zlib raise a dozen types on damaged archives
        raise CheckpointError(
            f"{file.name}: is truncated, damaged, or no checkpoint ({one_line(error)}); copy or "
            "download it again"
        ) from error


def one_line(error: BaseException) -> str:
    """The first line of an error's text, without paths of this machine, at most 120 characters."""
    lines = str(error).strip().splitlines()
    text = re.sub(r"(?:/[\w.+-]+){2,}", "<path>", lines[0]) if lines else type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
