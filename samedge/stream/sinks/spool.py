"""What comes frame by frame waits on the disk until its file is written."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from samedge.errors import OutputError
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

    def reader(self, size: int) -> IO[bytes]:
        """The first `size` bytes and, if their number is odd, a zero; to be read from there on.

        Raises:
            OutputError: no space left.
        """
        self.cut(size)
        if size % 2:
            self.write(b"\0")
        try:
            self._file.seek(0)
        except OSError as error:
            raise output_error(error, self._folder) from error
        return self._file

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes; what a full disk left of the next ones goes.

        Raises:
            OutputError: the operating system refuses.
        """
        try:
            self._file.flush()
            self._file.truncate(size)
            self._file.seek(size)
        except OSError as error:
            raise output_error(error, self._folder) from error

    def rewrite(self, piece: int, convert: Callable[[bytes], bytes]) -> None:
        """Put something else in the place of everything.

        Args:
            piece: bytes that are converted at once.
            convert: bytes -> bytes.

        Raises:
            OutputError: no space left; everything stays as it is.
        """
        other = Spool(self._folder)
        self._file.flush()
        self._file.seek(0)
        try:
            while part := self._file.read(piece):
                other.write(convert(part))
        except OutputError:
            other.close()
            self._file.seek(0, os.SEEK_END)
            raise
        self._file.close()
        self._file = other._file

    def close(self) -> None:
        """Give the space on the disk back."""
        self._file.close()
