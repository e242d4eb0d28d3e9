"""The memory of an engine's weights, filled from the files of its bundle.

A plan says where each constant stands, in which order it is read, by which factor it is multiplied
and what it becomes (`samedge.runtime.triton.plan.Weight`). It is brought over in pieces, so that a
large model takes little of the CPU's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bundle import Bundle
from samedge.bundle.space import private_folder
from samedge.errors import BundleError, NotSupportedError, SourceError
from samedge.files.whole import output_error
from samedge.runtime.engines.mapped import MappedFile
from samedge.runtime.triton.engine_file import EngineFile
from samedge.runtime.triton.plan import ITEMSIZE, EnginePlan, Weight
from samedge.runtime.triton.plan_check import extent

CHUNK = 1 << 24  # bytes of a piece, about
# bf16, which numpy does not have, is read and written as its bits.
_DTYPES = {
    "fp32": "<f4",
    "fp16": "<f2",
    "bf16": "<u2",
    "i8": "i1",
    "u8": "u1",
    "i32": "<i4",
    "i64": "<i8",
}
Put = Callable[[int, NDArray[Any]], None]


def check_bundle(plan: EnginePlan, bundle: Bundle, name: str) -> None:
    """Refuse a bundle that an engine was not built from.

    Args:
        plan: of the engine.
        bundle: open.
        name: of the engine, for the message.

    Raises:
        NotSupportedError: with what differs, and the remedy.
    """
    for file, digest in plan.files.items():
        listed = bundle.manifest.files.get(file)
        if listed is None or listed.sha256 != digest:
            has = "no such file" if listed is None else f"one with {listed.sha256[:16]}"
            raise NotSupportedError(
                f"the engine {name} was built from another bundle ({plan.bundle}): its weights "
                f"stand in {file} with SHA-256 {digest[:16]}..., and {bundle.path.name} has {has}; "
                f"build it for this one: samedge build {bundle.path.name} --target triton"
            )


def load_weights(engine: EngineFile, bundle: Bundle, put: Put) -> None:
    """Hand over every piece of an engine's weights.

    What is read of a file are the very bytes that were hashed: it is copied to a private place
    first, for as long as its weights are read.

    Args:
        engine: read and checked.
        bundle: that it was built from (`check_bundle`).
        put: takes the offset of a piece in the memory of the weights, and the piece, contiguous.

    Raises:
        BundleError: a file was changed.
        SourceError: the plan reads more than a file has, or a value is too large for its type.
        OutputError: there is no room for the copy.
    """
    by_file: dict[str, list[Weight]] = {}
    for weight in engine.plan.weights:
        by_file.setdefault(weight.file, []).append(weight)
    for file, weights in by_file.items():
        if not file:
            _put_all(weights, engine.constants, put)
            continue
        size = bundle.manifest.files[file].bytes
        with private_folder(size, f"{file} of {bundle.path.name}") as folder:
            copy = folder / Path(file).name
            try:
                bundle.copy_file(file, copy)
                mapped = MappedFile(copy)
            except OSError as error:
                raise output_error(error, copy) from error
            except ValueError as error:  # an empty file
                raise BundleError(f"{file} of {bundle.path.name} is empty") from error
            _put_all(weights, mapped.view(), put)


def _put_all(weights: list[Weight], source: memoryview, put: Put) -> None:
    for weight in weights:
        at = weight.offset
        for piece in pieces(weight, source):
            put(at, piece)
            at += piece.nbytes


def pieces(weight: Weight, source: memoryview) -> Iterator[NDArray[Any]]:
    """A weight as it is to lie on the device, in contiguous pieces.

    Values are widened to float32, multiplied in float32, and rounded to the nearest, of two the
    even one; what keeps its type and has the factor 1 keeps its bits. bf16 comes as uint16.

    Args:
        weight: what is wanted.
        source: the bytes of its file, or the engine's constants.

    Raises:
        SourceError: it reaches beyond the file, or a value is too large for its type.
    """
    end = weight.position + extent(weight)
    if end > len(source):
        raise SourceError(
            f"the engine reads {weight.name} up to byte {end} of {weight.file or 'its constants'}, "
            f"which has {len(source)}; build it again with `samedge build`"
        )
    size = ITEMSIZE[weight.stored]
    view: NDArray[Any] = np.ndarray(
        weight.shape,
        _DTYPES[weight.stored],
        source,
        weight.position,
        tuple(size * step for step in weight.strides),
    )
    for part in _parts(view):
        yield _converted(weight, part)


def _parts(view: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An array in order, in parts of about CHUNK bytes."""
    if view.nbytes <= CHUNK or view.ndim == 0:
        yield np.atleast_1d(view)
        return
    rows = CHUNK * len(view) // view.nbytes
    if rows == 0:
        for row in view:
            yield from _parts(row)
        return
    for start in range(0, len(view), rows):
        yield view[start : start + rows]


def _converted(weight: Weight, part: NDArray[Any]) -> NDArray[Any]:
    if weight.stored == weight.dtype and weight.scale == 1:
        return np.ascontiguousarray(part)
    values = _widened(part, weight.stored) * np.float32(weight.scale)
    with np.errstate(over="ignore"):  # it is looked for below
        found = _as_bf16(values) if weight.dtype == "bf16" else values.astype(_DTYPES[weight.dtype])
    made = _widened(found, weight.dtype)
    if not np.array_equal(np.isfinite(made), np.isfinite(values)):
        worst = float(np.abs(values[np.isfinite(values)]).max())
        raise SourceError(
            f"{weight.name} holds {worst:.4g}, which is too large for {weight.dtype}; build the "
            "engine in another precision: samedge build BUNDLE --target triton --precision fp32"
        )
    return np.ascontiguousarray(found)


def _widened(array: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    if dtype == "bf16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def _as_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of the nearest bf16, of two the even one."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + (np.uint32(0x7FFF) + (bits >> 16 & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
