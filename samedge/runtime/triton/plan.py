"""A plan: what the GPU is to do, as data. No kernel is known here, no library, no device.

An `EngineFile` holds one `Target` per compute capability: machine code, and the launches of
encoder and decoder in order. Whoever can start a kernel can run it: the CUDA driver, Triton's
interpreter on plain memory (the tests do), a C++ program. docs/triton-engine.md describes the
file that it is written to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samedge.runtime.triton.sizes import Size

FORMAT = 1  # of the engine file, and of what its plan means
# Names of element types, as Triton writes them -> bytes.
ITEMSIZE = {"fp32": 4, "fp16": 2, "bf16": 2, "i8": 1, "u8": 1, "i32": 4, "i64": 8}
ALIGNMENT = 256  # of every buffer and weight, in bytes
POINTER_ALIGNMENT = 16  # of every address that a kernel is given; what kernels are compiled for
# Null pointers that Triton's kernels take behind their own parameters: global and profile scratch.
SCRATCH_POINTERS = 2


def aligned(size: int) -> int:
    """`size` bytes with what fills them up to the next buffer's place."""
    return size + -size % ALIGNMENT


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: the caller's memory.

    Attributes:
        name: as in the bundle's graph.
        dtype: numpy's name, "uint8".
        shape: its sizes.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class Weight:
    """A constant on the device: values of a file, brought into the order that a kernel reads.

    Element (i, j, ..) of `shape` is element `i * strides[0] + j * strides[1] + ..` of what stands
    at `position`, times `scale`, converted to `dtype` (round to nearest even) and written
    contiguously.

    Attributes:
        name: for people: the initialiser of the bundle's graph, or what it is.
        file: name of the bundle's file that it stands in; empty: this engine file's constants.
        position: byte of its first element in that file, or in the constants.
        stored: element type there.
        shape: sizes, in the order in which they are written.
        strides: of the source, in elements, one per size.
        scale: factor.
        dtype: element type on the device.
        offset: byte in the memory of the weights.
    """

    name: str
    file: str
    position: int
    stored: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    scale: float
    dtype: str
    offset: int


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes, as the assembler said.

    Attributes:
        registers: per thread.
        shared: bytes per block.
        spilled: bytes of registers that went to memory.
        tensor_core: tensor-core instructions in its code.
        blocks: that are resident on a multiprocessor at a time.
    """

    registers: int
    shared: int
    spilled: int
    tensor_core: int
    blocks: int


@dataclass(frozen=True)
class KernelCode:
    """A compiled kernel of one target.

    Attributes:
        name: for people: kernel, element type, variant.
        symbol: of the function in its machine code.
        position, size: where its cubin stands among the engine file's code, in bytes.
        sha256: of the cubin.
        threads: per block.
        parameters: of its own parameters in order: "p" a pointer, "i" a 32-bit integer. Behind
            them it takes `SCRATCH_POINTERS` pointers, which are null.
        resources: what it takes.
    """

    name: str
    symbol: str
    position: int
    size: int
    sha256: str
    threads: int
    parameters: str
    resources: Resources


@dataclass(frozen=True)
class Argument:
    """One argument of a launch.

    Attributes:
        kind: "arena", "weight", "port", "size" or "null".
        value: of a "size" its value; of a pointer the byte from the start of the arena, of the
            weights, or of the port's memory.
        port: name of the port.
    """

    kind: str
    value: Size = 0
    port: str = ""


@dataclass(frozen=True)
class Step:
    """One launch.

    Attributes:
        label: the layer that it belongs to, "encoder.blocks.0.attn.qkv".
        kernel: index of its `KernelCode` in the target.
        grid: blocks in x, y and z.
        arguments: one per parameter.
        flops: multiplications and additions, two for each fused one, without padding of tiles.
        reads, writes: bytes of the arrays that it reads and writes, each counted once.
    """

    label: str
    kernel: int
    grid: tuple[Size, Size, Size]
    arguments: tuple[Argument, ...]
    flops: Size
    reads: Size
    writes: Size


@dataclass(frozen=True)
class Program:
    """The launches of one graph, for sizes up to a limit.

    Attributes:
        graph: "encoder" or "decoder".
        limits: name of a size -> the most that this program takes.
        inputs, outputs: the caller's arrays.
        arena: bytes of memory that it needs for what lies in between.
        steps: in order.
    """

    graph: str
    limits: Mapping[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena: Size
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Target:
    """Everything for one kind of GPU.

    Attributes:
        compute_capability: 87 for 8.7.
        kernels: compiled code, each once.
        programs: of both graphs; of several for one graph the first that takes the sizes at hand.
    """

    compute_capability: int
    kernels: tuple[KernelCode, ...]
    programs: tuple[Program, ...]


@dataclass(frozen=True)
class EnginePlan:
    """What an engine file holds besides machine code and constants.

    Attributes:
        samedge: version that wrote it.
        bundle: name of the bundle, for people.
        precision: "fp32", "fp16", "bf16" or "int8".
        files: SHA-256 of the bundle's files that weights stand in, by name.
        weights: of all programs.
        weights_size: bytes of device memory that they take.
        targets: by compute capability.
    """

    samedge: str
    bundle: str
    precision: str
    files: Mapping[str, str]
    weights: tuple[Weight, ...]
    weights_size: int
    targets: Mapping[int, Target] = field(default_factory=dict)
