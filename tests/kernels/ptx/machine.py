"""A batch of blocks in lockstep: one program counter for all their lanes.

That is possible because Triton's control flow is uniform inside a block (loops and masks, no
divergent branches). Where blocks go different ways, `Divergent` says which, and the emulator runs
them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tests.kernels.ptx.memory import WARP, GlobalMemory, PtxError, SharedMemory
from tests.kernels.ptx.parser import Instruction, Program
from tests.kernels.ptx.registers import Registers

Handler: TypeAlias = Callable[["Machine", Instruction, Any], None]
_COUNTED_WITH_MODIFIER = ("mma", "ldmatrix", "stmatrix", "cp", "bar", "shfl")


class Unsupported(PtxError):
    """An instruction or a form of it that this emulator does not implement."""


class Divergent(Exception):
    """Blocks of a batch go different ways.

    Attributes:
        taken: bool per block.
    """

    def __init__(self, taken: Any) -> None:
        super().__init__("blocks go different ways")
        self.taken = taken


class Machine:
    """Lane i belongs to block i // threads.

    Args:
        program: what is run.
        handlers: what each instruction does.
        shared: of all blocks of the batch.
        memory: global.
        arguments: of the kernel, as integers.
        blocks: uint32 [blocks, 3], their places in the grid.
        grid: its sizes.
    """

    def __init__(
        self,
        program: Program,
        handlers: dict[str, Handler],
        shared: SharedMemory,
        memory: GlobalMemory,
        arguments: list[int],
        blocks: Any,
        grid: tuple[int, int, int],
    ) -> None:
        self.program, self.shared, self.memory = program, shared, memory
        self.arguments = arguments
        self.lanes = len(blocks) * program.threads
        self.lane = np.arange(self.lanes)
        numbers = (blocks[:, 2] * grid[1] + blocks[:, 1]) * grid[0] + blocks[:, 0]
        self.block = np.repeat(numbers.astype(np.int32), program.threads)
        self.registers = Registers(self.lanes, program.register_types, self._special(blocks, grid))
        self.copies: list[Any] = []  # asynchronous copies since the last commit
        self.copy_groups: list[list[Any]] = []  # committed groups, oldest first
        self.counts: Counter[str] = Counter()
        self._handlers = handlers

    def _special(self, blocks: Any, grid: tuple[int, int, int]) -> dict[str, Any]:
        thread = (self.lane % self.program.threads).astype(np.uint32)
        special: dict[str, Any] = {
            "%tid.x": thread,
            "%tid.y": np.uint32(0),
            "%tid.z": np.uint32(0),
            "%ntid.x": np.uint32(self.program.threads),
            "%laneid": thread % WARP,
            "%warpid": thread // WARP,
        }
        for axis, name in enumerate("xyz"):
            special[f"%ctaid.{name}"] = np.repeat(blocks[:, axis], self.program.threads)
            special[f"%nctaid.{name}"] = np.uint32(grid[axis])
        return special

    def run(self) -> Counter[str]:
        """To the end; what was carried out, counted per warp.

        Raises:
            PtxError: the program is wrong, or says something unknown.
            Divergent: blocks go different ways.
        """
        counter = 0
        while counter < len(self.program.instructions):
            instruction = self.program.instructions[counter]
            try:
                counter = self._step(instruction, counter)
            except PtxError as error:
                where = f"at {instruction.location}: {instruction}"
                raise type(error)(f"{error} {where}") from None
        if any(self.copies) or any(self.copy_groups):
            self.counts["copies_never_waited_for"] += 1
        return self.counts + self.shared.counts

    def _step(self, instruction: Instruction, counter: int) -> int:
        """Carry out one instruction; the next program counter."""
        name = instruction.opcode[0]
        mask = self._mask(instruction)
        if name in ("bra", "ret", "exit"):
            if not self._uniform(mask):
                return counter + 1
            if name == "bra":
                return self.program.labels[instruction.operands[0]]
            return len(self.program.instructions)
        self._count(instruction)
        handler = self._handlers.get(name)
        if handler is None:
            raise Unsupported("unknown instruction")
        if mask is None or mask.any():
            handler(self, instruction, mask)
        return counter + 1

    def _mask(self, instruction: Instruction) -> Any:
        """Active lanes, or None where the instruction has no predicate."""
        if instruction.predicate is None:
            return None
        mask = self.registers.all_bits(instruction.predicate, "pred")
        return ~mask if instruction.negated else mask

    def _uniform(self, mask: Any) -> bool:
        if mask is None or mask.all():
            return True
        if not mask.any():
            return False
        by_block = mask.reshape(-1, self.program.threads)
        if (by_block.any(1) != by_block.all(1)).any():
            raise Unsupported("divergent branch")
        raise Divergent(by_block[:, 0])

    def _count(self, instruction: Instruction) -> None:
        name = instruction.opcode[0]
        kind = ".".join(instruction.opcode[:2]) if name in _COUNTED_WITH_MODIFIER else name
        self.counts[kind] += self.lanes // WARP
        self.counts["instructions"] += self.lanes // WARP
        if name == "mma":
            m, n, k = (int(size) for size in instruction.opcode[3][1:].replace("n", "k").split("k"))
            self.counts["mma_flops"] += self.lanes // WARP * 2 * m * n * k

    def active(self, mask: Any) -> Any:
        """Numbers of the lanes that are active."""
        return self.lane if mask is None else np.nonzero(mask)[0]

    def address(self, operand: str, ptx_type: str) -> Any:
        """An address operand such as "[%rd1 + 16]" -> int64 [lanes]."""
        base, _, offset = operand.strip("[] ").partition("+")
        found = self.registers.all_bits(base.strip(), ptx_type).astype(np.int64)
        return found + int(offset or 0)
