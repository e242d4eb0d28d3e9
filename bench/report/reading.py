"""Plain values out of a report's JSON, none of them taken on trust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LARGEST = 1e12  # milliseconds: thirty years
_LARGEST_VALUE = 1e250  # of anything else: a few of them make a finite sum
_DEEPEST = 20


class Damaged(ValueError):
    """A value is not what a report has there."""


def plain(value: Any, depth: int = 0) -> Any:
    """The value itself, if it is JSON all through: finite numbers, no nesting without end.

    Raises:
        Damaged: it is not.
    """
    if depth > _DEEPEST:
        raise Damaged("values within values without end")
    if isinstance(value, dict):
        return {text(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, depth + 1) for inner in value]
    if value is None or isinstance(value, str | bool):
        return value
    # What is no time may be larger: parity rows have 1e30 for an error that is not finite.
    if not isinstance(value, int | float) or not abs(value) < _LARGEST_VALUE:
        raise Damaged("a value that is neither text nor a finite number")
    return value


def number(value: Any) -> float:
    """A finite number of a size that can be.

    Raises:
        Damaged: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, "a number")
    if not abs(value) <= _LARGEST:  # not a number is not smaller either
        raise Damaged("a number that cannot be")
    return float(value)


def numbers(value: Any, count: int | None = None) -> tuple[float, ...]:
    """A list of numbers, of `count` ones if that is given.

    Raises:
        Damaged: it is none, or of another length.
    """
    found = tuple(map(number, listed(value)))
    if count is not None and len(found) != count:
        raise Damaged(f"{len(found)} numbers where {count} belong")
    return found


def blocks_of(value: Any, shape: Sequence[int] | None = None) -> tuple[tuple[float, ...], ...]:
    """Numbers in blocks, none of them empty; of that many each if `shape` is given.

    Raises:
        Damaged: they are not.
    """
    found = tuple(map(numbers, listed(value)))
    lengths = [len(block) for block in found]
    if not all(lengths):
        raise Damaged("a block without frames")
    if shape is not None and lengths != list(shape):
        raise Damaged("blocks of different lengths that belong together")
    return found


def text(value: Any) -> str:
    """Words.

    Raises:
        Damaged: it is something else.
    """
    if not isinstance(value, str):
        raise _wrong(value, "text")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of words; `Damaged` as `text`."""
    return tuple(map(text, listed(value)))


def truth(value: Any) -> bool:
    """True or false; `Damaged` if it is neither."""
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")
    return value


def record(value: Any) -> dict[str, Any]:
    """An object of JSON; `Damaged` if it is none."""
    if not isinstance(value, dict):
        raise _wrong(value, "an object")
    return value


def listed(value: Any) -> Sequence[Any]:
    """An array of JSON; `Damaged` if it is none."""
    if not isinstance(value, list | tuple):
        raise _wrong(value, "a list")
    return value


def _wrong(value: Any, expected: str) -> Damaged:
    return Damaged(f"{type(value).__name__} where {expected} belongs")
