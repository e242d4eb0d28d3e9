"""The one store of compiled engines: what fits is found, what is new is kept, old ones make room.

An engine is code: whoever can write one into the store decides what the next session computes. So
it is loaded only from a place that no other user can write to, if its hash is the one in its
record, and if everything that it depends on is what is here. The cache is private to its user (mode
0700, not a link). Files are written whole, the record last; several processes may use one folder.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from samedge.bundle import Bundle
from samedge.bundle.names import ENGINES
from samedge.errors import DeviceError, OutputError, SourceError
from samedge.files.in_use import mark_used
from samedge.files.whole import abandoned_drafts, output_error, write_bytes
from samedge.runtime.engines.keys import Key, model_digest
from samedge.runtime.engines.mapped import MappedFile, check_private
from samedge.runtime.engines.records import (
    ENDING,
    EngineRecord,
    parse_record,
    read_record,
    record_bytes,
    record_path,
)
from samedge.runtime.engines.trust import NOT_TRUSTED, is_trusted, remember
from samedge.runtime.tensorrt.layer_report import LayerReport

ENV = "SAMEDGE_CACHE"
LIMIT_BYTES = 16 * 10**9  # of all engines in the user's cache
_MODE = 0o600  # of a stored file

T = TypeVar("T")


@dataclass(frozen=True)
class StoredEngine:
    """An engine that may be loaded: checked, and mapped as it was checked."""

    path: Path
    file: MappedFile
    record: EngineRecord


@dataclass(frozen=True)
class NoEngine:
    """No stored engine fits.

    Attributes:
        reasons: why those that lie there were not taken, in words for the user; empty if none do.
    """

    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineStore:
    """Folders of engines.

    Attributes:
        folders: where to look, best first; the last is where new ones go.
        cache: the folder below which old ones make room for new ones; None where all stay.
        bundle: name of the bundle that new ones are for, for their records.
    """

    folders: tuple[Path, ...]
    cache: Path | None = None
    bundle: str = ""

    @classmethod
    def of_user(cls, bundle: Bundle | None = None) -> EngineStore:
        """The user's cache, for what belongs to a bundle."""
        folder = cache_folder()
        return cls((folder,), folder, "" if bundle is None else bundle.path.name)

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> EngineStore:
        """NVIDIA engines of a bundle: in its own folder, if it is one, and in the user's cache."""
        own = [bundle.path / ENGINES] if bundle.path == bundle.root else []
        folder = cache_folder()
        folders = (*own, folder / "nvidia" / model_digest(bundle)[:16])
        return cls(folders, folder, bundle.path.name)

    @property
    def target(self) -> Path:
        """The folder that new engines go to."""
        return self.folders[-1]

    def find(self, key: Key) -> StoredEngine | NoEngine:
        """The engine for `key`, checked against its record."""
        reasons = []
        for path in self._candidates(key):
            if key.exact and not record_path(path).exists():
                continue  # another process is writing it, or was stopped: the next one to save does
            try:
                found = _opened(path, key)
                if self.cache is not None and path.is_relative_to(self.cache):
                    mark_used(path)
                return found
            except _NotUsable as error:
                reasons.append(
                    self.discard(path, str(error))
                    if key.exact and error.worthless
                    else f"the engine {path.name} is not used: {error}"
                )
        return NoEngine(tuple(reasons))

    def passed(self, key: Key, precision: str) -> bool | None:
        """Whether the engine for `key` passed the parity gate on this device, in `precision`; None
        if it was not tried, or there is no such engine. Its bytes are not looked at."""
        for path in self._candidates(key):
            try:
                record = _trusted_record(path, key)
            except _NotUsable:
                continue
            passed = record.passed(precision)
            if passed is not None:
                return passed
        return None

    def unfit(self, key: Key) -> tuple[str, ...] | None:
        """Why no engine here fits `key`, by their records alone, in words for the user; None if one
        does. Empty if none lies here that might."""
        reasons = []
        for path in self._candidates(key):
            try:
                _trusted_record(path, key)
            except _NotUsable as error:
                reasons.append(f"the engine {path.name} is not used: {error}")
                continue
            return None
        return tuple(reasons)

    def save(
        self,
        key: Key,
        data: memoryview,
        options: Mapping[str, Any] | None = None,
        report: LayerReport | None = None,
    ) -> StoredEngine:
        """Keep an engine in `target`.

        Args:
            key: what it is for.
            data: the engine.
            options: how it was built.
            report: what the builder says about its kernels.

        Raises:
            OutputError: it cannot be kept; nothing is left behind.
        """
        path = self.target / f"{key.stem}{ENDING}"
        digest = hashlib.sha256(data).hexdigest()
        record = EngineRecord(key, digest, len(data), options or {}, (), report, self.bundle)
        self._prepare()
        try:
            record_path(path).unlink(missing_ok=True)  # it belongs to the engine before
            write_bytes(path, data, mode=_MODE)
            _write_record(path, record, _MODE)
            stored = StoredEngine(path, MappedFile(path), record)
        except (OSError, OutputError) as error:
            remove_engine(path)
            raise output_error(error, path) if isinstance(error, OSError) else error from error
        self._make_room(path)
        return stored

    def discard(self, engine: Path, why: str) -> str:
        """Throw away an engine, for example because its library refused it.

        Returns:
            what to tell the user.
        """
        try:
            remove_engine(engine)
        except DeviceError as error:
            return f"the stored engine {engine.name} is not used: {why}; {error}"
        return f"the stored engine {engine.name} was thrown away: {why}; built anew"

    def _candidates(self, key: Key) -> Iterator[Path]:
        """Engines that may fit; in every folder the one with the right name first."""
        for folder in self.folders:
            with suppress(OSError):  # a folder that cannot be listed has no engine for us
                yield from sorted(
                    folder.glob(key.pattern), key=lambda path: (path.stem != key.stem, path)
                )

    def _prepare(self) -> None:
        """Make the target, and refuse one that others could write to."""
        try:
            self.target.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(self.target)
            for draft in abandoned_drafts(self.target):
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"the folder of engines {self.target} is not used: {error.strerror or error}; "
                f"set {ENV} to a folder that only you can write to"
            ) from error

    def _make_room(self, keep: Path) -> None:
        """Remove the engines that were stored longest ago until the cache is within its limit."""
        if self.cache is None:
            return
        total, old = 0, []
        for path in stored_files(self.cache):
            with suppress(OSError):  # another process may be making room as well
                info = path.stat()
                total += info.st_size
                old.append((info.st_mtime, info.st_size, path))
        for _, size, path in sorted(old):
            if total <= LIMIT_BYTES:
                return
            if path != keep:
                with suppress(DeviceError):  # it stays, and is the first to go the next time
                    remove_engine(path)
                total -= size


class _NotUsable(Exception):
    """Why an engine is not used; `worthless` if it never will be."""

    def __init__(self, why: str, worthless: bool = True) -> None:
        super().__init__(why)
        self.worthless = worthless


def _trusted_record(path: Path, key: Key) -> EngineRecord:
    """The record of an engine that fits `key` and lies where it may be trusted."""
    try:
        for place in (path.parent, path):
            check_private(place)
    except OSError as error:
        raise _NotUsable(str(error), worthless=False) from error
    try:
        data = record_bytes(path)
        record = parse_record(data, record_path(path).name)
    except SourceError as error:
        raise _NotUsable(str(error)) from error
    different = key.mismatch(record.key, record.options)
    if different is not None:
        raise _NotUsable(different)
    if not _in_cache(path) and not is_trusted(cache_folder().parent, data):
        raise _NotUsable(NOT_TRUSTED, worthless=False)
    return record


def _opened(path: Path, key: Key) -> StoredEngine:
    record = _trusted_record(path, key)
    try:
        file = MappedFile(path)
    except (OSError, ValueError) as error:
        raise _NotUsable(f"it cannot be read ({error})") from error
    if file.sha256() != record.sha256:
        raise _NotUsable(
            "its SHA-256 is not the one in its record: it was changed or damaged"
            + ("" if key.exact else "; build it again with `samedge build`")
        )
    return StoredEngine(path, file, record)


@dataclass(frozen=True)
class Obtained(Generic[T]):
    """An engine, and where it is from.

    Attributes:
        engine: loaded.
        file: the map that it lives from; None: memory of its own.
        stored: it was in the store.
        notes: what a user should know.
    """

    engine: T
    file: MappedFile | None
    stored: bool
    notes: tuple[str, ...] = ()


def load_or_build(
    store: EngineStore,
    key: Key,
    read: Callable[[MappedFile], T],
    build: Callable[[], T],
    write: Callable[[T], memoryview],
) -> Obtained[T]:
    """An engine from the store, or a new one that is kept there.

    A new engine is read back from its file where that is possible, so that a first start leaves the
    same (smaller) resident memory as every later one. A store that cannot be written never stops a
    session: the reason is a note.

    Args:
        store: where to look.
        key: everything that the engine depends on.
        read: makes an engine of a mapped file; any exception means the file is not usable.
        build: makes a new engine.
        write: the new engine's bytes.
    """
    notes: list[str] = []
    found = store.find(key)
    if isinstance(found, NoEngine):
        notes += found.reasons
    else:
        try:
            return Obtained(read(found.file), found.file, stored=True)
        except Exception as error:  # engine libraries raise anything on a file they dislike
            why = f"the engine library refused it ({_first_line(error)})"
            notes.append(store.discard(found.path, why))
    engine = build()
    try:
        kept = store.save(key, write(engine))
    except OutputError as error:
        notes.append(f"the engine is not kept, and every start will compile again: {error}")
        return Obtained(engine, None, False, tuple(notes))
    del engine
    return Obtained(read(kept.file), kept.file, False, tuple(notes))


def add_parity(engine: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Note in an engine's record what the parity gate said.

    Raises:
        SourceError: it has no record.
        OutputError: the record cannot be written.
    """
    if rows:
        record = replace(read_record(engine), parity=tuple(rows))
        _write_record(engine, record, stat.S_IMODE(record_path(engine).stat().st_mode))


def _write_record(engine: Path, record: EngineRecord, mode: int) -> None:
    """Write what this process knows of an engine that it built, and remember that it did."""
    data = record.dump()
    if not _in_cache(engine):
        remember(cache_folder().parent, data)
    write_bytes(record_path(engine), data, mode=mode)


def _in_cache(path: Path) -> bool:
    """Whether an engine lies in the user's own cache, which nobody else can write to."""
    return cache_folder().absolute() in path.absolute().parents


def move_engine(engine: Path, folder: Path) -> None:
    """Give an engine its place, with its record; one of that name there is replaced.

    Raises:
        OutputError: the folder cannot be written.
    """
    for path in (engine, record_path(engine)):
        try:
            path.chmod(0o644)  # a service may run under another name than who built it
            os.replace(path, folder / path.name)
        except OSError as error:
            raise output_error(error, folder / path.name) from error


def remove_engine(engine: Path) -> None:
    """Remove an engine and its record, as far as they are there.

    Raises:
        DeviceError: a file is there and cannot be removed.
    """
    for path in (record_path(engine), engine):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DeviceError(
                f"{path} cannot be removed ({error.strerror}); remove it by hand: it must not be "
                "used"
            ) from error


def stored_files(folder: Path) -> list[Path]:
    """All engines below a folder, without drafts of those that are being written."""
    return sorted(path for path in folder.rglob(f"*{ENDING}") if not path.name.startswith("."))


def cache_folder() -> Path:
    """`$SAMEDGE_CACHE/engines`, else `samedge/engines` in the user's cache folder (XDG)."""
    chosen = os.environ.get(ENV)
    if chosen:
        return Path(chosen).expanduser() / "engines"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "samedge" / "engines"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
