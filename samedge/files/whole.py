"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import OutputError


def output_error(path: Path, error: OSError) -> OutputError:
    """The message for a file that could not be written."""
    return OutputError(f"cannot write {path}: {error.strerror or error}")


def make_folder(path: Path) -> Path:
    """Make a folder and its parents; one that exists is fine.

    Raises:
        OutputError: a file is in the way, or no permission.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{path} is a file; a folder is needed here: give another -o") from error
    except OSError as error:
        raise output_error(path, error) from error
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A hidden sibling to write to; it takes the name `path` when the block ends well.

    Raises:
        OutputError: the disk is full, or the operating system refuses. Nothing is left then.
    """
    # The suffix stays, since cv2 and FFmpeg choose the format by it.
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically.

    Raises:
        OutputError: see `atomic_path`.
    """
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 `[H, W]` or RGB `[H, W, 3]` as PNG, atomically.

    Raises:
        OutputError: see `atomic_path`.
    """
    picture = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    good, data = cv2.imencode(".png", np.ascontiguousarray(picture))
    if not good:
        raise OutputError(f"cannot encode {path.name} as PNG")
    write_bytes(path, data.tobytes())
