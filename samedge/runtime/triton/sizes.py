"""Sizes of a plan: numbers, or small expressions over sizes that are known when it runs.

A frame's height and width, how many objects and points are asked about: these are names
("height", "objects"), which stand in the shapes of a graph's inputs. Everything that follows from
them (grids, batch counts, places in the arena) is a sum, product or rounded-up quotient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

Size: TypeAlias = Union[int, "Expr"]
OPERATORS = ("+", "*", "/")  # "/" rounds up


@dataclass(frozen=True)
class Expr:
    """A size that is known when the plan runs.

    Attributes:
        operator: "+", "*", "/" (rounded up), or "name".
        parts: two sizes; of "name" the name alone.
    """

    operator: str
    parts: tuple[Any, ...]

    def __add__(self, other: Size) -> Size:
        return self if other == 0 else Expr("+", (self, other))

    def __mul__(self, other: Size) -> Size:
        if other == 1:
            return self
        return 0 if other == 0 else Expr("*", (self, other))

    __radd__, __rmul__ = __add__, __mul__


def named(name: str) -> Expr:
    """The size called `name`."""
    return Expr("name", (name,))


def cdiv(a: Size, b: Size) -> Size:
    """`a / b`, rounded up."""
    if isinstance(a, int) and isinstance(b, int):
        return -(-a // b)
    return a if b == 1 else Expr("/", (a, b))


def product(*sizes: Size) -> Size:
    """Of all sizes; 1 of none."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The number that `size` is where the named sizes are `values`.

    Raises:
        KeyError: a name has no value.
    """
    if isinstance(size, int):
        return size
    if size.operator == "name":
        return values[size.parts[0]]
    a, b = (evaluate(part, values) for part in size.parts)
    if size.operator == "+":
        return a + b
    return a * b if size.operator == "*" else -(-a // b)


def names_in(size: Size) -> frozenset[str]:
    """Names that `size` depends on."""
    if isinstance(size, int):
        return frozenset()
    if size.operator == "name":
        return frozenset(size.parts)
    return frozenset().union(*map(names_in, size.parts))
