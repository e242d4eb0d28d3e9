"""Whose engines are loaded: those that this user built here, or said to trust.

An engine is code, and so is what its record says (a record turns on code that the engine brings
along, and counts as proof of a parity gate). Whoever hands on a bundle can put engines into it
whose records and hashes fit. So an engine outside the user's private cache is only taken if its
record, which holds the engine's hash, is among those that samedge itself wrote for this user, or
that the user named. Of each an empty file is kept in the cache, called by the SHA-256 of the
record's bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samedge.errors import SourceError
from samedge.files.hashes import sha256_file
from samedge.files.whole import output_error
from samedge.runtime.engines.mapped import check_private
from samedge.runtime.engines.records import (
    ENDING,
    EngineRecord,
    parse_record,
    record_bytes,
    record_path,
)

FOLDER = "trusted"
NOT_TRUSTED = (
    "it was not built by this user on this machine, and an engine is code: build it here with "
    "`samedge build`, or, if you know where it comes from, say so with `samedge cache trust FOLDER`"
)


@dataclass(frozen=True)
class Found:
    """An engine that can be trusted, if the user says so.

    Attributes:
        path: of the engine.
        record: of it, as it was read.
        data: the record's bytes.
        trusted: it is already.
    """

    path: Path
    record: EngineRecord
    data: bytes
    trusted: bool


def remember(cache: Path, record: bytes) -> None:
    """Trust the engine that this record is of.

    Args:
        cache: the user's cache folder.
        record: the bytes of its file.

    Raises:
        OutputError: the cache cannot be written, or others could write to it.
    """
    folder = cache / FOLDER
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(folder)
        mark = folder / hashlib.sha256(record).hexdigest()
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise output_error(error, folder) from error


def is_trusted(cache: Path, record: bytes) -> bool:
    """Whether `remember` was told of exactly this record, by this user."""
    folder = cache / FOLDER
    mark = folder / hashlib.sha256(record).hexdigest()
    try:
        check_private(folder)
        check_private(mark)
    except OSError:
        return False
    return True


def engines_in(cache: Path, folder: Path) -> list[Found]:
    """The engines in a folder (of a bundle: in its `engines`), each the one of its record.

    Raises:
        SourceError: there is none, a record is missing or damaged, or an engine is not the one that
            its record is of.
    """
    places = (folder, folder / "engines")
    paths = sorted(p for place in places if place.is_dir() for p in place.glob(f"*{ENDING}"))
    if not paths:
        raise SourceError(f"there is no engine (*{ENDING}) in {folder}")
    found = []
    for path in paths:
        try:
            data = record_bytes(path)
            record = parse_record(data, record_path(path).name)
            same = path.stat().st_size == record.size and sha256_file(path) == record.sha256
        except (OSError, SourceError) as error:
            raise SourceError(f"{path.name}: {error}") from error
        if not same:
            raise SourceError(
                f"{path.name} is not the engine that its record is of: it was changed or damaged"
            )
        found.append(Found(path, record, data, is_trusted(cache, data)))
    return found


def trust(cache: Path, engines: Sequence[Found]) -> None:
    """Take the user's word for engines, exactly as they were found by `engines_in`.

    Raises:
        OutputError: the cache cannot be written.
    """
    for one in engines:
        remember(cache, one.data)
