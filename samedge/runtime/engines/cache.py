"""Compiled engines on disk, so that the second start is quick.

An engine is code: whoever can write one into the cache decides what the next session computes. So
the folder is private (mode 0700, owned by this user, not a link), every engine has its sha256 in a
sidecar, and it is checked before the engine is handed out. A damaged, foreign or half-written
engine is thrown away and built anew. A cache that cannot be used or written never stops a session:
the reason is kept in `notes`.

Engines are mapped, not read: their pages belong to the file, several processes share them, and
`Mapped.drop_pages` takes them out of this process's resident memory once the engine has made its
own copy.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENV = "SAMEDGE_CACHE"
LIMIT_BYTES = 8 * 10**9
_CHUNK = 1 << 24


class Mapped:
    """A file mapped read-only into memory, seen by numpy without a copy.

    Engines insist on a writable array, which a read-only map does not give, so the address is
    handed over as if it were one. The pages stay protected: a write would end the process rather
    than change the file. The object must live as long as the engine made from it.
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
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


class EngineCache:
    """Folder of compiled engines.

    Args:
        folder: where to keep them; default `default_folder()`.

    Attributes:
        notes: what went wrong, in words for the user; empty if nothing did.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.notes: list[str] = []
        self.folder = folder if folder is not None else default_folder()
        self._usable = self._prepare()

    def get(self, name: str, key: dict[str, Any]) -> Mapped | None:
        """The engine stored for `key`, checked against its sidecar; None if there is none."""
        if not self._usable:
            return None
        engine, sidecar = self._paths(name, key)
        try:
            record = json.loads(sidecar.read_text(encoding="utf-8"))
            check_private(engine)
            mapped = Mapped(engine)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._reject(engine, sidecar, f"it cannot be read ({error})")
            return None
        if not isinstance(record, dict) or record.get("key") != key:
            self._reject(engine, sidecar, "its sidecar belongs to another engine")
            return None
        if mapped.sha256() != record.get("sha256"):
            self._reject(engine, sidecar, "its sha256 is not the one in its sidecar")
            return None
        return mapped

    def put(self, name: str, key: dict[str, Any], data: memoryview) -> Mapped | None:
        """Store an engine atomically and map it; None (and a note) where that is not possible."""
        if not self._usable:
            return None
        engine, sidecar = self._paths(name, key)
        record = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "key": key}
        try:
            write_atomically(engine, data)
            write_atomically(sidecar, memoryview(json.dumps(record, indent=1).encode()))
            mapped = Mapped(engine)
        except OSError as error:
            self.notes.append(
                f"the compiled engine could not be kept in {self.folder} ({error.strerror}); "
                f"every start will compile again: free some space or set {ENV}"
            )
            return None
        self._prune(keep=engine)
        return mapped

    def reject(self, name: str, key: dict[str, Any], why: str) -> None:
        """Throw away the engine of `key`, for example because the engine library refused it."""
        self._reject(*self._paths(name, key), why)

    def _paths(self, name: str, key: dict[str, Any]) -> tuple[Path, Path]:
        text = json.dumps(key, sort_keys=True)
        stem = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        return self.folder / f"{stem}.engine", self.folder / f"{stem}.json"

    def _prepare(self) -> bool:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(self.folder)
        except OSError as error:
            reason = str(error) if error.errno is None else error.strerror
            self.notes.append(
                f"the engine cache {self.folder} is not used: {reason}; "
                f"set {ENV} to a folder that only you can write to"
            )
            return False
        return True

    def _reject(self, engine: Path, sidecar: Path, why: str) -> None:
        self.notes.append(f"the cached engine {engine.name} was thrown away: {why}; built anew")
        for path in (sidecar, engine):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self.notes.append(f"{path.name} could not be removed: {error.strerror}")

    def _prune(self, keep: Path) -> None:
        """Remove the engines that were stored longest ago until the folder is within its limit."""
        try:
            engines = sorted(self.folder.glob("*.engine"), key=lambda path: path.stat().st_mtime)
            total = sum(path.stat().st_size for path in engines)
            for path in engines:
                if total <= LIMIT_BYTES:
                    return
                if path != keep:
                    total -= path.stat().st_size
                    path.with_suffix(".json").unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
        except OSError as error:  # another process may be pruning as well
            self.notes.append(f"old engines in {self.folder} were not removed: {error.strerror}")


def default_folder() -> Path:
    """`$SAMEDGE_CACHE`, else `samedge/engines` in the user's cache folder (XDG)."""
    chosen = os.environ.get(ENV)
    if chosen:
        return Path(chosen).expanduser() / "engines"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "samedge" / "engines"


def load_or_build(
    cache: EngineCache,
    name: str,
    key: dict[str, Any],
    read: Callable[[Mapped], Any],
    build: Callable[[], Any],
    write: Callable[[Any], memoryview],
) -> tuple[Any, Mapped | None, bool]:
    """An engine from the cache, or a new one that is put there.

    A new engine is read back from its file where that is possible, so that a first start leaves the
    same (smaller) resident memory as every later one.

    Args:
        cache: where to look.
        name: stem of the file, for people who look into the folder.
        key: everything the engine depends on, as JSON values.
        read: makes an engine of a mapped file; any exception means the file is not usable.
        build: makes a new engine.
        write: the new engine's bytes.

    Returns:
        The engine, the map that it lives from (None: its own memory), and whether it was cached.
    """
    mapped = cache.get(name, key)
    if mapped is not None:
        try:
            return read(mapped), mapped, True
        except Exception as error:  # engine libraries raise anything on a blob they dislike
            cache.reject(name, key, f"the engine library refused it ({_first_line(error)})")
    engine = build()
    mapped = cache.put(name, key, write(engine))
    if mapped is None:
        return engine, None, False
    del engine
    return read(mapped), mapped, False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


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


def write_atomically(path: Path, data: memoryview) -> None:
    """Write a file that is there whole, private to this user, or not at all.

    Raises:
        OSError: disk full, no permission; nothing is left behind.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
