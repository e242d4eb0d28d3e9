"""Instructions that compute with numbers.

The approximate ones (ex2, rcp, rsqrt, div.full) are exact here, subnormal numbers are kept, and
every result is rounded to nearest even.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tests.kernels.ptx.machine import Handler, Machine, Unsupported
from tests.kernels.ptx.numbers import PAIRS, SIGNED, UNSIGNED, decoded, size_of
from tests.kernels.ptx.parser import Instruction

COMPARISONS: dict[str, Any] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
}


def _largest(first: Any, *rest: Any) -> Any:
    function = np.fmax if first.dtype.kind == "f" else np.maximum
    for value in rest:
        first = function(first, value)
    return first


def _smallest(first: Any, *rest: Any) -> Any:
    function = np.fmin if first.dtype.kind == "f" else np.minimum
    for value in rest:
        first = function(first, value)
    return first


def _quotient(x: Any, y: Any) -> Any:
    """Of integers towards zero."""
    return x / y if x.dtype.kind == "f" else (x - np.fmod(x, y)) // y


def _fused(x: Any, y: Any, z: Any) -> Any:
    return (x.astype(np.float64) * y + z).astype(z.dtype)


def _copysign(sign: Any, size: Any) -> Any:
    return np.copysign(size, sign)


def _set_bits(x: Any) -> Any:
    octets = np.unpackbits(np.ascontiguousarray(x)[:, None].view(np.uint8), axis=1)
    return octets.sum(1).astype(x.dtype)


# Of operands of one type, which stands last in the opcode.
FUNCTIONS: dict[str, Any] = {
    "abs": np.abs,
    "add": np.add,
    "and": np.bitwise_and,
    "copysign": _copysign,
    "div": _quotient,
    "ex2": np.exp2,
    "fma": _fused,
    "lg2": np.log2,
    "max": _largest,
    "min": _smallest,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "popc": _set_bits,
    "rcp": lambda x: np.ones(1, x.dtype) / x,
    "rem": np.fmod,
    "rsqrt": lambda x: (1 / np.sqrt(x.astype(np.float64))).astype(x.dtype),
    "sqrt": np.sqrt,
    "sub": np.subtract,
    "tanh": np.tanh,
    "xor": np.bitwise_xor,
}


def elementwise(function: Any, machine: Machine, instruction: Instruction, mask: Any) -> None:
    """One function of all operands."""
    opcode = instruction.opcode
    target, *sources = instruction.operands
    kinds = [opcode[-1]] * len(sources)
    if len(opcode) > 2 and opcode[-2] == "f32" and opcode[-1] in ("f16", "bf16"):
        kinds[-1] = "f32"  # add.f32.f16: narrow factors, or a narrow first summand
    if "sat" in opcode or "relu" in opcode:
        raise Unsupported("saturation")
    pair = opcode[-1] in PAIRS
    read = machine.registers.spread if pair else machine.registers.read
    values = [read(s, kind) for s, kind in zip(sources, kinds, strict=True)]
    if values[0].dtype == np.float16:  # one rounding, at the end
        values = [value.astype(np.float32) for value in values]
    machine.registers.write(target, function(*values), kinds[-1], mask)


def multiply(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """mul and mad; of integers .lo, .hi or .wide says which half of the product is kept."""
    opcode, operands = instruction.opcode, instruction.operands
    ptx_type = opcode[-1]
    if "f" in ptx_type:
        return elementwise(np.multiply, machine, instruction, mask)
    if "sat" in opcode:
        raise Unsupported("saturation")
    kind, bits = ptx_type[0], int(ptx_type[1:])
    half = opcode[1]
    if bits == 64 and half != "lo":
        raise Unsupported("128-bit product")
    wide = np.int64 if kind == "s" else np.uint64
    x, y = (machine.registers.read(operand, ptx_type).astype(wide) for operand in operands[1:3])
    product = x * y
    result_type = f"{kind}{2 * bits}" if half == "wide" else ptx_type
    if half == "hi":
        product = product >> wide(bits)
    if opcode[0] == "mad":
        product = product + machine.registers.read(operands[3], result_type).astype(wide)
    narrow = (SIGNED if kind == "s" else UNSIGNED)[size_of(result_type)]
    return machine.registers.write(operands[0], product.astype(narrow), result_type, mask)


def shift_left(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """shl; by the width or more gives 0."""
    bits = int(instruction.opcode[1][1:])
    value = machine.registers.read(instruction.operands[1], f"u{bits}").astype(np.uint64)
    amount = machine.registers.read(instruction.operands[2], "u32").astype(np.uint64)
    result = np.where(amount >= bits, np.uint64(0), value << np.minimum(amount, np.uint64(63)))
    machine.registers.write(instruction.operands[0], result, f"u{bits}", mask)


def shift_right(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """shr; signed ones are filled with the sign."""
    signed, bits = instruction.opcode[1][0] == "s", int(instruction.opcode[1][1:])
    ptx_type = f"{'s' if signed else 'u'}{bits}"
    wide = np.int64 if signed else np.uint64
    value = machine.registers.read(instruction.operands[1], ptx_type).astype(wide)
    amount = machine.registers.read(instruction.operands[2], "u32")
    result = value >> np.minimum(amount, 63).astype(wide)
    if not signed:
        result = np.where(amount >= bits, np.uint64(0), result)
    machine.registers.write(instruction.operands[0], result, ptx_type, mask)


def funnel_shift(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """shf: 32 bits of a shifted pair of registers."""
    target, low, high, amount = instruction.operands
    read = machine.registers.read
    pair = read(low, "u32").astype(np.uint64) | read(high, "u32").astype(np.uint64) << np.uint64(32)
    by = read(amount, "u32")
    by = by & 31 if instruction.opcode[2] == "wrap" else np.minimum(by, 32)
    if instruction.opcode[1] == "l":
        by = 32 - by
    result = (pair >> by.astype(np.uint64)).astype(np.uint32)
    machine.registers.write(target, result, "u32", mask)


def extract_field(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """bfe: some bits, extended by their sign for signed types."""
    ptx_type, operands = instruction.opcode[1], instruction.operands
    value = machine.registers.read(operands[1], ptx_type).astype(np.int64)
    position, length = int(operands[2], 0), int(operands[3], 0)
    field = (value >> position) & ((1 << length) - 1)
    if ptx_type[0] == "s":
        field = np.where(field >> (length - 1) & 1, field - (1 << length), field)
    machine.registers.write(operands[0], field, ptx_type, mask)


def insert_field(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """bfi: bits of a first number at a place of a second one."""
    target, source, base, position, length = instruction.operands
    ones = ((1 << int(length, 0)) - 1) << int(position, 0)
    read = machine.registers.read
    moved = read(source, "u32").astype(np.uint64) << np.uint64(int(position, 0))
    result = read(base, "u32") & ~np.uint32(ones) | (moved & np.uint64(ones)).astype(np.uint32)
    machine.registers.write(target, result, "u32", mask)


def permute_bytes(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """prmt: any four bytes of two registers."""
    target, low, high, selector = instruction.operands
    if instruction.opcode[1] != "b32":
        raise Unsupported("mode of prmt")
    registers = machine.registers
    pool = np.ascontiguousarray(registers.stack([low, high], "b32")).view(np.uint8)
    choice = registers.all_bits(selector, "b32")
    result = np.zeros(machine.lanes, np.uint32)
    for place in range(4):
        nibble = choice >> np.uint32(4 * place)
        byte = pool[machine.lane, nibble & 7]
        byte = np.where(nibble & 8, np.where(byte & 0x80, 0xFF, 0), byte)  # its sign alone
        result |= byte.astype(np.uint32) << np.uint32(8 * place)
    registers.write(target, result, "u32", mask)


def any_logic(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """lop3: the table of a function of three bits, applied to every bit."""
    target, *sources, table = instruction.operands
    a, b, c = (machine.registers.read(source, "u32") for source in sources)
    result: Any = np.zeros(1, np.uint32)
    for row in range(8):
        if int(table, 0) >> row & 1:
            term = (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
            result = result | term
    machine.registers.write(target, result, "u32", mask)


def select(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """selp."""
    target, if_true, if_false, predicate = instruction.operands
    kind = f"b{8 * size_of(instruction.opcode[1])}"
    read = machine.registers.bits
    chosen = np.where(read(predicate, "pred"), read(if_true, kind), read(if_false, kind))
    machine.registers.write(target, chosen, kind, mask)


def compare(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """setp, perhaps combined with another predicate."""
    opcode, operands = instruction.opcode, instruction.operands
    if "|" in operands[0]:
        raise Unsupported("comparison with two results")
    x, y = (machine.registers.read(operand, opcode[-1]) for operand in operands[1:3])
    name = opcode[1]
    if name in ("num", "nan"):
        result = (np.isnan(x) | np.isnan(y)) == (name == "nan")
    else:
        result = COMPARISONS[name[:2]](x, y)
        if x.dtype.kind == "f":
            is_nan = np.isnan(x) | np.isnan(y)
            unordered = len(name) == 3  # ltu: also true where an operand is NaN
            result = result | is_nan if unordered else result & ~is_nan
    if opcode[2] in ("and", "or", "xor"):
        combine = getattr(np, f"logical_{opcode[2]}")
        result = combine(result, machine.registers.read(operands[3], "pred"))
    machine.registers.write(operands[0], result, "pred", mask)


_ROUNDED = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def convert(machine: Machine, instruction: Instruction, mask: Any) -> None:
    """cvt. Floats become integers within the range of the type, NaN 0; integers lose upper bits."""
    opcode, operands = instruction.opcode, instruction.operands
    target_type, source_type = opcode[-2:]
    if "relu" in opcode or "satfinite" in opcode or ("sat" in opcode and target_type[0] == "f"):
        raise Unsupported("saturation")
    registers = machine.registers
    if target_type in PAIRS:
        high, low = (registers.spread(operand, source_type) for operand in operands[1:3])
        return registers.write(operands[0], np.stack([low, high], 1), target_type, mask)
    value = registers.read(operands[1], source_type)
    from_float, to_float = "f" in source_type, "f" in target_type
    for mode, function in _ROUNDED.items():
        if mode in opcode:
            value = function(value)
    if (from_float and not to_float) or "sat" in opcode:
        info = np.iinfo((SIGNED if target_type[0] == "s" else UNSIGNED)[size_of(target_type)])
        value = np.nan_to_num(value.astype(np.float64) if from_float else value, nan=0.0)
        value = _clamped(value, int(info.min), int(info.max))
    if not to_float and target_type[0] == "s":
        # the upper bits are lost, and the sign is that of what is left
        size = size_of(target_type)
        value = decoded(value.astype(SIGNED[8]).astype(UNSIGNED[size]), target_type)
    return registers.write(operands[0], value, target_type, mask)


def _clamped(value: Any, low: int, high: int) -> Any:
    wide = np.uint64 if low == 0 else np.int64
    limits = np.iinfo(wide)
    below, above = value <= low, value >= high
    inside = np.where(below | above, 0, value).astype(wide)
    result = np.where(below, wide(max(low, int(limits.min))), inside)
    return np.where(above, wide(min(high, int(limits.max))), result)


HANDLERS: dict[str, Handler] = {
    **{name: partial(elementwise, function) for name, function in FUNCTIONS.items()},
    "mul": multiply,
    "mad": multiply,
    "shl": shift_left,
    "shr": shift_right,
    "shf": funnel_shift,
    "bfe": extract_field,
    "bfi": insert_field,
    "prmt": permute_bytes,
    "lop3": any_logic,
    "selp": select,
    "setp": compare,
    "cvt": convert,
}
