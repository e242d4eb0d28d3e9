"""The constants of a plan: which values of the bundle a kernel reads, and in which order.

Large weights are never copied into an engine: a plan says where they stand in the bundle's files
(`samedge.runtime.triton.plan.Weight`). An order other than the file's is a view: sizes and
strides. What is computed from weights (tables of relative positions) is small, and goes into the
engine file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samedge.bundle.graphs.model import FLOAT, HALF, INT8, Initialiser, read_model
from samedge.errors import BundleError
from samedge.kernels.launch import Array, contiguous_strides
from samedge.runtime.triton.plan import ITEMSIZE, Weight, aligned

_STORED = {FLOAT: "fp32", HALF: "fp16", INT8: "i8"}
_DTYPES = {"fp32": np.float32, "fp16": np.float16, "i8": np.int8, "i32": np.int32}
View = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class WeightMemory:
    """What arrays of a plan's constants are stored in: the memory of the weights."""

    index: int


@dataclass(frozen=True)
class _Place:
    file: str
    position: int
    stored: str
    shape: tuple[int, ...]


class Weights:
    """Constants as they are asked for, each once.

    Args:
        files: graphs' files with large weights' files beside them: path of an ONNX file, whose
            bytes are those of the bundle's, by its name in the bundle.

    Attributes:
        listed: the constants so far.
        size: bytes of device memory that they take.
        own: bytes of those that stand in the engine file.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        self._places: dict[str, dict[str, _Place]] = {
            name: _places(name, path) for name, path in files.items()
        }
        self._known: dict[Any, Array] = {}
        self.listed: list[Weight] = []
        self.size = 0
        self.own = bytearray()

    def stored(self, file: str, key: str) -> str:
        """Element type of an initialiser in its file; empty if there is none of this name."""
        place = self._places[file].get(key)
        return "" if place is None else place.stored

    def view(
        self, file: str, key: str, dtype: str, view: View | None = None, scale: float = 1.0
    ) -> Array:
        """Values of the bundle.

        Args:
            file: name in the bundle.
            key: of the initialiser.
            dtype: on the device.
            view: turns a tensor of the initialiser's shape into the order wanted, without a copy.
            scale: factor.
        """
        place = self._places[file][key]
        whole = torch.empty(place.shape, device="meta")
        seen = whole if view is None else view(whole)
        shape, strides = tuple(seen.shape), tuple(seen.stride())
        position = place.position + int(seen.storage_offset()) * ITEMSIZE[place.stored]
        return self._add(key, place.file, position, place.stored, shape, strides, scale, dtype)

    def constant(self, values: torch.Tensor, dtype: str, name: str) -> Array:
        """Values that the engine file brings along; float32 there unless they are integers."""
        stored = "fp32" if values.dtype.is_floating_point else dtype
        array = np.ascontiguousarray(values.detach().numpy().astype(_DTYPES[stored]))
        data = array.tobytes()
        known = (name, dtype, data)
        if known not in self._known:
            self.own += bytes(-len(self.own) % 16)
            at = len(self.own)
            self.own += data
            shape = tuple(array.shape)
            strides = tuple(map(int, contiguous_strides(shape)))  # type: ignore[arg-type]
            self._known[known] = self._add(name, "", at, stored, shape, strides, 1.0, dtype)
        return self._known[known]

    @classmethod
    def of_shapes(cls, files: Mapping[str, Mapping[str, tuple[int, ...]]]) -> Weights:
        """Float32 initialisers that stand nowhere: what is traced with them is counted, not built.

        Args:
            files: name of a file -> shapes by name.
        """
        weights, at = cls({}), 0
        for name, shapes in files.items():
            weights._places[name] = places = {}
            for key, shape in shapes.items():
                places[key] = _Place(name, at, "fp32", shape)
                at += 4 * int(np.prod(shape, dtype=np.int64))
        return weights

    def _add(
        self,
        name: str,
        file: str,
        position: int,
        stored: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        scale: float,
        dtype: str,
    ) -> Array:
        key = (file, position, stored, shape, strides, scale, dtype)
        if key not in self._known:
            count = int(np.prod(shape, dtype=np.int64))
            index = len(self.listed)
            self.listed.append(Weight(name, *key[:3], shape, strides, scale, dtype, self.size))
            self.size += aligned(count * ITEMSIZE[dtype])
            self._known[key] = Array(
                WeightMemory(index), dtype, shape, contiguous_strides(shape), 0, name
            )
        return self._known[key]


def _places(name: str, path: Path) -> dict[str, _Place]:
    """Where each initialiser of an ONNX file stands, in it or in the file beside it."""
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = _address(memoryview(data))
        model = read_model(memoryview(data))
        found = {}
        for tensor in model.initialisers:
            stored = _STORED.get(tensor.dtype)
            if stored is not None:
                found[tensor.name] = _Place(*_where(name, tensor, start), stored, tensor.shape)
        del model, tensor  # no view of the file is left when it is closed
    return found


def _where(name: str, tensor: Initialiser, start: int) -> tuple[str, int]:
    if tensor.outside is not None:
        return tensor.outside.location, tensor.outside.offset
    if tensor.data is None:
        raise BundleError(f"{name} has no values for {tensor.name}; export the bundle again")
    return name, _address(tensor.data) - start


def _address(data: memoryview) -> int:
    if len(data) == 0:
        return 0
    return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])
