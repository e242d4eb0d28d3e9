"""What is known of a value in a graph before anything is computed: type, shape, small constants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from samedge.bundle.graphs.model import BOOL, FLOAT, HALF, INT8, INT32, INT64, UINT8
from samedge.files.limits import GRAPH_AXES, GRAPH_ELEMENTS

NAMES = {
    FLOAT: "float32",
    UINT8: "uint8",
    INT8: "int8",
    INT32: "int32",
    INT64: "int64",
    BOOL: "bool",
    HALF: "float16",
}
FLOATS = (FLOAT, HALF)
INTEGERS = (INT32, INT64)
LISTED = 256  # elements of a list of whole numbers that shapes may follow from

Side = int | str | None  # a size, the name of one that is free, or one that is not known
Sides = tuple[Side, ...]


class RuleError(ValueError):
    """A node is not what the exporters write."""


@dataclass(frozen=True)
class Value:
    """Of a value.

    Attributes:
        dtype: ONNX's number of the element type.
        shape: one entry for each axis.
        numbers: the elements of a small list of whole numbers, where they are known; a single
            number is a list of one. None inside: not known.
        constant: it is a weight, and `numbers` are all there is.
    """

    dtype: int
    shape: Sides
    numbers: tuple[int | None, ...] | None = None
    constant: bool = False

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)


def need(fine: bool, what: str) -> None:
    """Refuse what is not fine.

    Raises:
        RuleError: with `what`.
    """
    if not fine:
        raise RuleError(what)


def shown(value: Value) -> str:
    """Type and shape for a message."""
    sides = ", ".join("?" if side is None else str(side) for side in value.shape)
    return f"{NAMES[value.dtype]} [{sides}]"


def made(dtype: int, shape: Iterable[Side]) -> Value:
    """A computed value.

    Raises:
        RuleError: it has too many axes, or more elements than any machine could hold.
    """
    sides = tuple(shape)
    need(len(sides) <= GRAPH_AXES.most, f"it makes {len(sides)} axes")
    known = prod(side for side in sides if isinstance(side, int))
    need(known <= GRAPH_ELEMENTS.most, f"it makes {known} elements")
    return Value(dtype, sides)


def axis_of(value: Value, axis: int, extra: int = 0) -> int:
    """An axis counted from the front.

    Raises:
        RuleError: there is none.
    """
    rank = value.rank + extra
    need(-rank <= axis < rank, f"it has no axis {axis} in {shown(value)}")
    return axis % rank


def numbers_of(value: Value, what: str) -> tuple[int, ...]:
    """The whole numbers of a constant.

    Raises:
        RuleError: it is no constant, or no small one.
    """
    found = value.numbers
    need(value.constant and found is not None, f"its {what} are no constant")
    assert found is not None
    return tuple(number for number in found if number is not None)


def axes_of(value: Value, axes: Value, extra: int = 0) -> tuple[int, ...]:
    """Different axes of a value, from a constant, sorted; of one that is to get `extra` more axes,
    those of the result.

    Raises:
        RuleError: they are none.
    """
    need(axes.dtype == INT64 and axes.rank == 1, "its axes are no list of whole numbers")
    given = numbers_of(axes, "axes")
    found = sorted(axis_of(value, axis, extra) for axis in given)
    need(bool(found) and len(set(found)) == len(found), "an axis stands twice")
    return tuple(found)


def same(one: Side, other: Side) -> bool:
    """Whether two sizes may be the same: unless both are numbers, nobody can tell."""
    return not (isinstance(one, int) and isinstance(other, int)) or one == other


def broadcast(values: Sequence[Value]) -> Sides:
    """The shape of an elementwise operation.

    Raises:
        RuleError: the shapes do not go together.
    """
    rank = max(value.rank for value in values)
    padded = [(1,) * (rank - value.rank) + value.shape for value in values]
    return tuple(_together(sides, values) for sides in zip(*padded, strict=True))


def _together(sides: Sequence[Side], values: Sequence[Value]) -> Side:
    wide = {side for side in sides if side != 1}
    fixed = {side for side in wide if isinstance(side, int)}
    need(len(fixed) <= 1, f"{' and '.join(map(shown, values))} do not go together")
    if fixed:
        return fixed.pop()
    if not wide:
        return 1
    return wide.pop() if len(wide) == 1 else None
