"""A folder that appears under its name when everything in it is written, or not at all."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samedge.errors import OutputError
from samedge.files.work_folder import WorkFolder, move_into_place


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
        raise _explained(target, error) from error


def _refuse(target: Path, marker: str, overwrite: bool) -> None:
    """Say no before the work, not after it.

    Raises:
        OutputError: what is in the way, and what to do.
    """
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise OutputError(f"{target} is a file; a folder is needed here: give another name")
        if not any(target.iterdir()):
            return
        ours = (target / marker).is_file()
    except OSError as error:
        raise _explained(target, error) from error
    if not ours:
        raise OutputError(
            f"{target} is not empty and holds no {marker}, so it is not ours to replace: "
            "give another folder"
        )
    if not overwrite:
        raise OutputError(
            f"{target} holds a simulated data set already: give another folder, or replace it "
            "with --force (overwrite=True)"
        )


def _explained(target: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason += (
            "; nothing was left behind. Free some space, make fewer images, or use another disk"
        )
    return OutputError(f"cannot write {target}: {reason}")
