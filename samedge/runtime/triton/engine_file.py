"""The engine file: a plan, constants and machine code in one. docs/triton-engine.md describes it.

    header      256 bytes: magic, format, sizes of the three parts
    plan        JSON
    constants   that stand in no file of the bundle
    code        the cubins of all kernels of all targets
    digest      SHA-256 of everything before it

Zeros fill each part up to a multiple of 256 bytes. Nothing of a file is used before its digest,
that of its constants and that of every kernel are right, and every value of its plan was checked.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from samedge._version import __version__
from samedge.errors import SourceError
from samedge.files.limits import ENGINE_PLAN_BYTES
from samedge.files.numbers import parse_json
from samedge.files.whole import whole_file
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.triton.plan import ALIGNMENT, FORMAT, EnginePlan, KernelCode, aligned
from samedge.runtime.triton.plan_check import check_plan
from samedge.runtime.triton.plan_json import plan_from_json, plan_to_json, wrong

MAGIC = b"samedge\x1a"
_HEADER = struct.Struct("<8sIIQQQ216x")  # magic, format, 0, bytes of plan, constants, code
_DIGEST = 32
_AGAIN = "build it again with `samedge build`"


class Blob:
    """Pieces of bytes one behind the other, each once and at a multiple of 256."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._places: dict[bytes, int] = {}
        self.size = 0

    def add(self, data: bytes) -> int:
        """Where `data` stands; it is appended if it is new."""
        digest = hashlib.sha256(data).digest()
        if digest not in self._places:
            self._places[digest] = self.size
            self._parts += [data, bytes(-len(data) % ALIGNMENT)]
            self.size += aligned(len(data))
        return self._places[digest]

    def bytes(self) -> bytes:
        """All of them."""
        return b"".join(self._parts)


@dataclass(frozen=True)
class EngineFile:
    """An engine file that was read and checked.

    Attributes:
        name: of the file, for messages.
        plan: what to do.
        constants: that weights without a file stand in.
        digest: SHA-256 that the file ends with, in hexadecimal.
        data: all bytes of the file.
    """

    name: str
    plan: EnginePlan
    constants: memoryview
    digest: str
    data: memoryview
    _code: memoryview

    def cubin(self, kernel: KernelCode) -> bytes:
        """The machine code of a kernel of this file."""
        return bytes(self._code[kernel.position : kernel.position + kernel.size])


def engine_bytes(plan: EnginePlan, constants: bytes = b"", code: bytes = b"") -> Iterator[bytes]:
    """The pieces of an engine file, in order.

    Args:
        plan: whose kernels stand in `code` at their positions.
        constants: that weights without a file stand in; see `Blob`.
        code: cubins; see `Blob`.

    Raises:
        SourceError: the plan does not fit itself, the constants or the code.
    """
    document = plan_to_json(plan)
    document["constants"] = hashlib.sha256(constants).hexdigest()
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    ENGINE_PLAN_BYTES.check(len(text), "the engine", SourceError)
    read_back = plan_from_json(parse_json(text), ("constants",))
    _check_content(read_back, memoryview(constants), memoryview(code))
    digest = hashlib.sha256()
    for part in (
        _HEADER.pack(MAGIC, FORMAT, 0, len(text), len(constants), len(code)),
        *(
            piece
            for data in (text, constants, code)
            for piece in (data, bytes(-len(data) % ALIGNMENT))
        ),
    ):
        digest.update(part)
        yield part
    yield digest.digest()


def write_engine(
    path: Path, plan: EnginePlan, constants: bytes = b"", code: bytes = b"", mode: int = 0o666
) -> None:
    """Write an engine file, whole or not at all; see `engine_bytes`.

    Args:
        path: of the file; its folder exists.
        mode: permissions, less the process's umask.

    Raises:
        SourceError: the plan does not fit itself.
        OutputError: the disk is full, or the operating system refuses.
    """
    with whole_file(path, mode=mode) as file:
        for part in engine_bytes(plan, constants, code):
            file.write(part)


def read_engine(path: Path) -> EngineFile:
    """Map an engine file and check all of it.

    Raises:
        SourceError: it is no engine file, of another format, truncated, or changed; with what came
            and the remedy.
    """
    try:
        file = MappedFile(path)
    except ValueError:  # an empty file cannot be mapped
        _refuse(path.name, "is empty")
    except OSError as error:
        raise SourceError(f"{path.name} cannot be read: {error.strerror or error}") from error
    return parse_engine(file, path.name)


def parse_engine(file: MappedFile, name: str) -> EngineFile:
    """What `read_engine` gives, of a file that is mapped; `name` is for messages.

    Raises:
        SourceError: as there.
    """
    data = file.view()
    sizes = _sizes(data, name)
    digest = hashlib.sha256(data[:-_DIGEST]).digest()
    if digest != bytes(data[-_DIGEST:]):
        _refuse(name, "was changed or damaged: its SHA-256 is not the one that it ends with")
    parts, at = [], _HEADER.size
    for size in sizes:
        parts.append(data[at : at + size])
        at += aligned(size)
    text, constants, code = parts
    try:
        document = parse_json(bytes(text).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # no UTF-8 is a ValueError as well
        _refuse(name, f"has a plan that cannot be read ({error!s:.100})")
    plan = plan_from_json(document, ("constants",))
    if document["constants"] != hashlib.sha256(constants).hexdigest():
        _refuse(name, "was changed or damaged: its constants do not have the hash in its plan")
    _check_content(plan, constants, code)
    return EngineFile(name, plan, constants, digest.hex(), data, code)


def is_engine_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes is one."""
    return head.startswith(MAGIC)


def _sizes(data: memoryview, name: str) -> tuple[int, int, int]:
    """Bytes of plan, constants and code; checked against the size of the file."""
    if len(data) < len(MAGIC) or not is_engine_file(bytes(data[: len(MAGIC)])):
        _refuse(name, "is no engine of samedge's own (it begins otherwise)")
    if len(data) < _HEADER.size:
        _refuse(name, f"is truncated: it has {len(data)} bytes, its header {_HEADER.size}")
    _, version, _, text, constants, code = _HEADER.unpack_from(data)
    if version != FORMAT:
        _refuse(
            name,
            f"has format {version}, written by another version of samedge; this one "
            f"({__version__}) reads format {FORMAT}",
        )
    expected = _HEADER.size + aligned(text) + aligned(constants) + aligned(code) + _DIGEST
    if len(data) != expected:
        what = "is truncated" if len(data) < expected else "is longer than it says"
        _refuse(name, f"{what}: it has {len(data)} bytes, its header says {expected}")
    ENGINE_PLAN_BYTES.check(text, name, SourceError)
    return text, constants, code


def _check_content(plan: EnginePlan, constants: memoryview, code: memoryview) -> None:
    """The plan against itself, and every kernel's code against its hash."""
    check_plan(plan, len(constants), len(code))
    for number, target in plan.targets.items():
        for kernel in target.kernels:
            cubin = code[kernel.position : kernel.position + kernel.size]
            if hashlib.sha256(cubin).hexdigest() != kernel.sha256:
                wrong(f"sm_{number}.{kernel.name}", "the SHA-256 of its code", kernel.sha256)


def _refuse(name: str, why: str) -> NoReturn:
    raise SourceError(f"{name} {why}; {_AGAIN}")
