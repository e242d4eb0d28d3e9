"""A runner whose launches are compiled for a GPU, and their PTX carried out on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from samedge.kernels.compile import Signature, signature_of, translated
from samedge.kernels.launch import Array, Launch, contiguous_strides
from samedge.kernels.torch_runner import DTYPES, NAMES
from samedge.runtime.triton.plan import ITEMSIZE, SCRATCH_POINTERS
from tests.kernels.ptx.emulator import Emulator
from tests.kernels.ptx.memory import GlobalMemory


@cache
def machine_code(signature: Signature, arch: int) -> tuple[str, int]:
    """PTX with line information, and bytes of shared memory."""
    kernel = translated(signature, arch, line_info=True)
    return kernel.asm["ptx"], kernel.metadata.shared


class PtxRunner:
    """A `Runner` on numpy memory. The arguments after `arch` break something on purpose, in every
    launch.

    Args:
        arch: compute capability, one of `emulator.ARCHITECTURES`.
        edit: applied to the PTX.
        short: parameter name -> bytes that are missing at the end of its array.
        shift: parameter name -> bytes added to its pointer.

    Attributes:
        counts: of what was carried out: instructions, "mma.sync", "mma_flops", bytes; per warp.
        launches: all of them.
    """

    def __init__(
        self,
        arch: int,
        *,
        edit: Callable[[str], str] | None = None,
        short: Mapping[str, int] | None = None,
        shift: Mapping[str, int] | None = None,
    ) -> None:
        self.arch = arch
        self.counts: Counter[str] = Counter()
        self.launches: list[Launch] = []
        self._edit, self._short, self._shift = edit, short or {}, shift or {}

    def given(self, tensor: torch.Tensor, name: str = "") -> Array:
        """An input; views of wider tensors see the whole of them."""
        whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
        storage = whole.view(torch.uint8).numpy().copy()
        offset = tensor.storage_offset() * tensor.element_size()
        return Array(
            storage, NAMES[tensor.dtype], tuple(tensor.shape), tuple(tensor.stride()), offset, name
        )

    def empty(self, shape: Any, dtype: str, name: str = "") -> Array:
        """An output; unwritten elements are NaN (or the largest value)."""
        kind = DTYPES[dtype]
        unwritten = float("nan") if kind.is_floating_point else torch.iinfo(kind).max
        filled = torch.full((int(np.prod([1, *shape])),), unwritten, dtype=kind)
        storage = filled.view(torch.uint8).numpy()
        return Array(storage, dtype, tuple(shape), contiguous_strides(shape), 0, name)

    def launch(self, launch: Launch) -> None:
        """Compile a launch, and carry it out.

        Raises:
            PtxError: it touches memory that it should not, or threads do so without order.
        """
        signature = signature_of(launch)
        ptx, shared = machine_code(signature, self.arch)
        memory = GlobalMemory()
        arguments = self._arguments(launch, signature, memory)
        emulator = Emulator(self._edit(ptx) if self._edit else ptx, shared)
        assert emulator.program.parameters == len(arguments)
        grid = tuple(int(size) for size in launch.grid)  # type: ignore[arg-type]
        assert len(grid) == 3
        self.counts += emulator.launch(grid, arguments, memory)
        self.launches.append(launch)

    @property
    def flops(self) -> int:
        """Of all launches, as they say."""
        return sum(int(launch.flops) for launch in self.launches)  # type: ignore[arg-type]

    def _arguments(self, launch: Launch, signature: Signature, memory: GlobalMemory) -> list[int]:
        written = {id(launch.arrays()[name].storage) for name in launch.outputs}
        bases: dict[int, int] = {}
        values = []
        for name, kind in signature.types:
            value = launch.arguments[name]
            if kind is None:
                continue
            if not isinstance(value, Array):
                values.append(int(value))  # type: ignore[arg-type]
                continue
            key = id(value.storage)
            if key not in bases:
                data = value.storage[: value.storage.size - self._short.get(name, 0)]
                unit = ITEMSIZE[value.dtype]
                bases[key] = memory.add(data, unit, name, key in written)
            values.append(bases[key] + value.offset + self._shift.get(name, 0))
        return values + [0] * SCRATCH_POINTERS

    def result(self, array: Array) -> torch.Tensor:
        """An array as a tensor."""
        whole = torch.from_numpy(array.storage).view(DTYPES[array.dtype])
        shape = [int(size) for size in array.shape]  # type: ignore[arg-type]
        strides = [int(stride) for stride in array.strides]  # type: ignore[arg-type]
        return whole.as_strided(shape, strides, array.offset // whole.element_size()).clone()
