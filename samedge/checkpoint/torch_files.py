"""What torch.save writes, read without running anything in it."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from samedge.errors import CheckpointError

_REMEDY = (
    "if you trust its source, load it once with the project that wrote it and save only the "
    "tensors: torch.save(model.state_dict(), 'weights.pth')"
)
# What the pickle of a plain dictionary of tensors imports.
_TENSOR_GLOBALS = re.compile(r"torch\.(_utils\.|storage\.)?\w+|collections\.\w+")
_SCANNED = 1 << 24  # bytes of a legacy file that are searched for names


def load_zip(file: Path) -> Any:
    """What `torch.save` wrote into a zip archive; memory-mapped unless compressed.

    Raises:
        CheckpointError: damaged, another archive, or a pickle that wants to run code.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{file.name}: is truncated or damaged ({one_line(error)}); copy or download it again"
        ) from error
    names = {e.filename.partition("/")[2] or e.filename for e in entries}
    if "data.pkl" not in names:
        hint = "it is a samedge bundle" if "manifest.json" in names else "it is another zip archive"
        raise CheckpointError(
            f"{file.name}: is not a checkpoint ({hint}); expected a file written by torch.save"
        )
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{file.name}: is a TorchScript archive, which holds a program; {_REMEDY}"
        )
    stored = all(e.compress_type == zipfile.ZIP_STORED for e in entries)
    return _load_torch(file, mmap=stored)


def load_legacy(file: Path) -> Any:
    """What `torch.save` wrote before version 1.6; errors as `load_zip`."""
    return _load_torch(file, mmap=False)


def _load_torch(file: Path, mmap: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch's remarks on pickle protocols are for programmers
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_pickle_message(file)) from error
    # A damaged pickle can make the unpickler raise nearly anything; none of it is ours to tell
    # apart, and the original stays attached as the cause.
    except Exception as error:
        raise CheckpointError(
            f"{file.name}: is truncated, damaged, or no checkpoint "
            f"({type(error).__name__}: {one_line(error)}); copy or download it again"
        ) from error


def _pickle_message(file: Path) -> str:
    wanted = foreign_global(file)
    if wanted is None:
        return (
            f"{file.name}: is truncated, damaged, or no checkpoint (invalid pickle); "
            "copy or download it again"
        )
    return (
        f"{file.name}: wants to run code ('{wanted}') when it is opened, not only to hold tensors; "
        f"it was not run. {_REMEDY[0].upper()}{_REMEDY[1:]}"
    )


def foreign_global(file: Path) -> str | None:
    """The first class or function that a pickle would import and that no tensor needs.

    Only reads the opcodes; nothing is imported. torch's own message is not used, because its
    wording changes and it gives up on newer pickle protocols before it meets the name.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                entry = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                return _foreign_in(io.BytesIO(archive.read(entry)))
        with file.open("rb") as opened:
            stream = io.BytesIO(opened.read(_SCANNED))
        # A legacy file is a row of pickles: magic number, version, system, object, keys.
        return next((name for _ in range(5) if (name := _foreign_in(stream))), None)
    # The file is refused anyway; that its pickle cannot be walked through only means that there is
    # no name to tell.
    except Exception:
        return None


def _foreign_in(stream: BinaryIO) -> str | None:
    """The same for one pickle; leaves the stream behind it."""
    found: str | None = None
    strings = ["", ""]
    for opcode, argument, _ in pickletools.genops(stream):
        name = ""
        if opcode.name == "GLOBAL":
            name = ".".join(str(argument).split())
        elif opcode.name == "STACK_GLOBAL":
            name = ".".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)
        if name and found is None and not _TENSOR_GLOBALS.fullmatch(name):
            found = name
    return found


def one_line(error: BaseException) -> str:
    """The first line of an error's text, without paths of this machine, at most 120 characters."""
    lines = str(error).strip().splitlines()
    text = re.sub(r"(?:/[\w.+-]+){2,}", "<path>", lines[0]) if lines else type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
