"""What a compiled kernel takes of a multiprocessor, read from its machine code without a GPU.

Registers and stack come from the cubin itself, tensor-core instructions from the PTX that it was
made of; for a closer look there is the disassembly. Triton's package carries NVIDIA's tools for
both. How many blocks are resident follows by NVIDIA's occupancy rules.

Triton is imported inside functions, here and in `compile`: a new process has to set its environment
before that.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass

from samedge.errors import DeviceError
from samedge.runtime.triton.plan import Resources

KIB = 1024
WARP = 32
REGISTERS_PER_SM = 65536
THREADS_PER_BLOCK = 1024
TENSOR_MEMORY_COLUMNS = 512  # per multiprocessor, of sm_100 and sm_110
SYSTEM_SHARED = KIB  # bytes of shared memory per block that the system keeps


@dataclass(frozen=True)
class Limits:
    """What a multiprocessor has (CUDA C++ Programming Guide, table of technical specifications).

    Attributes:
        threads: resident at a time.
        blocks: resident at a time.
        shared: bytes of shared memory.
        shared_per_block: bytes, after opting in to more than 48 KiB.
    """

    threads: int
    blocks: int
    shared: int
    shared_per_block: int


LIMITS = {
    80: Limits(2048, 32, 164 * KIB, 163 * KIB),
    86: Limits(1536, 16, 100 * KIB, 99 * KIB),
    87: Limits(1536, 16, 164 * KIB, 163 * KIB),
    89: Limits(1536, 24, 100 * KIB, 99 * KIB),
    90: Limits(2048, 32, 228 * KIB, 227 * KIB),
    110: Limits(1536, 24, 228 * KIB, 227 * KIB),
    120: Limits(1536, 24, 100 * KIB, 99 * KIB),
}

# Machine instructions by what they tell about a kernel.
_GROUPS = {
    "tensor_core": r"(HMMA|IMMA|QMMA|OMMA|DMMA|HGMMA|IGMMA|QGMMA|UTC\w*MMA)\b",
    "async_copy": r"(LDGSTS|UBLKCP|UTMALDG)\b",
    "local_load": r"LDL\b",
    "local_store": r"STL\b",
    "barrier": r"BAR\b",
}
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)", re.M)
_PTX_PRODUCT = re.compile(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)")
_USAGE = re.compile(r"\bREG:(\d+) STACK:(\d+)\b")


@dataclass(frozen=True)
class Code:
    """A kernel's machine code, counted.

    Attributes:
        opcodes: machine instructions -> how often they stand in the code.
    """

    opcodes: Counter[str]

    def count(self, group: str) -> int:
        """Instructions of a group: tensor_core, async_copy, local_load, local_store, barrier."""
        pattern = re.compile(_GROUPS[group])
        return sum(n for opcode, n in self.opcodes.items() if pattern.match(opcode))

    @property
    def instructions(self) -> int:
        """In the code, of all kinds."""
        return self.opcodes.total()


_UNREADABLE = (
    "the machine code that Triton made cannot be read by the tools of its package; use the version "
    "of triton that samedge's constraints.txt names"
)


def code_of(cubin: bytes) -> Code:
    """Machine code disassembled, which takes about a second.

    Raises:
        DeviceError: NVIDIA's tools in Triton's package cannot read it.
    """
    from triton import knobs

    opcodes = Counter(_INSTRUCTION.findall(_output(knobs.nvidia.nvdisasm.path, "-c", cubin=cubin)))
    if not opcodes:
        raise DeviceError(_UNREADABLE)
    return Code(opcodes)


def resources_of(
    cubin: bytes, ptx: str, arch: int, threads: int, shared: int, columns: int = 0
) -> Resources:
    """What an engine's plan says about a kernel.

    Args:
        cubin: its machine code.
        ptx: that it was made of.
        arch: compute capability, 87 for 8.7.
        threads: per block.
        shared: bytes per block.
        columns: of tensor memory per block (sm_100, sm_110).

    Raises:
        DeviceError: NVIDIA's tools in Triton's package cannot read it.
    """
    from triton import knobs

    usage = _USAGE.search(_output(knobs.nvidia.cuobjdump.path, "-res-usage", cubin=cubin))
    if usage is None:
        raise DeviceError(_UNREADABLE)
    registers, stack = int(usage[1]), int(usage[2])
    blocks = resident_blocks(arch, registers, threads, shared)
    if columns:
        blocks = min(blocks, TENSOR_MEMORY_COLUMNS // columns)
    return Resources(registers, shared, stack, len(_PTX_PRODUCT.findall(ptx)), blocks)


def resident_blocks(
    arch: int, registers: int, threads: int, shared: int, reserved: int = SYSTEM_SHARED
) -> int:
    """Blocks that are resident on a multiprocessor at a time; 0: a block does not fit.

    NVIDIA's occupancy rules for compute capability 8 and higher (cuda_occupancy.h): registers are
    given to warps in units of 256, and to warps in groups of 4, one per scheduler; shared memory in
    units of 128 bytes.

    Args:
        arch: compute capability, 87 for 8.7.
        registers: per thread.
        threads: per block.
        shared: bytes per block.
        reserved: bytes per block that the system keeps.
    """
    limits = LIMITS[arch]
    if shared > limits.shared_per_block or threads > THREADS_PER_BLOCK:
        return 0
    warps = _ceiling(threads, WARP)
    per_warp = _ceiling(registers * WARP, 256) * 256
    if per_warp * _ceiling(warps, 4) * 4 > REGISTERS_PER_SM:
        return 0
    warps_by_registers = REGISTERS_PER_SM // 4 // per_warp * 4
    per_block = _ceiling(shared + reserved, 128) * 128
    return min(
        limits.blocks,
        limits.threads // WARP // warps,
        warps_by_registers // warps,
        limits.shared // per_block if per_block else limits.blocks,
    )


def _ceiling(a: int, b: int) -> int:
    return -(-a // b)


def _output(*command: str, cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([*command, file.name], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""
