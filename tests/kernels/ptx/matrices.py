"""Instructions of tensor cores, and those that bring 8x8 matrices to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.kernels.ptx.machine import Handler, Machine, Unsupported
from tests.kernels.ptx.memory import WARP
from tests.kernels.ptx.numbers import decoded
from tests.kernels.ptx.parser import Instruction
from tests.kernels.ptx.registers import parts_of


def _matrices(instruction: Instruction) -> int:
    if "m8n8" not in instruction.opcode or instruction.opcode[-1] != "b16":
        raise Unsupported("shape of matrices")
    return int(instruction.opcode[4][1:])


def _row_lanes(machine: Machine, count: int) -> Any:
    """Lanes that hold the row addresses of `count` 8x8 matrices, in each warp."""
    return machine.lane.reshape(-1, WARP)[:, : 8 * count].ravel()


def load_matrices(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """ldmatrix."""
    count = _matrices(instruction)
    active = _row_lanes(machine, count)
    address = machine.address(instruction.operands[1], "b32")[active]
    rows = machine.shared.load(active, address, 16)
    matrices = rows.view(np.uint16).reshape(-1, count, 8, 8)
    if "trans" in instruction.opcode:
        matrices = matrices.swapaxes(2, 3)
    values = np.ascontiguousarray(matrices).view(np.uint32).reshape(-1, count, WARP)
    for i, target in enumerate(parts_of(instruction.operands[0])):
        machine.registers.write(target, values[:, i].ravel(), "b32", mask)


def store_matrices(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """stmatrix."""
    count = _matrices(instruction)
    active = _row_lanes(machine, count)
    address = machine.address(instruction.operands[0], "b32")[active]
    values = machine.registers.stack(parts_of(instruction.operands[1]), "b32")
    values = np.ascontiguousarray(values.reshape(-1, WARP, count).swapaxes(1, 2))
    matrices = values.view(np.uint16).reshape(-1, count, 8, 8)
    if "trans" in instruction.opcode:
        matrices = matrices.swapaxes(2, 3)
    rows = np.ascontiguousarray(matrices).view(np.uint8).reshape(-1, 16)
    machine.shared.store(active, address, rows)


def multiply_matrices(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """mma.sync: D (16, 8) = A (16, K) @ B (K, 8) + C (16, 8) in each warp; K elements of 32 bytes.

    Lane 4 * g + t holds, of A, rows g and g + 8, of each half of K the t-th 32 bits; of B, column g
    at those places; of C and D, rows g and g + 8 at columns 2t, 2t + 1.
    """
    shape, kinds = instruction.opcode[3], instruction.opcode[-4:]
    known = {
        ("m16n8k16", ("f32", "f16", "f16", "f32")),
        ("m16n8k16", ("f32", "bf16", "bf16", "f32")),
        ("m16n8k32", ("s32", "s8", "s8", "s32")),
    }
    if (shape, kinds) not in known:
        raise Unsupported("shape or types of a matrix product")
    d_type, element = kinds[0], kinds[1]
    a = _fragments(machine, instruction.operands[1], element)
    # warp, g, t, half of K, half of rows, element -> warp, row, K
    a = a.reshape(*a.shape[:3], 2, 2, -1).transpose(0, 4, 1, 3, 2, 5).reshape(len(a), 16, -1)
    b = _fragments(machine, instruction.operands[2], element)  # warp, g, t, half of K, element
    b = b.transpose(0, 3, 2, 4, 1).reshape(len(b), -1, 8)
    c = decoded(machine.registers.stack(parts_of(instruction.operands[3]), "b32"), d_type)
    c = c.reshape(-1, 8, 4, 2, 2).transpose(0, 3, 1, 2, 4).reshape(-1, 16, 8)
    product = (a @ b).astype(c.dtype)  # integers of int8 stay exact in fp32
    d = (product + c).reshape(-1, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4).reshape(machine.lanes, 4)
    for i, target in enumerate(parts_of(instruction.operands[0])):
        machine.registers.write(target, np.ascontiguousarray(d[:, i]), d_type, mask)


def _fragments(machine: Machine, operand: str, element: str) -> Any:
    """Registers of packed elements -> fp32 [warps, 8, 4, registers, elements]."""
    packed = machine.registers.stack(parts_of(operand), "b32")
    bits = np.ascontiguousarray(packed).view(np.uint8 if element == "s8" else np.uint16)
    values = decoded(bits, element).astype(np.float32)
    return values.reshape(-1, 8, 4, packed.shape[1], values.shape[1] // packed.shape[1])


HANDLERS: dict[str, Handler] = {
    "ldmatrix": load_matrices,
    "stmatrix": store_matrices,
    "mma": multiply_matrices,
}
