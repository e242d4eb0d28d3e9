"""Rewrites of INT8 encoders for OpenVINO's CPU plugin.

They expect a graph that was read by `openvino.compile.read_model`: float32 around its Q/DQ, however
the file is typed. Winograd and convolutions in place of linear layers do not apply: both would take
the INT8 products away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops
from samedge.runtime.openvino.rewrites.nodes import (
    constant,
    ints,
    place_channels,
    replace,
)
from samedge.runtime.openvino.rewrites.windows import attend_from_tokens


def int8_steps() -> list[Callable[[Any], int]]:
    """In their order; each takes an ov.Model, changes it in place and returns how often it did."""
    return [
        untransposed_keys,
        split_quantised,
        attend_from_tokens,
        relative_positions,  # these two: what the one before did not know
        bias_as_channels,
        channel_norms,
    ]


def relative_positions(model: Any) -> int:
    """Products of queries with a relative position table -> one plain batched product each.

    `[windows, h, m, n, d] @ [m, d, k]` repeats the table over windows and heads. OpenVINO has that
    in float32 only, between two conversions; `[m, windows h n, d] @ [m, d, k]` it computes in
    bfloat16, and the transposes cost less than the conversions did.

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or any(node.get_attributes().values()):
            continue
        x, table = node.input_value(0), node.input_value(1)
        if table.get_node().get_type_name() != "Constant" or len(table.get_shape()) != 3:
            continue
        if x.get_partial_shape().is_dynamic or len(x.get_shape()) != 5:
            continue
        windows, heads, m, n, d = (int(size) for size in x.get_shape())
        y = ops.transpose(x, ints(2, 0, 1, 3, 4))
        y = ops.reshape(y, ints(m, windows * heads * n, d), False)
        y = ops.matmul(y, table, False, False, name=node.get_friendly_name())
        y = ops.reshape(y, ints(m, windows, heads, n, -1), False)
        replace(node.output(0), ops.transpose(y, ints(1, 2, 0, 3, 4)))
        count += 1
    return count


def untransposed_keys(model: Any) -> int:
    """Queries times transposed keys -> the product that transposes its second factor itself.

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or any(node.get_attributes().values()):
            continue
        turn = node.input_value(1).get_node()
        if turn.get_type_name() != "Transpose":
            continue
        order = turn.input_value(1).get_node()
        if order.get_type_name() != "Constant":
            continue
        keys = turn.input_value(0)
        axes = order.get_data().tolist()
        if axes == [0, 2, 3, 1]:  # [B, T, h, d] -> [B, h, d, T]
            keys = ops.transpose(keys, ints(0, 2, 1, 3)).output(0)
        elif axes != [0, 1, 3, 2]:
            continue
        product = ops.matmul(node.input_value(0), keys, False, True, name=node.get_friendly_name())
        replace(node.output(0), product)
        count += 1
    return count


def bias_as_channels(model: Any) -> int:
    """Scores plus a bias by row and by column -> longer queries and keys.

    `q k^T + rows + cols = [q, rows, cols] [k, row of the key, column of the key]^T`, where the
    further channels of keys are ones and zeros. The bias of all pairs is then never in memory.

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Add" or node.get_output_partial_shape(0).is_dynamic:
            continue
        scores, bias = (node.input_value(i).get_node() for i in (0, 1))
        parts = _rows_and_columns(bias)
        if parts is None or scores.get_type_name() != "MatMul":
            continue
        if not scores.get_attributes()["transpose_b"] or scores.get_attributes()["transpose_a"]:
            continue
        batch, heads, queries, _ = (int(n) for n in node.get_output_shape(0))
        sides = [int(part.get_shape()[-1]) for part in parts]
        flat = [ops.reshape(part, ints(batch, heads, queries, side), False)
                for part, side in zip(parts, sides, strict=True)]  # fmt: skip
        places = np.broadcast_to(
            place_channels(*sides), (batch, heads, sides[0] * sides[1], sum(sides))
        )
        longer = ops.concat([scores.input_value(0), *flat], -1)
        keys = ops.concat([scores.input_value(1), ops.constant(np.ascontiguousarray(places))], -1)
        product = ops.matmul(longer, keys, False, True, name=scores.get_friendly_name())
        replace(node.output(0), product)
        count += 1
    return count


def _rows_and_columns(node: Any) -> tuple[Any, Any] | None:
    """`[.., h]` and `[.., w]` behind `Reshape(Unsqueeze(rows, -1) + Unsqueeze(cols, -2))`."""
    if node.get_type_name() != "Reshape" or node.input_value(0).get_partial_shape().is_dynamic:
        return None
    total = node.input_value(0).get_node()
    if total.get_type_name() != "Add" or len(total.get_output_shape(0)) != 6:
        return None
    first, second = (total.input_value(i) for i in (0, 1))
    if first.get_shape()[-1] != 1 or second.get_shape()[-2] != 1:
        return None
    wide = [value.get_node() for value in (first, second)]
    if any(one.get_type_name() not in ("Unsqueeze", "Reshape") for one in wide):
        return None
    return wide[0].input_value(0), wide[1].input_value(0)


def channel_norms(model: Any) -> int:
    """x / sqrt(mean of squares over channels + eps) -> one NormalizeL2, and a factor.

    `sqrt(n) x / sqrt(sum of squares + n eps)`: the squares are never in memory, root and quotient
    are taken once per pixel, and what follows (scale, shift, GELU, rounding) is in the same pass.

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Divide":
            continue
        x = node.input_value(0)
        eps = _mean_square(node.input_value(1), x)
        if eps is None:
            continue
        channels = x.get_partial_shape()[1].get_length()
        y = ops.normalize_l2(x, ints(1), eps * channels, "add", name=node.get_friendly_name())
        replace(node.output(0), ops.multiply(y, ops.constant(np.float32(channels**0.5))))
        count += 1
    return count


def _mean_square(value: Any, x: Any) -> float | None:
    """eps, if the value is sqrt(mean of x^2 over axis 1 + eps) and x is [N, C, H, W]."""
    shape = x.get_partial_shape()
    nodes = [value.get_node()]
    for kind in ("Sqrt", "Add", "ReduceMean", "Multiply"):
        if nodes[-1].get_type_name() != kind:
            return None
        nodes.append(nodes[-1].input_value(0).get_node())
    _, total, mean, square, _ = nodes
    eps, axes = constant(total.input_value(1)), constant(mean.input_value(1))
    if any(square.input_value(i) != x for i in (0, 1)) or eps is None or axes is None:
        return None
    if shape.rank.get_length() != 4 or shape[1].is_dynamic or axes.reshape(-1).tolist() != [1]:
        return None
    return float(eps.item()) if eps.size == 1 and mean.get_attributes()["keep_dims"] else None


class _Quantised(NamedTuple):
    """x @ (weight * scales) + bias, with the weight as int8 numbers."""

    x: Any
    weight: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    name: str


def split_quantised(model: Any) -> int:
    """A quantised MatMul + bias + Split over the last axis -> one quantised product per part.

    Every part of the weight takes its own numbers and scales with it, so nothing is rounded anew.

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "VariadicSplit":
            continue
        widths = [output.get_partial_shape()[-1] for output in node.outputs()]
        linear = _quantised(node.input_value(0).get_node())
        if linear is None or any(width.is_dynamic for width in widths):
            continue
        if sum(width.get_length() for width in widths) != linear.weight.shape[1]:
            continue
        start = 0
        for index, (output, width) in enumerate(zip(node.outputs(), widths, strict=True)):
            stop = start + width.get_length()
            replace(output, _part(linear, slice(start, stop), index))
            start = stop
        count += 1
    return count


def _part(linear: _Quantised, columns: slice, index: int) -> Any:
    weight = ops.constant(np.ascontiguousarray(linear.weight[:, columns]))
    scales = ops.constant(np.ascontiguousarray(linear.scales[None, columns]))
    numbers = ops.multiply(ops.convert(weight, "f32"), scales)
    name = f"{linear.name}.{index}"
    result = ops.matmul(linear.x, numbers, False, False, name=name)
    if linear.bias is None or not linear.bias[..., columns].any():
        return result
    bias = ops.constant(np.ascontiguousarray(linear.bias[..., columns]))
    return ops.add(result, bias, name=f"{name}/Add")


def _quantised(node: Any) -> _Quantised | None:
    """The quantised linear layer that ends in `node`, if it is one."""
    bias = None
    if node.get_type_name() == "Add":
        bias = constant(node.input_value(1))
        node = node.input_value(0).get_node()
        if bias is None:
            return None
    if node.get_type_name() != "MatMul" or any(node.get_attributes().values()):
        return None
    found = _dequantised(node.input_value(1))
    if found is None or found[0].ndim != 2 or found[1].size != found[0].shape[1]:
        return None
    weight, scales = found
    return _Quantised(node.input_value(0), weight, scales, bias, node.get_friendly_name())


def _dequantised(value: Any) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """int8 numbers and flat scales behind `Convert(int8 constant) * scales`."""
    node = value.get_node()
    if node.get_type_name() != "Multiply":
        return None
    convert, scales = node.input_value(0).get_node(), constant(node.input_value(1))
    if convert.get_type_name() != "Convert" or scales is None:
        return None
    weight = constant(convert.input_value(0))
    if weight is None or weight.dtype != np.int8:
        return None
    return weight, scales.reshape(-1).astype(np.float32)
