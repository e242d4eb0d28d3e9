"""Whether a bundle will fit on the disk, before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from samedge.bundle.archive import cache_folder
from samedge.errors import OutputError


def check_space(target: Path, size: int, zipped: bool = False) -> None:
    """Refuse a bundle that the disk has no room for.

    A bundle that is to be replaced stays until the new one is whole, so its room does not count.
    One that is zipped is there twice for a moment: its largest file in both forms, and then the
    zip and the copy in the cache that it is read from.

    Args:
        target: where it goes; its parent folder exists.
        size: bytes of all its files.
        zipped: it becomes one file.

    Raises:
        OutputError: says how much is needed and how much is free.
    """
    folder = target.absolute().parent
    _require(folder, target.name, 2 * size if zipped else size)
    if zipped and not _same_disk(cache := cache_folder(), folder):
        _require(cache, f"the unpacked copy of {target.name} in the cache", size)


def _require(folder: Path, what: str, size: int) -> None:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:  # whatever is wrong there is told by the one who writes
        return
    if usage.total and usage.free < size:  # some network disks tell nothing: 0 of 0
        raise OutputError(
            f"no space for {what}: it takes about {size / 1e9:.2f} GB, and {usage.free / 1e9:.2f} "
            "GB are free there; nothing was written. Free some space or choose another disk"
        )


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev
