"""The PTX that Triton emits for sm_80, 86, 87, 89 and 120, carried out on the CPU with numpy.

Every access to memory is checked (see `memory`), and what was carried out is counted. An unknown
instruction raises `Unsupported`: add it to one of the tables of handlers. wgmma (sm_90) and tcgen05
(sm_100, sm_110) are not there.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tests.kernels.ptx import arithmetic, matrices, movement
from tests.kernels.ptx.machine import Divergent, Handler, Machine
from tests.kernels.ptx.memory import GlobalMemory, SharedMemory
from tests.kernels.ptx.parser import parse

HANDLERS: dict[str, Handler] = {
    **arithmetic.HANDLERS,
    **matrices.HANDLERS,
    **movement.HANDLERS,
}
LANES_PER_BATCH = 8192
ARCHITECTURES = (80, 86, 87, 89, 120)  # whose PTX is known here


class Emulator:
    """One kernel.

    Args:
        ptx: its text.
        shared: bytes of shared memory per block.
    """

    def __init__(self, ptx: str, shared: int) -> None:
        self.program = parse(ptx)
        self._shared = shared
        self._unit = 2
        for instruction in self.program.instructions:
            name, kind = instruction.opcode[0], instruction.opcode[-1]
            if name in ("ld", "st") and "shared" in instruction.opcode and kind[1:] == "8":
                self._unit = 1

    def launch(
        self, grid: tuple[int, int, int], arguments: list[int], memory: GlobalMemory
    ) -> Counter[str]:
        """Run all blocks; counts of what was carried out, per warp.

        Args:
            grid: blocks in x, y and z.
            arguments: integers, and addresses in `memory`, in the kernel's order.
            memory: what the kernel may touch.
        """
        blocks = np.array([index[::-1] for index in np.ndindex(*grid[::-1])], np.uint32)
        counts: Counter[str] = Counter()
        size = max(1, LANES_PER_BATCH // self.program.threads)
        with np.errstate(all="ignore"):
            for start in range(0, len(blocks), size):
                counts += self._run(blocks[start : start + size], arguments, memory, grid)
        return counts + memory.counts

    def _run(
        self, blocks: Any, arguments: list[int], memory: GlobalMemory, grid: tuple[int, int, int]
    ) -> Counter[str]:
        """Some blocks; those that go different ways are run apart, from the start."""
        before = memory.snapshot()
        shared = SharedMemory(len(blocks), self.program.threads, self._shared, self._unit)
        machine = Machine(self.program, HANDLERS, shared, memory, arguments, blocks, grid)
        try:
            return machine.run()
        except Divergent as split:
            memory.restore(before)
            first, second = blocks[split.taken], blocks[~split.taken]
        counts = self._run(first, arguments, memory, grid)
        return counts + self._run(second, arguments, memory, grid)
