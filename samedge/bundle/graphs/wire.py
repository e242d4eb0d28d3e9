"""The wire format of protobuf, as far as ONNX files use it; strict, and bounded.

Every field is a number, a wire type and a value: a variable-length integer, 4 bytes, or a length
and as many bytes. Nothing is copied: bytes are views of the buffer. What the format leaves open
(groups, 8-byte fields, integers beyond 64 bits) is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, BYTES, FIXED32 = 0, 2, 5

Value = int | memoryview


class WireError(ValueError):
    """The bytes are no such message."""


class Budget:
    """How many fields may still be read, over all messages of a file: time is bounded with it."""

    def __init__(self, fields: int) -> None:
        self.left = fields

    def take(self) -> None:
        """One more.

        Raises:
            WireError: there were too many.
        """
        self.left -= 1
        if self.left < 0:
            raise WireError("it has more parts than any graph of samedge's")


def fields(data: memoryview, budget: Budget) -> Iterator[tuple[int, int, Value]]:
    """(number, wire type, value) of each field of a message, in its order.

    Raises:
        WireError: the message is damaged, or too large.
    """
    at, end = 0, len(data)
    while at < end:
        budget.take()
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"a field has the number {number}")
        if kind == VARINT:
            value, at = varint(data, at)
            yield number, kind, value
            continue
        if kind not in (BYTES, FIXED32):
            raise WireError(f"a field has the unknown type {kind}")
        size = 4
        if kind == BYTES:
            size, at = varint(data, at)
        if size > end - at:
            raise WireError("it ends in the middle of a field")
        yield number, kind, data[at : at + size]
        at += size


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The integer at a place, unsigned and of up to 64 bits, and the place behind it.

    Raises:
        WireError: there is none.
    """
    value = shift = 0
    while True:
        if at >= len(data):
            raise WireError("it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise WireError("a number has more than 64 bits")
    if value >> 64:
        raise WireError("a number has more than 64 bits")
    return value, at


def signed(value: int) -> int:
    """A 64-bit number as int64."""
    return value - (1 << 64) if value >> 63 else value
