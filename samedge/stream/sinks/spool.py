"""What comes frame by frame waits on the disk until its file is written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO

from samedge.files.whole import output_error


class Spool:
    """A nameless file; it goes when it is closed, or with the process.

    Args:
        folder: on the disk where the file will be for which it waits.

    Raises:
        OutputError: no space, or no permission.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        except OSError as error:
            raise output_error(error, folder) from error

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OutputError: no space left.
        """
        try:
            self._file.write(data)
        except OSError as error:
            raise output_error(error, self._folder) from error

    def copy_to(self, file: IO[bytes]) -> None:
        """Append everything to an open binary file."""
        self._file.flush()
        self._file.seek(0)
        shutil.copyfileobj(self._file, file, 1 << 20)

    def close(self) -> None:
        """Give the space on the disk back."""
        self._file.close()
