"""Which element goes where, in nodes of an OpenVINO graph that only copy.

Chains of Reshape, Transpose, Pad and Slice cut tokens into windows and heads in many ways. Instead
of matching each, NumPy repeats the chain on numbers that name elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.runtime.openvino.rewrites.nodes import constant, dynamic

PAD = -1  # names an element that is padding

Ints = NDArray[np.int64]

_COPIES = ("Reshape", "Transpose", "Pad", "Slice", "Unsqueeze")


def origin(value: Any) -> tuple[Any, list[Any]]:
    """What `value` is a copy of, and the nodes that copy, from there."""
    copies = []
    while is_copy(value.get_node()):
        copies.append(value.get_node())
        value = value.get_node().input_value(0)
    return value, copies[::-1]


def is_copy(node: Any) -> bool:
    """Whether the node only moves elements, as constants tell it to; or adds zeros."""
    if node.get_type_name() not in _COPIES or dynamic(node):
        return False
    if node.get_type_name() == "Reshape":
        return True
    more = [_numbers(node.input_value(i)) for i in range(1, node.get_input_size())]
    if any(value is None for value in more):
        return False
    return node.get_type_name() != "Pad" or _pads_with_zeros(node, *more)


def _pads_with_zeros(node: Any, begin: Any, end: Any, value: Any = None) -> bool:
    longer = begin.min() >= 0 and end.min() >= 0  # less than nothing would be a slice
    zero = value is None or not value.any()
    return bool(longer and zero) and str(node.get_attributes()["pad_mode"]) == "constant"


def _numbers(value: Any) -> NDArray[Any] | None:
    """The numbers of a constant; the steps of a Slice are read as one that is broadcast."""
    node = value.get_node()
    if node.get_type_name() != "Broadcast":
        return constant(value)
    found = constant(node.input_value(0))
    return None if found is None or dynamic(node) else np.broadcast_to(found, value.get_shape())


def replay(copies: list[Any], elements: Ints) -> Ints:
    """What the copies make of an array that names elements; padding is PAD."""
    for node in copies:
        kind = node.get_type_name()
        if kind in ("Reshape", "Unsqueeze"):
            elements = elements.reshape(node.get_output_shape(0))
            continue
        more: list[Any] = [_numbers(node.input_value(i)) for i in range(1, node.get_input_size())]
        if kind == "Transpose":
            elements = elements.transpose(more[0])
        elif kind == "Pad":
            amounts = list(zip(more[0].tolist(), more[1].tolist(), strict=True))
            elements = np.pad(elements, amounts, constant_values=PAD)
        else:
            elements = _sliced(elements, *more)
    return elements


def _sliced(elements: Ints, start: Ints, stop: Ints, step: Ints, axes: Ints | None = None) -> Ints:
    cut = [slice(None)] * elements.ndim
    for index, bounds in enumerate(zip(start, stop, step, strict=True)):
        axis = index if axes is None else int(axes[index])
        cut[axis] = slice(*(int(bound) for bound in bounds))
    return elements[tuple(cut)]
