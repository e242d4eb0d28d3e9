"""Registers of all lanes of a batch of blocks, and operands that name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from tests.kernels.ptx.memory import PtxError
from tests.kernels.ptx.numbers import UNSIGNED, decoded, encoded, raw_type, size_of


class Registers:
    """Raw bits by register name: unsigned (predicates: bool) arrays with an entry per lane, or with
    one entry where all lanes hold the same.

    Args:
        lanes: how many.
        types: prefix of names -> type, from the declarations.
        special: %tid.x and so on.
    """

    def __init__(self, lanes: int, types: Mapping[str, str], special: Mapping[str, Any]) -> None:
        self.lanes = lanes
        self._types = types
        self._special = special
        self._bits: dict[str, Any] = {}

    def read(self, operand: str, ptx_type: str) -> Any:
        """The numbers in a register or constant: [lanes] or [1], pairs with a last axis of 2."""
        return decoded(self.bits(operand, ptx_type), ptx_type)

    def bits(self, operand: str, ptx_type: str) -> Any:
        """Raw bits of a register or constant, [lanes] or [1]."""
        raw = raw_type(ptx_type)
        if operand in self._special:
            return np.atleast_1d(np.asarray(self._special[operand])).astype(raw)
        if not operand.startswith("%"):
            return np.array([_constant(operand, size_of(ptx_type) if raw != np.bool_ else 1)], raw)
        if operand not in self._bits:
            raise PtxError(f"read of register {operand}, which was never written")
        return self._bits[operand].astype(raw, copy=False)

    def spread(self, operand: str, ptx_type: str) -> Any:
        """Like `read`, with an entry per lane."""
        return decoded(self.all_bits(operand, ptx_type), ptx_type)

    def all_bits(self, operand: str, ptx_type: str) -> Any:
        """Like `bits`, with an entry per lane."""
        return np.broadcast_to(self.bits(operand, ptx_type), (self.lanes,))

    def stack(self, operands: list[str], ptx_type: str) -> Any:
        """Raw bits of several operands, contiguous [lanes, operands]."""
        return np.stack([self.all_bits(operand, ptx_type) for operand in operands], 1)

    def half(self, operand: str, ptx_type: str) -> Any:
        """Like `all_bits`, of a part of a packed register.

        The compiler may leave one undefined that nobody looks at; it is NaN here, which shows.
        """
        if operand.startswith("%") and operand not in self._bits and operand not in self._special:
            return np.full(self.lanes, np.iinfo(raw_type(ptx_type)).max, raw_type(ptx_type))
        return self.all_bits(operand, ptx_type)

    def write(self, register: str, values: Any, ptx_type: str, mask: Any) -> None:
        """Put numbers of a type into a register, where `mask` is true (None: everywhere).

        A wider register gets integers extended by their sign.
        """
        if register == "_":
            return
        own = self._types[_prefix(register)]
        if ptx_type[0] == "s" and size_of(own) > size_of(ptx_type):
            values = values.astype(np.int64)
            ptx_type = f"s{8 * size_of(own)}"
        bits = encoded(values, ptx_type).astype(raw_type(own), copy=False)
        if mask is not None and not mask.all():
            before = self._bits.get(register)
            if before is None:  # never read where the mask is false, or the program is wrong
                before = np.zeros(1, bits.dtype)
            bits = np.where(mask, bits, before)
        self._bits[register] = bits


@cache
def _prefix(register: str) -> str:
    match = re.match(r"%([a-z]+)", register)
    assert match is not None, register
    return match[1]


@cache
def _constant(operand: str, size: int) -> int:
    if operand == "global_smem":  # Triton's only shared array: it starts at address 0
        return 0
    operand = operand.rstrip("U")
    if operand[:2] in ("0f", "0d"):
        return int(operand[2:], 16)
    return int(operand, 0) & ((1 << 8 * size) - 1)


def parts_of(operand: str) -> list[str]:
    """Names in a vector operand "{%r1, %r2}", or the one name."""
    return [part.strip() for part in operand.strip("{} ").split(",")]


def unsigned(values: Any, size: int) -> Any:
    """Integers of any kind as unsigned ones of `size` bytes."""
    return values.astype(UNSIGNED[size], copy=False)
