"""A hidden folder to build something in, gone whatever happens; the next one sweeps up."""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

_PREFIX = ".samedge-work-"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class WorkFolder:
    """A hidden temporary folder inside `parent`, removed on exit.

    While it is in use its process holds a lock on it, which the system drops when the process
    dies, however it dies. Whoever makes the next one removes those that nobody holds: what a
    killed or crashed process left behind.

    Attributes:
        path: the folder; private to this user.
    """

    def __init__(self, parent: Path) -> None:
        _sweep(parent)
        self.path, self._lock = _make(parent)

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the folder and what is in it; it may have been renamed away before."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _make(parent: Path) -> tuple[Path, int]:
    while True:
        path = parent / f"{_PREFIX}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # swept in the moment before it is locked
            continue
        # Not ours although it is new: a sweeper took it in the moment before. It is theirs now.
        if try_lock(lock) is not False and is_still_there(path, lock):
            return path, lock
        os.close(lock)


def is_still_there(path: Path, handle: int) -> bool:
    """Whether `path` is still what `handle` has open, and was not removed or renamed."""
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _sweep(parent: Path) -> None:
    """Remove work folders that no living process holds."""
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone already, another user's, or no folder: not ours to remove
            continue
        try:
            if try_lock(lock):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def try_lock(handle: int) -> bool | None:
    """Whether this process holds the lock now; None where the disk knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def move_into_place(new: Path, target: Path, old: Path) -> None:
    """Put `new` at `target` in one step; what stood there ends up inside the work folder.

    Args:
        new: inside a work folder beside `target`.
        target: may exist.
        old: a free name inside the work folder.

    Where the disk cannot exchange two names in one step there is a moment with neither, and a
    failure in it puts the old one back.
    """
    if not os.path.lexists(target):
        new.rename(target)
    elif not _exchange(new, target):
        try:
            target.rename(old)
            new.rename(target)
        except BaseException:
            if os.path.lexists(old) and not os.path.lexists(target):
                old.rename(target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names by Linux's renameat2; False where system or disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    failed = renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    return int(failed) == 0
