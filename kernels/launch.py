"""What a launcher works with: arrays somewhere, and launches that somebody carries out.

A launcher (`samedge.kernels.layers.linear.linear` and so on) checks its arrays, chooses a tile and
says which kernel is to be started with which arguments. It does not know whether that happens at
once on torch tensors (`TorchRunner`) or is written down for an engine (`samedge.export.triton`), so
sizes may be expressions (`samedge.runtime.triton.sizes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from samedge.errors import DeviceError
from samedge.runtime.triton.plan import ITEMSIZE, POINTER_ALIGNMENT
from samedge.runtime.triton.sizes import Expr, Size, product

HALVES = ("fp16", "bf16")
FLOATS = ("fp32", *HALVES)


@dataclass(frozen=True)
class Array:
    """Memory seen as an array.

    Attributes:
        storage: what the runner keeps it in.
        dtype: Triton's name: fp32, fp16, bf16, i8, u8, i32 or i64.
        shape: its sizes.
        strides: in elements.
        offset: of its first element in the storage, in bytes.
        name: for messages.
    """

    storage: Any
    dtype: str
    shape: tuple[Size, ...]
    strides: tuple[Size, ...]
    offset: int = 0
    name: str = ""

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie one behind the other, in order."""
        return self.strides == contiguous_strides(self.shape)

    @property
    def nbytes(self) -> Size:
        """Bytes of its elements."""
        return product(*self.shape, ITEMSIZE[self.dtype])

    def reshape(self, *shape: Size) -> Array:
        """The same elements with other sizes; only of a contiguous array."""
        if not self.contiguous:
            raise DeviceError(f"{self.name or 'an array'} is not contiguous: it has no other shape")
        return replace(self, shape=shape, strides=contiguous_strides(shape))

    def transposed(self) -> Array:
        """The same elements with the last two axes exchanged."""
        shape, strides = self.shape, self.strides
        return replace(
            self,
            shape=(*shape[:-2], shape[-1], shape[-2]),
            strides=(*strides[:-2], strides[-1], strides[-2]),
        )

    def columns(self, start: int, stop: int) -> Array:
        """Columns start to stop - 1 of the last axis."""
        last = self.strides[-1]
        assert isinstance(last, int)
        offset = self.offset + start * last * ITEMSIZE[self.dtype]
        return replace(self, shape=(*self.shape[:-1], stop - start), offset=offset)


def contiguous_strides(shape: Sequence[Size]) -> tuple[Size, ...]:
    """Strides of a contiguous array, in elements."""
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        strides.append(step)
        step = step * size
    return tuple(reversed(strides))


@dataclass(frozen=True)
class Tile:
    """How a kernel cuts its problem up.

    Attributes:
        sizes: the kernel's constants, BLOCK_M and so on.
        warps: per block, of 32 threads.
        stages: of the loads that run ahead of a loop.
        registers: the most that a thread may have; 0: the compiler decides.
    """

    sizes: Mapping[str, int]
    warps: int = 4
    stages: int = 2
    registers: int = 0

    def __getitem__(self, name: str) -> int:
        return self.sizes[name]


@dataclass(frozen=True)
class Launch:
    """One start of a kernel.

    Attributes:
        kernel: a `triton.jit` function.
        grid: blocks in x, y and z.
        arguments: by parameter name: an array, a 32-bit integer, or None for a null pointer (the
            kernel must be told by a constant not to use it; None is compiled in).
        constants: its `tl.constexpr` parameters.
        outputs: names of the arguments that are written.
        tile: warps and stages.
        flops: multiplications and additions, a fused one counted as two; no padding of tiles.
        label: what it does, where its function's name does not say enough.
    """

    kernel: Any
    grid: tuple[Size, Size, Size]
    arguments: Mapping[str, Array | Size | None]
    constants: Mapping[str, Any]
    outputs: tuple[str, ...]
    tile: Tile
    flops: Size = 0
    label: str = ""

    def arrays(self) -> dict[str, Array]:
        """The arguments that are arrays, by parameter name."""
        return {n: a for n, a in self.arguments.items() if isinstance(a, Array)}


class Runner(Protocol):
    """Carries launches out, or writes them down.

    Attributes:
        arch: compute capability that tiles are chosen for, 87 for 8.7; 0 for the interpreter.
    """

    arch: int

    def empty(self, shape: Sequence[Size], dtype: str, name: str = "") -> Array:
        """New contiguous memory, whose contents are undefined."""

    def launch(self, launch: Launch) -> None:
        """Start a kernel."""


def check(array: Array, kernel: str, name: str, shape: Sequence[Size | None], *dtypes: str) -> None:
    """Refuse an array that a kernel cannot take.

    Args:
        array: that came.
        kernel: name of the kernel, for the message.
        name: of the argument.
        shape: expected sizes; None: any.
        dtypes: expected element types.

    Raises:
        DeviceError: with what came and what was expected.
    """
    wanted = "[" + ", ".join("*" if size is None else str(size) for size in shape) + "]"
    fits = len(array.shape) == len(shape) and all(
        want is None or got == want for got, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise DeviceError(f"{kernel}: {name} came as {list(array.shape)}, expected {wanted}")
    if array.dtype not in dtypes:
        raise DeviceError(f"{kernel}: {name} came as {array.dtype}, expected {' or '.join(dtypes)}")
    if array.strides[-1] != 1:
        raise DeviceError(
            f"{kernel}: {name} has elements {array.strides[-1]} apart on its last axis, expected "
            "1: make it contiguous"
        )
    check_alignment(array, kernel, name)


def check_contiguous(array: Array, kernel: str, name: str) -> None:
    """Refuse an array whose elements do not lie one behind the other."""
    if not array.contiguous:
        raise DeviceError(
            f"{kernel}: {name} came as {list(array.shape)} with elements {list(array.strides)} "
            "apart, expected them one behind the other: make it contiguous"
        )


def check_alignment(array: Array, kernel: str, name: str) -> None:
    """Refuse an array whose first element does not stand at a multiple of 16 bytes."""
    if array.offset % POINTER_ALIGNMENT:
        raise DeviceError(
            f"{kernel}: {name} begins {array.offset % POINTER_ALIGNMENT} bytes behind a multiple "
            f"of {POINTER_ALIGNMENT}, expected a multiple: copy it"
        )


def fixed(size: Size, what: str) -> int:
    """A size that has to be known when a kernel is compiled.

    Raises:
        DeviceError: it depends on the frame or the prompts.
    """
    if isinstance(size, Expr):
        raise DeviceError(f"{what} is not known when kernels are compiled, and has to be")
    return size


def next_power(size: int, least: int = 1) -> int:
    """The smallest power of two that is not below `size` and `least`."""
    return max(least, 1 << (size - 1).bit_length())
