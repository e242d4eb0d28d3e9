"""The operators that samedge's exporters write: what each takes and gives.

An operator that is not in `RULES`, another number of inputs, an attribute that is not written, a
type or a shape that does not go together: each of these ends the engines' own parsers by a crash
sooner or later, so it never gets there. Definitions: ONNX operators, opset 20.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from samedge.bundle.graphs.model import BOOL, INT8, INT64, ITEMSIZE, Node
from samedge.bundle.graphs.values import (
    FLOATS,
    INTEGERS,
    LISTED,
    RuleError,
    Side,
    Value,
    axes_of,
    axis_of,
    broadcast,
    made,
    need,
    numbers_of,
    same,
    shown,
)

Given = Sequence[Value]
Attributes = Mapping[str, Any]
_NUMBERS = (*FLOATS, *INTEGERS)


@dataclass(frozen=True)
class Rule:
    """One operator.

    Attributes:
        result: computes what it gives from what it takes, its attributes and how many results it
            has.
        inputs: fewest and most.
        attributes: name -> type ("int", "float", "ints"); all others are refused.
        required: attributes that it cannot do without.
        outputs: fewest and most.
    """

    result: Callable[[Given, Attributes, int], list[Value]]
    inputs: tuple[int, int]
    attributes: Mapping[str, type]
    required: frozenset[str] = frozenset()
    outputs: tuple[int, int] = (1, 1)


def results(node: Node, given: Given) -> list[Value]:
    """What a node gives, from what it takes.

    Raises:
        RuleError: no exporter of samedge writes such a node.
    """
    rule = RULES.get(node.operator)
    if rule is None:
        raise RuleError(f"{node.operator or 'no'} is no operator that samedge's graphs have")
    low, high = rule.inputs
    need(low <= len(given) <= high, f"it takes {len(given)} inputs, expected {_span(low, high)}")
    low, high = rule.outputs
    count = len(node.outputs)
    need(low <= count <= high, f"it has {count} outputs, expected {_span(low, high)}")
    for name, value in node.attributes.items():
        wanted = rule.attributes.get(name)
        need(wanted is not None, f"it has the attribute {name!r}, which samedge never writes")
        need(type(value) is wanted, f"its attribute {name!r} is of another type")
    lacking = sorted(rule.required - node.attributes.keys())
    need(not lacking, f"it lacks the attribute {', '.join(lacking)}")
    return rule.result(given, node.attributes, count)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _of(given: Given, dtypes: Sequence[int]) -> int:
    """The element type that all values have.

    Raises:
        RuleError: they have several, or another than these.
    """
    found = {value.dtype for value in given}
    need(
        len(found) == 1 and found <= set(dtypes),
        f"it takes {' and '.join(map(shown, given))}, whose types do not go together",
    )
    return found.pop()


def _like(dtypes: Sequence[int]) -> Callable[[Given, Attributes, int], list[Value]]:
    def result(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
        return [made(_of(given, dtypes), given[0].shape)]

    return result


def _identity(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    return [Value(given[0].dtype, given[0].shape, given[0].numbers)]


def _elementwise(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    return [made(_of(given, _NUMBERS), broadcast(given))]


def _comparison(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    _of(given, _NUMBERS)
    return [made(BOOL, broadcast(given))]


def _where(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    need(given[0].dtype == BOOL, f"its condition is {shown(given[0])}")
    return [made(_of(given[1:], _NUMBERS), broadcast(given))]


def _cast(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    need(attributes["to"] in ITEMSIZE, "it casts to a type that samedge's graphs do not have")
    return [made(attributes["to"], given[0].shape)]


def _matmul(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    dtype, (left, right) = _of(given, FLOATS), given
    together = f"{shown(left)} and {shown(right)} are no matrices that can be multiplied"
    need(left.rank >= 2 and right.rank >= 2, together)
    need(same(left.shape[-1], right.shape[-2]), together)
    stacked = broadcast([Value(dtype, left.shape[:-2]), Value(dtype, right.shape[:-2])])
    return [made(dtype, (*stacked, left.shape[-2], right.shape[-1]))]


def _conv(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    dtype, (image, kernel) = _of(given, FLOATS), given[:2]
    need(image.rank == 4 and kernel.rank == 4, f"{shown(image)} by {shown(kernel)} is no image")
    group = attributes.get("group", 1)
    channels, each = image.shape[1], kernel.shape[1]
    fits = isinstance(channels, int) and isinstance(each, int) and each * group == channels
    need(fits and group > 0, f"{shown(image)} does not have the channels of {shown(kernel)}")
    if len(given) == 3:
        bias = given[2]
        need(bias.rank == 1 and same(bias.shape[0], kernel.shape[0]), f"its bias is {shown(bias)}")
    need(kernel.shape[2:] == attributes["kernel_shape"], f"its kernel is {shown(kernel)}")
    return [made(dtype, (image.shape[0], kernel.shape[0], *_slid(image, attributes)))]


def _max_pool(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    image = given[0]
    need(image.rank == 4, f"it takes {shown(image)}, which is no image")
    return [made(_of(given, FLOATS), (*image.shape[:2], *_slid(image, attributes)))]


def _slid(image: Value, attributes: Attributes) -> list[Side]:
    """Height and width after a kernel slid over an image."""
    kernel = attributes["kernel_shape"]
    strides = attributes.get("strides", (1, 1))
    pads = attributes.get("pads", (0, 0, 0, 0))
    need((len(kernel), len(strides), len(pads)) == (2, 2, 4), "its kernel is not one of two axes")
    need(min(*kernel, *strides) > 0 and max(*kernel, *strides) <= 1024, "its kernel has no size")
    need(all(0 <= pad < 1024 for pad in pads), "its padding is none")
    sides: list[Side] = []
    for at, side in enumerate(image.shape[2:]):
        if not isinstance(side, int):
            sides.append(None)
            continue
        room = side + pads[at] + pads[at + 2] - kernel[at]
        need(room >= 0, f"its kernel is larger than {shown(image)}")
        sides.append(room // strides[at] + 1)
    return sides


def _layer_norm(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    dtype, axis = _of(given, FLOATS), axis_of(given[0], attributes.get("axis", -1))
    for value in given[1:]:
        need(value.shape == given[0].shape[axis:], f"it scales {shown(given[0])} by {shown(value)}")
    return [made(dtype, given[0].shape)]


def _softmax(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    axis_of(given[0], attributes.get("axis", -1))
    return [made(_of(given, FLOATS), given[0].shape)]


def _reduce(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    dtype, axes = _of(given[:1], _NUMBERS), axes_of(given[0], given[1])
    return [made(dtype, _reduced(given[0], axes, attributes.get("keepdims", 1)))]


def _arg_max(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    _of(given, FLOATS)
    axis = axis_of(given[0], attributes["axis"])
    return [made(INT64, _reduced(given[0], (axis,), attributes.get("keepdims", 1)))]


def _reduced(value: Value, axes: Sequence[int], keep: int) -> list[Side]:
    need(keep in (0, 1), f"its attribute 'keepdims' is {keep}")
    sides = [(at, 1 if at in axes else side) for at, side in enumerate(value.shape)]
    return [side for at, side in sides if keep or at not in axes]


def _concat(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    dtype, first = _of(given, tuple(ITEMSIZE)), given[0]
    axis = axis_of(first, attributes["axis"])
    for value in given:
        others = (
            s for at, s in enumerate(zip(first.shape, value.shape, strict=False)) if at != axis
        )
        fits = value.rank == first.rank and all(same(*pair) for pair in others)
        need(fits, f"{shown(first)} and {shown(value)} cannot be joined")
    joined = [value.shape[axis] for value in given]
    total = sum(s for s in joined if isinstance(s, int)) if _all_int(joined) else None
    shape = [total if at == axis else side for at, side in enumerate(first.shape)]
    result = made(dtype, shape)
    listed = all(value.numbers is not None for value in given)
    if result.rank == 1 and listed and total is not None and total <= LISTED:
        numbers = tuple(n for value in given for n in value.numbers or ())
        return [Value(dtype, result.shape, numbers)]
    return [result]


def _all_int(sides: Sequence[Side]) -> bool:
    return all(isinstance(side, int) for side in sides)


def _gather(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    data, index = given
    axis = axis_of(data, attributes.get("axis", 0))
    need(index.dtype in INTEGERS, f"it takes elements by {shown(index)}")
    side = data.shape[axis]
    if index.constant and isinstance(side, int):
        inside = all(-side <= number < side for number in numbers_of(index, "indices"))
        need(inside, f"it takes elements that {shown(data)} does not have")
    return [made(data.dtype, (*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]))]


def _gather_elements(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    data, index = given
    axis = axis_of(data, attributes.get("axis", 0))
    need(index.dtype in INTEGERS, f"it takes elements by {shown(index)}")
    fits = index.rank == data.rank and all(
        i == axis or not (isinstance(own, int) and isinstance(side, int)) or own <= side
        for i, (own, side) in enumerate(zip(index.shape, data.shape, strict=False))
    )
    need(fits, f"it takes elements of {shown(data)} by {shown(index)}")
    return [made(data.dtype, index.shape)]


def _sizes(value: Value, what: str) -> tuple[int | None, ...]:
    """A list of sizes, of which some may not be known."""
    listed = value.dtype == INT64 and value.rank == 1 and value.numbers is not None
    need(listed, f"its {what} is no list of sizes")
    assert value.numbers is not None
    return value.numbers


def _expand(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    sizes = _sizes(given[1], "shape")
    need(all(size is None or size > 0 for size in sizes), "its shape has a size below one")
    return [made(given[0].dtype, broadcast([given[0], Value(given[0].dtype, sizes)]))]


def _reshape(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    data, sizes = given[0], _sizes(given[1], "shape")
    need(sizes.count(-1) <= 1, "its shape is none")
    sides: list[Side] = []
    for at, size in enumerate(sizes):
        need(size is None or size >= -1, "its shape has a negative size")
        need(size != 0 or at < data.rank, "its shape keeps an axis that is not there")
        sides.append(data.shape[at] if size == 0 else size)
    if _all_int(data.shape) and _all_int(sides):
        whole = prod(side for side in data.shape if isinstance(side, int))
        others = prod(side for side in sides if isinstance(side, int) and side != -1)
        fits = whole == others if -1 not in sides else others > 0 and whole % others == 0
        need(fits, f"{shown(data)} has other than {list(sides)} elements")
        sides = [whole // others if side == -1 else side for side in sides]
    return [made(data.dtype, [None if side == -1 else side for side in sides])]


def _shape(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    rank = given[0].rank
    start, end = attributes.get("start", 0), attributes.get("end", rank)
    need(0 <= start < end <= rank, f"it takes sizes that {shown(given[0])} does not have")
    sides = given[0].shape[start:end]
    numbers = tuple(side if isinstance(side, int) else None for side in sides)
    return [Value(INT64, (len(sides),), numbers)]


def _slice(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    data, bounds = given[0], given[1:]
    need(all(b.dtype == INT64 and b.rank == 1 for b in bounds), "its bounds are no whole numbers")
    starts, ends = (numbers_of(value, "bounds") for value in bounds[:2])
    axes = numbers_of(bounds[2], "axes")
    steps = numbers_of(bounds[3], "steps") if len(bounds) > 3 else (1,) * len(axes)
    even = len({len(starts), len(ends), len(axes), len(steps)}) == 1
    counted = [axis_of(data, axis) for axis in axes]
    need(even and len(set(counted)) == len(counted), "it has not one bound for each axis")
    need(all(step > 0 for step in steps), "it goes backwards")
    sides = list(data.shape)
    for axis, start, end, step in zip(counted, starts, ends, steps, strict=True):
        side = data.shape[axis]
        sides[axis] = len(range(side)[start:end:step]) if isinstance(side, int) else None
        need(sides[axis] != 0, f"nothing of {shown(data)} is left")
    return [made(data.dtype, sides)]


def _split(given: Given, attributes: Attributes, count: int) -> list[Value]:
    data, axis = given[0], axis_of(given[0], attributes.get("axis", 0))
    sizes = numbers_of(given[1], "sizes")
    need(given[1].dtype == INT64 and len(sizes) == count, "it has not one size for each output")
    need(min(sizes, default=0) > 0, "one of its parts is empty")
    need(same(data.shape[axis], sum(sizes)), f"its parts are not those of {shown(data)}")
    shapes = [(*data.shape[:axis], size, *data.shape[axis + 1 :]) for size in sizes]
    return [made(data.dtype, shape) for shape in shapes]


def _squeeze(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    data, axes = given[0], axes_of(given[0], given[1])
    need(all(data.shape[axis] == 1 for axis in axes), f"{shown(data)} has no axis to leave out")
    return [made(data.dtype, [s for at, s in enumerate(data.shape) if at not in axes])]


def _unsqueeze(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    data = given[0]
    need(given[1].rank == 1, "its axes are no list")
    count = len(numbers_of(given[1], "axes"))
    axes = axes_of(data, given[1], count)
    sides = iter(data.shape)
    return [made(data.dtype, [1 if at in axes else next(sides) for at in range(data.rank + count)])]


def _transpose(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    data, order = given[0], attributes["perm"]
    need(sorted(order) == list(range(data.rank)), f"{list(order)} is no order of {shown(data)}")
    return [made(data.dtype, [data.shape[at] for at in order])]


def _pad(given: Given, _attributes: Attributes, _count: int) -> list[Value]:
    data, pads = given[0], numbers_of(given[1], "amounts")
    need(given[1].dtype == INT64 and len(pads) == 2 * data.rank, "it has not two amounts per axis")
    need(all(0 <= pad < 1 << 16 for pad in pads), "one of its amounts is none")
    if len(given) > 2:
        need(given[2].dtype == data.dtype and given[2].rank == 0, f"it pads with {shown(given[2])}")
    sides: list[Side] = []
    for at, side in enumerate(data.shape):
        more = pads[at] + pads[at + data.rank]
        sides.append(side + more if isinstance(side, int) else side if not more else None)
    return [made(data.dtype, sides)]


def _quantize(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    _of(given[:2], FLOATS)
    _scales(given, attributes)
    return [made(INT8, given[0].shape)]


def _dequantize(given: Given, attributes: Attributes, _count: int) -> list[Value]:
    need(given[0].dtype == INT8, f"it takes {shown(given[0])}")
    _scales(given, attributes)
    return [made(_of(given[1:2], FLOATS), given[0].shape)]


def _scales(given: Given, attributes: Attributes) -> None:
    """One scale, or one for each place on an axis, and as many zero points."""
    data, scale = given[:2]
    fits = scale.rank == 0
    if scale.rank == 1:
        axis = axis_of(data, attributes.get("axis", 1))
        fits = same(data.shape[axis], scale.shape[0]) or scale.shape == (1,)
    need(fits, f"it scales {shown(data)} by {shown(scale)}")
    for zero in given[2:]:
        fits = zero.dtype == INT8 and zero.shape == scale.shape
        need(fits, f"its zero point is {shown(zero)} beside {shown(scale)}")


_FLOATING = Rule(_like(FLOATS), (1, 1), {})
_BINARY = Rule(_elementwise, (2, 2), {})
_COMPARING = Rule(_comparison, (2, 2), {})
_REDUCING = Rule(_reduce, (2, 2), {"keepdims": int})
_AXIS: Mapping[str, type] = {"axis": int}
_SLIDING: Mapping[str, type] = {"kernel_shape": tuple, "strides": tuple, "pads": tuple}
_KERNEL = frozenset({"kernel_shape"})

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        ("Cos", "Exp", "Floor", "Gelu", "Relu", "Round", "Sigmoid", "Sin", "Sqrt"), _FLOATING
    ),
    **dict.fromkeys(("Add", "Div", "Max", "Min", "Mul", "Sub"), _BINARY),
    **dict.fromkeys(("Equal", "Greater", "Less"), _COMPARING),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _REDUCING),
    "Abs": Rule(_like(_NUMBERS), (1, 1), {}),
    "ArgMax": Rule(_arg_max, (1, 1), {"axis": int, "keepdims": int}, frozenset({"axis"})),
    "Cast": Rule(_cast, (1, 1), {"to": int}, frozenset({"to"})),
    "Concat": Rule(_concat, (1, 64), _AXIS, frozenset({"axis"})),
    "Conv": Rule(_conv, (2, 3), {**_SLIDING, "group": int}, _KERNEL),
    "DequantizeLinear": Rule(_dequantize, (2, 3), _AXIS),
    "Expand": Rule(_expand, (2, 2), {}),
    "Gather": Rule(_gather, (2, 2), _AXIS),
    "GatherElements": Rule(_gather_elements, (2, 2), _AXIS),
    "Identity": Rule(_identity, (1, 1), {}),
    "LayerNormalization": Rule(_layer_norm, (3, 3), {"axis": int, "epsilon": float}),
    "MatMul": Rule(_matmul, (2, 2), {}),
    "MaxPool": Rule(_max_pool, (1, 1), _SLIDING, _KERNEL),
    "Pad": Rule(_pad, (2, 3), {}),
    "QuantizeLinear": Rule(_quantize, (3, 3), _AXIS),
    "Reshape": Rule(_reshape, (2, 2), {}),
    "Shape": Rule(_shape, (1, 1), {"start": int, "end": int}),
    "Slice": Rule(_slice, (4, 5), {}),
    "Softmax": Rule(_softmax, (1, 1), _AXIS),
    "Split": Rule(_split, (2, 2), _AXIS, outputs=(1, 64)),
    "Squeeze": Rule(_squeeze, (2, 2), {}),
    "Transpose": Rule(_transpose, (1, 1), {"perm": tuple}, frozenset({"perm"})),
    "Unsqueeze": Rule(_unsqueeze, (2, 2), {}),
    "Where": Rule(_where, (3, 3), {}),
}
