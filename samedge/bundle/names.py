"""Names and kinds of the files inside a bundle: none of them leads out of its folder."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from samedge.errors import BundleError

ENGINES = "engines"
MAX_DEPTH = 4
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)


def is_safe_name(name: object) -> bool:
    """Whether `name` is a relative file name that cannot leave the bundle's folder.

    Parts of ASCII letters, digits and `._+-` that do not start with a dot, joined by `/`: no
    absolute names, no `..`, no drive letters, no backslashes, no hidden files.
    """
    if not isinstance(name, str):
        return False
    parts = name.split("/")
    return len(parts) <= MAX_DEPTH and all(_PART.fullmatch(part) for part in parts)


def checked_name(name: object) -> str:
    """`name`, if `is_safe_name`.

    Raises:
        BundleError: it is not.
    """
    if not is_safe_name(name):
        raise BundleError(
            f"unsafe file name in a bundle: {name!r}; expected a relative name of letters, "
            "digits and ._+- with / between folders. The bundle is damaged or was tampered with: "
            "export it again"
        )
    assert isinstance(name, str)
    return name


def regular_file(root: Path, name: str) -> os.stat_result:
    """Stat of the file `name` below `root`.

    Raises:
        BundleError: it is missing, cannot be reached, or it or a folder on the way is a symlink or
            something else than a plain file or folder.
    """
    path = root
    parts = checked_name(name).split("/")
    for position, part in enumerate(parts, start=1):
        path = path / part
        try:
            info = path.lstat()
        except FileNotFoundError:
            raise BundleError(
                f"{root.name}: the file {name} is missing; copy the bundle again, or export it "
                "again"
            ) from None
        except OSError as error:
            raise BundleError(
                f"{root.name}: {name} cannot be read: {error.strerror or error}"
            ) from error
        wanted = stat.S_ISREG if position == len(parts) else stat.S_ISDIR
        if not wanted(info.st_mode):
            raise BundleError(
                f"{root.name}: {name} is not a plain file (a link, a device or a folder); "
                "a bundle holds plain files only: replace it by a copy"
            )
    return info
