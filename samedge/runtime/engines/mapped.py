"""Files mapped into memory, and whether a place may be trusted with code."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samedge.files.in_use import hold

_CHUNK = 1 << 24


class MappedFile:
    """A file mapped read-only into memory, seen by numpy without a copy.

    What is hashed is what is used: the pages belong to the file that was open when this was made,
    whatever takes its name later. Several processes share them.

    Engines insist on a writable array, which a read-only map does not give, so the address is
    handed over as if it were one. The pages stay protected: a write would end the process rather
    than change the file. The object must live as long as the engine made from it.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is empty.
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            hold(file.fileno())  # for as long as the map lives, which has the handle's twin
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        address = np.frombuffer(self._map, np.uint8).ctypes.data
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (len(self._map),),
            "typestr": "|u1",
            "version": 3,
        }

    def array(self) -> NDArray[np.uint8]:
        """The bytes as uint8 `[n]`. Never write to it."""
        return np.asarray(self)

    def view(self) -> memoryview:
        """The bytes, read-only; the map lives as long as the view and its parts."""
        return memoryview(self._map)

    def sha256(self) -> str:
        """Digest of the mapped bytes."""
        digest = hashlib.sha256()
        view = memoryview(self._map)
        for start in range(0, len(view), _CHUNK):
            digest.update(view[start : start + _CHUNK])
        return digest.hexdigest()

    def drop_pages(self) -> None:
        """Take the pages out of resident memory; they come back from the file if read again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def check_private(path: Path) -> None:
    """Raise an OSError that says why `path` must not be trusted."""
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        raise OSError(f"{path} is a link")
    if hasattr(os, "geteuid"):
        if info.st_uid not in (os.geteuid(), 0):  # root can do anything anyway
            raise OSError(f"{path} belongs to another user")
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise OSError(f"{path} is writable by other users (chmod go-w it)")
