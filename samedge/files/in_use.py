"""Who uses a file or folder of a cache, and when it was used last.

A user holds a shared lock on it, which the system drops when the process ends, however it ends.
Whoever wants to remove it asks for the exclusive one and gets it only if nobody uses it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from samedge.files.work_folder import try_lock


def hold(handle: int) -> None:
    """Use what is open as `handle`, until that is closed; where the disk knows no locks, nothing
    happens."""
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


def hold_folder(path: Path) -> int:
    """Use a folder until the handle that this returns is closed.

    Raises:
        OSError: there is none, or it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    hold(handle)
    return handle


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether nobody uses `path`; inside, nobody begins to who asks first."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # a link, gone, or another user's
        yield False
        return
    try:
        yield try_lock(handle) is not False
    finally:
        os.close(handle)


def mark_used(path: Path) -> None:
    """Note that it was used now. Its time of modification stays."""
    with suppress(OSError):  # a folder that is only read
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def last_used(path: Path) -> float:
    """When it was used, or else made, in s since 1970.

    Raises:
        OSError: it is gone.
    """
    info = path.lstat()
    return max(info.st_atime, info.st_mtime)
