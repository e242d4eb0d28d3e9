"""Files that are there whole or not at all: a full disk or a kill leaves the last good one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from samedge.errors import OutputError
from samedge.files.hashes import is_disk_error, output_error


class _Watched:
    """A file that remembers what went wrong: torch.save turns it into an error without a cause."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def write_file(path: Path, write: Callable[[IO[bytes]], object], kept: str = "") -> None:
    """Write a file beside its place, put it on the disk, then give it its name in one step.

    Args:
        path: its folder exists.
        write: gets the open file.
        kept: for the message: what is still good if this fails.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.part")
    watched: _Watched | None = None
    try:
        with open(draft, "wb") as file:
            watched = _Watched(file)
            write(watched)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else watched and watched.error
        if isinstance(cause, OSError) and is_disk_error(cause):
            message = f"{output_error(cause, path)}{'. ' + kept if kept else ''}"
            raise OutputError(message) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value as `write_file` does."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_file(path, lambda file: file.write(text.encode()))
