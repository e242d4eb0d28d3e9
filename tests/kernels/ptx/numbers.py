"""PTX's types as numpy's, bfloat16 included."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np

UNSIGNED: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
SIGNED: dict[int, Any] = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
FLOAT: dict[int, Any] = {2: np.float16, 4: np.float32, 8: np.float64}
# Two numbers in one register -> type of each.
PAIRS = {"f16x2": "f16", "bf16x2": "bf16", "f32x2": "f32"}


@cache
def size_of(ptx_type: str) -> int:
    """Bytes of a register of a type."""
    if ptx_type in PAIRS:
        return 2 * size_of(PAIRS[ptx_type])
    match = re.search(r"\d+$", ptx_type)
    assert match is not None, ptx_type
    return int(match[0]) // 8


@cache
def raw_type(ptx_type: str) -> Any:
    """numpy's type of the bits: bool for predicates, else unsigned."""
    return np.bool_ if ptx_type == "pred" else UNSIGNED[size_of(ptx_type)]


def decoded(bits: Any, ptx_type: str) -> Any:
    """Bits as the numbers that they stand for; pairs have a last axis of 2; bf16 becomes fp32."""
    if ptx_type == "pred":
        return bits
    if ptx_type in PAIRS:
        element = PAIRS[ptx_type]
        parts = np.ascontiguousarray(bits).view(UNSIGNED[size_of(element)]).reshape(-1, 2)
        return decoded(parts, element)
    if ptx_type == "bf16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    size, kind = size_of(ptx_type), ptx_type[0]
    if kind == "f":
        return np.ascontiguousarray(bits).view(FLOAT[size])
    return bits.view(SIGNED[size]) if kind == "s" else bits


def encoded(values: Any, ptx_type: str) -> Any:
    """The bits of numbers, rounded to nearest even where the type is narrower."""
    if ptx_type == "pred":
        return values
    if ptx_type in PAIRS:
        element = PAIRS[ptx_type]
        parts = np.ascontiguousarray(encoded(values, element)).reshape(-1, 2)
        return parts.view(UNSIGNED[2 * size_of(element)]).ravel()
    if ptx_type == "bf16":
        return _bf16_bits(values)
    size, kind = size_of(ptx_type), ptx_type[0]
    if kind == "f":
        return np.ascontiguousarray(values.astype(FLOAT[size], copy=False)).view(UNSIGNED[size])
    return values.astype(UNSIGNED[size], copy=False)


def _bf16_bits(values: Any) -> Any:
    """NaN stays NaN; its payload is not kept."""
    single = np.ascontiguousarray(values, np.float32)
    bits = single.view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(single), np.uint16(0x7FFF), rounded)
