"""Instructions that move data: memory, asynchronous copies, barriers, shuffles, `mov`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tests.kernels.ptx.machine import Handler, Machine, Unsupported
from tests.kernels.ptx.memory import WARP, PtxError
from tests.kernels.ptx.numbers import UNSIGNED, decoded, size_of
from tests.kernels.ptx.parser import Instruction
from tests.kernels.ptx.registers import parts_of


def load(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """ld.param, ld.global and ld.shared."""
    opcode, operands = instruction.opcode, instruction.operands
    ptx_type, targets = opcode[-1], parts_of(operands[0])
    size = size_of(ptx_type)
    if "param" in opcode:
        value = _parameter(machine, operands[1], size)
        return machine.registers.write(targets[0], value, f"b{8 * size}", mask)
    active, width = machine.active(mask), size * len(targets)
    if "global" in opcode:
        address = machine.address(operands[1], "b64")[active]
        data = machine.memory.load(address, width, machine.block[active])
    elif "shared" in opcode or "shared::cta" in opcode:
        data = machine.shared.load(active, machine.address(operands[1], "b32")[active], width)
    else:
        raise Unsupported("kind of memory")
    bits = np.zeros((machine.lanes, len(targets)), UNSIGNED[size])
    bits[active] = data.view(UNSIGNED[size])
    for i, target in enumerate(targets):
        value = decoded(
            np.ascontiguousarray(bits[:, i]), ptx_type if ptx_type[0] == "s" else f"b{8 * size}"
        )
        machine.registers.write(
            target, value, ptx_type if ptx_type[0] == "s" else f"b{8 * size}", mask
        )
    return None


def _parameter(machine: Machine, operand: str, size: int) -> Any:
    match = re.search(r"_(\d+)\]?$", operand)
    if match is None:
        raise Unsupported("part of a parameter")
    index = int(match[1])
    if index >= len(machine.arguments):
        raise PtxError(f"read of parameter {index}, which was not passed")
    value = machine.arguments[index] & ((1 << 8 * size) - 1)
    return np.array([value], UNSIGNED[size])


def store(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """st.global and st.shared."""
    opcode, operands = instruction.opcode, instruction.operands
    bits = machine.registers.stack(parts_of(operands[1]), f"b{8 * size_of(opcode[-1])}")
    active = machine.active(mask)
    data = np.ascontiguousarray(bits).view(np.uint8)[active]
    if "global" in opcode:
        address = machine.address(operands[0], "b64")[active]
        machine.memory.store(address, data, machine.block[active])
    elif "shared" in opcode or "shared::cta" in opcode:
        machine.shared.store(active, machine.address(operands[0], "b32")[active], data)
    else:
        raise Unsupported("kind of memory")


def copy(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """cp.async: data arrives only at the wait, the latest moment that the standard allows."""
    kind, operands = instruction.opcode[2], instruction.operands
    if instruction.opcode[1] != "async":
        raise Unsupported("kind of copy")
    if kind == "commit_group":
        machine.copy_groups.append(machine.copies)
        machine.copies = []
    elif kind in ("wait_group", "wait_all"):
        if kind == "wait_all":
            machine.copy_groups.append(machine.copies)
            machine.copies = []
        while len(machine.copy_groups) > (int(operands[0]) if operands else 0):
            for token in machine.copy_groups.pop(0):
                machine.shared.finish_copy(token)
    elif kind in ("ca", "cg"):
        _begin_copy(machine, operands, mask)
    else:
        raise Unsupported("kind of copy")


def _begin_copy(machine: Machine, operands: tuple[str, ...], mask: Any) -> None:
    size = int(operands[2], 0)
    source_size = np.full(machine.lanes, size)
    if len(operands) > 3:  # lanes that copy 0 bytes fill their destination with zeros
        source_size = machine.registers.all_bits(operands[3], "b32")
    if not np.isin(source_size, (0, size)).all():
        raise Unsupported("partial cp.async")
    data = np.zeros((machine.lanes, size), np.uint8)
    loading = machine.active((source_size > 0) & (True if mask is None else mask))
    if loading.size:
        address = machine.address(operands[1], "b64")[loading]
        data[loading] = machine.memory.load(address, size, machine.block[loading])
    active = machine.active(mask)
    address = machine.address(operands[0], "b32")[active]
    machine.copies.append(machine.shared.begin_copy(active, address, data[active]))


def barrier(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """bar.sync of all warps; lanes of a warp are always in step here."""
    if "warp" in instruction.opcode:
        return
    if instruction.opcode[1] != "sync" or instruction.operands != ("0",):
        raise Unsupported("barrier of part of a block")
    machine.shared.barrier()


def shuffle(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """shfl.sync among all lanes of a warp."""
    operands, registers = instruction.operands, machine.registers
    whole = {"up": 0}.get(instruction.opcode[2], WARP - 1)
    if int(operands[3], 0) != whole:
        raise Unsupported("shuffle within part of a warp")
    value = registers.all_bits(operands[1], "b32").reshape(-1, WARP)
    amount = registers.all_bits(operands[2], "b32").reshape(-1, WARP).astype(np.int64)
    lane = np.arange(WARP)
    source = {
        "bfly": lane ^ amount,
        "idx": amount & (WARP - 1),
        "down": np.where(lane + amount < WARP, lane + amount, lane),
        "up": np.where(lane >= amount, lane - amount, lane),
    }[instruction.opcode[2]]
    target = operands[0].split("|")[0].strip()
    registers.write(target, np.take_along_axis(value, source, 1).ravel(), "b32", mask)


def reduce(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """redux.sync among all lanes of a warp."""
    target, source, members = instruction.operands
    _, _, kind, ptx_type = instruction.opcode
    registers = machine.registers
    if not (registers.bits(members, "b32") == 0xFFFFFFFF).all():
        raise Unsupported("reduction within part of a warp")
    operation = {"max": np.max, "min": np.min, "add": np.sum}[kind]
    value = registers.spread(source, ptx_type).reshape(-1, WARP)
    registers.write(target, operation(value, 1).repeat(WARP).astype(value.dtype), ptx_type, mask)


def move(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """mov, also between one register and the parts of it."""
    (target, source), ptx_type = instruction.operands, instruction.opcode[1]
    registers = machine.registers
    if ptx_type == "pred":
        return registers.write(target, registers.bits(source, "pred"), "pred", mask)
    size = size_of(ptx_type)
    if target.startswith("{"):
        targets = parts_of(target)
        part = size // len(targets)
        whole = np.ascontiguousarray(registers.all_bits(source, ptx_type))
        parts = whole.view(UNSIGNED[part]).reshape(machine.lanes, -1)
        for i, name in enumerate(targets):
            registers.write(name, parts[:, i], f"b{8 * part}", mask)
    elif source.startswith("{"):
        names = parts_of(source)
        parts = np.stack([registers.half(name, f"b{8 * size // len(names)}") for name in names], 1)
        registers.write(target, parts.view(UNSIGNED[size]).ravel(), f"b{8 * size}", mask)
    else:
        registers.write(target, registers.bits(source, f"b{8 * size}"), f"b{8 * size}", mask)
    return None


HANDLERS: dict[str, Handler] = {
    "ld": load,
    "st": store,
    "cp": copy,
    "bar": barrier,
    "barrier": barrier,
    "shfl": shuffle,
    "redux": reduce,
    "mov": move,
}
