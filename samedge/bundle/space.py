"""Room on the disk: whether a bundle will fit, and where copies for engines go."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samedge.bundle.archive import cache_folder
from samedge.errors import OutputError
from samedge.files.whole import output_error
from samedge.files.work_folder import WorkFolder


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


@contextmanager
def private_folder(size: int, what: str) -> Iterator[Path]:
    """A folder that only this user can look into, with room for a copy; gone with the block.

    It lies among the system's temporary files (`$TMPDIR`), or in the cache where those have no
    room. What a killed process left behind is swept by the next one.

    Args:
        size: bytes that are to go there.
        what: is copied, for messages.

    Raises:
        OutputError: there is no room, or nothing can be written.
    """
    parent = _with_room(size)
    if parent is None:
        raise OutputError(
            f"no space for a private copy of {what}, which the engine is compiled from: it takes "
            f"{size / 1e6:.0f} MB, for seconds; free some space, or set TMPDIR to a folder that "
            "has it"
        )
    try:
        work = WorkFolder(parent)
    except OSError as error:
        raise output_error(error, parent) from error
    with work:
        yield work.path


def _with_room(size: int) -> Path | None:
    for choose in (_temporary, cache_folder):
        try:
            parent = choose()
            usage = shutil.disk_usage(parent)
        except (OSError, OutputError):  # nothing can be written there
            continue
        if usage.free >= size or not usage.total:
            return parent
    return None


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


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
