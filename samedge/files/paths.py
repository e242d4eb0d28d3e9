"""Paths that a user gave: what is there, and the bytes of small files.

`Path.is_file()` and its like raise an OSError for a name that is too long or a loop of links, and a
ValueError for one that no file can have; opening a pipe or a device waits for ever. Whatever takes
a path from outside asks here first.
"""

from __future__ import annotations

import os
import stat
from typing import Literal

from samedge.errors import SamEdgeError

Kind = Literal["file", "folder", "missing", "other"]
AnyPath = str | os.PathLike[str]

_SHOWN = 120  # characters of a path in a message


def kind_at(path: AnyPath, error: type[SamEdgeError]) -> Kind:
    """What is at `path`, links followed; "other" is a pipe, a device, a socket.

    Raises:
        error: the operating system cannot say: the name is too long, links lead in a circle,
            a folder on the way may not be entered, or no file can have such a name.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as refused:
        raise error(
            f"'{shown(path)}' cannot be reached: {refused.strerror or refused}; give another path, "
            "or allow access to it"
        ) from refused
    except ValueError:
        raise error(
            f"'{shown(path)}' is no path: no file name has such characters (NUL, or half a "
            "character); give another path"
        ) from None
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "other"


def read_small(path: AnyPath, limit: int, error: type[SamEdgeError]) -> bytes:
    """The bytes of a regular file that should be small: a list, a table, a record.

    Args:
        path: links are followed.
        limit: bytes; a larger file is not read.
        error: what is raised.

    Raises:
        FileNotFoundError: there is none; the caller knows what was expected.
        error: it is no regular file, too large, or cannot be read.
    """
    name = shown(os.path.basename(os.fspath(path)))
    found = kind_at(path, error)
    if found == "missing":
        raise FileNotFoundError(path)
    if found != "file":
        raise error(f"{name} is no regular file; expected a file of at most {_size(limit)}")
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            data = file.read(limit + 1)
    except OSError as refused:
        raise error(f"{name} cannot be read: {refused.strerror or refused}") from refused
    if len(data) > limit:
        raise error(f"{name} is larger than {_size(limit)}, which is not what it should be")
    return data


def shown(path: AnyPath) -> str:
    """A path for a message: the end of it, where it is long."""
    text = os.fspath(path)
    return text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"


def _without_waiting(path: str, flags: int) -> int:
    """Should a pipe have taken the file's place, it is opened and found empty: nothing waits."""
    return os.open(path, flags | os.O_NONBLOCK)


def _size(limit: int) -> str:
    return f"{limit / 1e6:g} MB"
