"""Files and folders that are there whole or not at all: the one way in which samedge writes.

Something is written beside its place, put on the disk, and given its name in one step. A full disk,
a kill or a loss of power leaves what was there before.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from samedge._wording import option
from samedge.errors import OutputError
from samedge.files.paths import kind_at, shown
from samedge.files.work_folder import (
    WorkFolder,
    is_still_there,
    move_into_place,
    try_lock,
)

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CANNOT_WRITE = _NO_SPACE | {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG}


def is_disk_error(error: BaseException | None) -> bool:
    """Whether an error says that something cannot be written: disk full, no permission, ..."""
    return isinstance(error, OSError) and error.errno in _CANNOT_WRITE


def output_error(error: OSError, target: Path, kept: str = "") -> OutputError:
    """What an OSError while writing `target` means, in words for the user.

    Args:
        error: from the operating system.
        target: what was to be written; its name goes into the message.
        kept: what is still good although this failed, as a sentence; "" if there is nothing to say.
    """
    words = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        message = (
            f"no space left for {target.name} ({words}); nothing was written. Free some space or "
            "choose another disk"
        )
    else:
        message = (
            f"{target.name} cannot be written: {words}; nothing was written. Check the folder's "
            "permissions or choose another folder"
        )
    return OutputError(f"{message}. {kept}" if kept else message)


def make_folder(path: Path) -> Path:
    """Make a folder and its parents; one that exists is fine.

    Raises:
        OutputError: a file is in the way, or no permission.
    """
    kind_at(path, OutputError)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(
            f"{path} is a file; a folder is needed here: give another name"
        ) from error
    except OSError as error:
        raise output_error(error, path) from error
    return path


def check_target(path: Path) -> None:
    """Say before long work whether a file can be written to `path`, as far as that can be seen.

    Raises:
        OutputError: a folder, a pipe or a device is in the way, or its folder is missing.
    """
    found = kind_at(path, OutputError)
    if found in ("folder", "other"):
        # A pipe would be replaced by a file, or waited for as long as nobody reads.
        what = "a folder" if found == "folder" else "a pipe or a device"
        raise OutputError(f"'{shown(path)}' is {what}; give the name of a file")
    if kind_at(path.absolute().parent, OutputError) != "folder":
        raise OutputError(
            f"there is no folder '{shown(path.parent)}' to write {shown(path.name)} into; make it "
            "first"
        )


class _DraftFile:
    """Writes to a handle, without a buffer of its own, and remembers what went wrong: torch.save,
    for one, turns a full disk into an error that does not say so."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Append bytes, or anything with a buffer; returns how many."""
        rest = memoryview(data).cast("B")
        count = len(rest)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            self.error = error
            raise
        return count

    def flush(self) -> None:
        """Nothing is held back."""


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on the disk now.

    Raises:
        OSError: as the operating system reports it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Put a file, or a folder and all in it, on the disk now; errors as `sync`."""
    for inner in path.rglob("*") if path.is_dir() else ():
        sync(inner)
    sync(path)


@contextmanager
def whole_path(path: Path, kept: str = "") -> Iterator[Path]:
    """For libraries that open files by name: a hidden sibling of `path`, which takes that name when
    the block ends well. It exists, and is empty.

    Args:
        path: the file to be; its folder exists. An older one is replaced.
        kept: for the message: what is still good if this fails.

    Raises:
        OutputError: the disk is full, or the operating system refuses. Nothing is left then.
    """
    with _draft(path, 0o666, kept) as (draft, _):
        yield draft


@contextmanager
def whole_file(path: Path, kept: str = "", mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the name `path` when the block ends well.

    Args:
        path, kept: as for `whole_path`.
        mode: permissions, less the process's umask; 0o600: for this user alone.

    Raises:
        OutputError: as `whole_path`.
    """
    with _draft(path, mode, kept) as (_, handle):
        file = _DraftFile(handle)
        try:
            yield cast(IO[bytes], file)
        except Exception as error:
            if file.error is not None and not isinstance(error, OSError):
                raise output_error(file.error, path, kept) from error
            raise


def write_bytes(path: Path, data: bytes | memoryview, kept: str = "", mode: int = 0o666) -> None:
    """Write `data` to `path`; arguments and errors as for `whole_file`."""
    with whole_file(path, kept, mode) as file:
        file.write(data)


def write_json(path: Path, value: Any, kept: str = "") -> None:
    """Write one JSON value, indented; arguments and errors as for `whole_file`.

    Raises:
        ValueError: `value` holds NaN or infinity.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, json_bytes(text + "\n"), kept)


def json_bytes(text: str) -> bytes:
    """JSON text as UTF-8; of file names that are no UTF-8 the odd bytes stay, as JSON's escapes."""
    return text.encode(errors="backslashreplace")


@contextmanager
def _draft(path: Path, mode: int, kept: str) -> Iterator[tuple[Path, int]]:
    check_target(path)
    draft, handle = None, -1
    try:
        draft, handle = _open_draft(path, mode)
        yield draft, handle
        os.fsync(handle)
        os.replace(draft, path)
        draft = None
    except OSError as error:
        raise output_error(error, path, kept) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
        if handle >= 0:
            os.close(handle)


def _open_draft(path: Path, mode: int) -> tuple[Path, int]:
    """An empty file beside `path`, locked while it is open (where its name is the usual one).

    Its name is the same every time, so that a killed process leaves one draft at most and the next
    takes it over; it has a name of its own where another process is writing the same file. The
    suffix stays, since FFmpeg chooses the format by it.
    """
    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EACCES):  # a link, or another user's draft
            raise
    else:
        # Not ours if another process renamed or removed it in the moment before the lock.
        if try_lock(handle) and is_still_there(draft, handle) and _is_own(handle, mode):
            os.ftruncate(handle, 0)
            return draft, handle
        os.close(handle)
    draft = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try_lock(handle)  # whoever sweeps up lets it be
    return draft, handle


_DRAFT = re.compile(r"\.(?P<stem>.+?)(?P<token>\.[0-9a-f]{8})?\.part(?P<suffix>(\.[^.]*)?)", re.S)


def abandoned_drafts(folder: Path) -> dict[Path, set[str]]:
    """What killed processes left of files that they were writing: drafts that nobody holds.

    Args:
        folder: not searched below; need not exist.

    Returns:
        Draft -> names that its file can have been meant to have.
    """
    drafts = {}
    for path in sorted(folder.glob(".*.part*")):
        parts = _DRAFT.fullmatch(path.name)
        if parts is not None and _is_abandoned(path):
            stems = {parts["stem"], parts["stem"] + (parts["token"] or "")}
            drafts[path] = {stem + parts["suffix"] for stem in stems}
    return drafts


def _is_abandoned(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone already, a link, or another user's: not ours to remove
        return False
    try:
        return stat.S_ISREG(os.fstat(handle).st_mode) and try_lock(handle) is True
    finally:
        os.close(handle)


def _is_own(handle: int, mode: int) -> bool:
    """A draft left behind may not be open to more users than the file is to be."""
    info = os.fstat(handle)
    return info.st_uid == os.geteuid() and not info.st_mode & 0o777 & ~mode


@contextmanager
def whole_folder(target: Path, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder beside `target` to write into; it takes that name when the block ends well.

    What a killed process leaves is hidden, and the next one in that place removes it.

    Args:
        target: the folder to be; missing parents are made.
        marker: a file that every such folder has.
        overwrite: replace an older folder, if it has the marker: nothing else is ever removed.

    Raises:
        OutputError: the folder is in use, the disk is full, or the operating system refuses.
    """
    _refuse(target, marker, overwrite)
    target = target.absolute()  # "." has no name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WorkFolder(target.parent) as work:
            part = work.path / "new"
            part.mkdir()
            yield part
            _refuse(target, marker, overwrite)  # it may have appeared in the meantime
            move_into_place(part, target, work.path / "old")
    except OSError as error:
        raise output_error(error, target) from error


def _refuse(target: Path, marker: str, overwrite: bool) -> None:
    """Say no before the work, not after it.

    Raises:
        OutputError: what is in the way, and what to do.
    """
    kind_at(target, OutputError)
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise OutputError(f"{target} is a file; a folder is needed here: give another name")
        if not any(target.iterdir()):
            return
        ours = (target / marker).is_file()
    except OSError as error:
        raise output_error(error, target) from error
    if not ours:
        raise OutputError(
            f"{target} is not empty and holds no {marker}, so it is not ours to replace: "
            "give another folder"
        )
    if not overwrite:
        raise OutputError(
            f"{target} holds a simulated data set already: give another folder, or replace it "
            f"with {option('overwrite', True, '--force')}"
        )
