"""Rewrites of the encoder for OpenVINO's CPU plugin: the same numbers from cheaper operations.

The ONNX files hold the graph that suits every engine. What only this one gains from is done here,
on its own representation, when a model is compiled. docs/performance.md says what each step brings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samedge._openvino import ops
from samedge.runtime.openvino.rewrites.int8 import int8_steps
from samedge.runtime.openvino.rewrites.nodes import ints, only_consumer, replace
from samedge.runtime.openvino.rewrites.windows import attend_from_tokens

CONVOLUTION_CHANNELS = 128
WINOGRAD_CHANNELS = 256  # below, the transforms cost more than the products save

# F(2x2, 3x3): Y = A^T [(G g G^T) * (B^T d B)] A. Lavin & Gray, "Fast Algorithms for Convolutional
# Neural Networks", 2015. All entries are exact in every floating point format.
_INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float64)
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float64)
_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))

Array = NDArray[np.float32]


def optimise(model: Any, precision: str) -> Any:
    """Apply what helps at `precision` to an encoder (an ov.Model, changed in place); return it."""
    for rewrite in steps(precision):
        rewrite(model)
        model.validate_nodes_and_infer_types()
    return model


def steps(precision: str) -> list[Callable[[Any], int]]:
    """The rewrites for "fp32", "bf16" or "int8", in their order; each returns how often it applied.

    What is not quantised in an INT8 graph runs in bfloat16 where the CPU has that.
    """
    if precision == "int8":
        return int8_steps()
    common: list[Callable[[Any], int]] = [split_linear, winograd]
    return [*common, linear_as_convolution if precision == "fp32" else attend_from_tokens]


class _Linear(NamedTuple):
    """x @ weight + bias."""

    x: Any
    weight: Array
    bias: Array | None


def split_linear(model: Any) -> int:
    """MatMul + bias + Split over the last axis -> one MatMul (+ bias) per part.

    Taking interleaved columns apart is a copy; three products of a third of the width are as fast
    as one.

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "VariadicSplit":
            continue
        linear = _linear(node.input_value(0).get_node())
        widths = [output.get_partial_shape()[-1] for output in node.outputs()]
        if linear is None or sum(w.get_length() for w in widths) != linear.weight.shape[1]:
            continue
        start = 0
        for index, (output, width) in enumerate(zip(node.outputs(), widths, strict=True)):
            stop = start + width.get_length()
            name = f"{node.get_friendly_name()}.{index}"
            replace(output, _columns(linear, start, stop, name))
            start = stop
        count += 1
    return count


def _linear(node: Any) -> _Linear | None:
    """The MatMul with constant weights (and bias) that ends in `node`, if it is one."""
    bias = None
    if node.get_type_name() == "Add":
        sides = [node.input_value(i).get_node() for i in (0, 1)]
        sides.sort(key=lambda side: side.get_type_name() == "Constant")
        if sides[1].get_type_name() != "Constant":
            return None
        node, bias = sides[0], sides[1].get_data()
    if node.get_type_name() != "MatMul":
        return None
    weight, attributes = node.input_value(1).get_node(), node.get_attributes()
    if weight.get_type_name() != "Constant":
        return None
    if attributes["transpose_a"] or attributes["transpose_b"] or weight.get_data().ndim != 2:
        return None
    return _Linear(node.input_value(0), weight.get_data(), bias)


def _columns(linear: _Linear, start: int, stop: int, name: str) -> Any:
    part = np.ascontiguousarray(linear.weight[:, start:stop])
    result = ops.matmul(linear.x, ops.constant(part), False, False, name=f"{name}/MatMul")
    bias = None if linear.bias is None else linear.bias[..., start:stop]
    if bias is None or not bias.any():  # folded keys and values have none
        return result
    return ops.add(result, ops.constant(np.ascontiguousarray(bias)), name=f"{name}/Add")


def winograd(model: Any) -> int:
    """Wide 3x3 convolutions -> 16 matrix products of 4/9 of the multiplications, F(2x2, 3x3).

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            kernel = node.input_value(1).get_node()
            if kernel.get_type_name() == "Constant" and _suits(node):
                name = node.get_friendly_name()
                replace(node.output(0), _winograd(node.input_value(0), kernel.get_data(), name))
                count += 1
    return count


def _suits(node: Any) -> bool:
    """A 3x3 convolution with stride 1 and padding 1, wide, on one square image of even side."""
    shape, out = node.input_value(0).get_partial_shape(), node.get_output_partial_shape(0)
    if shape.is_dynamic or out.is_dynamic:
        return False
    attributes = node.get_attributes()
    plain = (
        list(attributes["strides"]) == [1, 1]
        and list(attributes["dilations"]) == [1, 1]
        and list(attributes["pads_begin"]) == list(attributes["pads_end"]) == [1, 1]
        and list(node.input_value(1).get_shape())[2:] == [3, 3]
    )
    batch, channels, height, width = (int(n) for n in shape.get_shape())
    wide = min(channels, int(out.get_shape()[1])) >= WINOGRAD_CHANNELS
    return plain and wide and batch == 1 and height == width and height % 2 == 0


def _winograd(x: Any, kernel: Array, name: str) -> Any:
    """x [1, C, n, n] and kernel [O, C, 3, 3] -> [1, O, n, n]."""
    outputs, channels = kernel.shape[:2]
    size = int(x.get_shape()[2])
    tiles = size // 2
    # The kernels in the transformed domain: one [C, O] matrix for each of the 16 positions.
    domain = np.einsum("ai,bj,ocij->abco", _KERNEL, _KERNEL, kernel.astype(np.float64))
    weights = domain.reshape(16, channels, outputs).astype(np.float32)
    take = input_transform(size)
    y = ops.transpose(x, ints(0, 2, 3, 1))
    y = ops.reshape(y, ints(size, size * channels), False)
    y = ops.matmul(_floats(take.reshape(4 * tiles, size)), y, False, False)
    y = ops.reshape(y, ints(4, 1, tiles, size, channels), False)
    y = ops.matmul(_floats(take.reshape(1, 4, 1, tiles, size)), y, False, False)
    y = ops.reshape(y, ints(16, tiles * tiles, channels), False)
    parts = ops.split(y, ops.constant(np.array(0, np.int64)), 16).outputs()
    products = [
        ops.matmul(
            ops.reshape(part, ints(tiles * tiles, channels), False),
            ops.constant(np.ascontiguousarray(weight)), False, False, name=f"{name}/{i}",
        )
        for i, (part, weight) in enumerate(zip(parts, weights, strict=True))
    ]  # fmt: skip
    rows = []
    for p in range(2):
        cells = [_output_cell(products, p, q) for q in range(2)]
        cells = [ops.reshape(c, ints(tiles, 1, tiles, 1, outputs), False) for c in cells]
        rows.append(ops.concat(cells, 3))
    y = ops.reshape(ops.concat(rows, 1), ints(1, size, size, outputs), False)
    return ops.transpose(y, ints(0, 3, 1, 2), name=name)


def input_transform(size: int) -> NDArray[np.float64]:
    """[4, size/2, size]: row a of tile t, as a matrix over one axis; the zero padding is in it."""
    tiles = size // 2
    matrix = np.zeros((4, tiles, size))
    for t in range(tiles):
        for j in range(4):
            source = 2 * t + j - 1
            if 0 <= source < size:
                matrix[:, t, source] += _INPUT[:, j]
    return matrix


def linear_as_convolution(model: Any) -> int:
    """Wide MatMul (+ bias, + GELU) of tokens -> the same as a 1x1 convolution.

    In float32 OpenVINO hands most matrix products to another library than convolutions, and that
    one is 10 to 20 % slower at these sizes. The transposes around the convolution only say that
    tokens are an image with its channels last; they move nothing.

    Returns:
        How many were rewritten.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        linear, shape = _linear(node), node.get_output_partial_shape(0)
        if linear is None or min(linear.weight.shape) < CONVOLUTION_CHANNELS or shape.is_dynamic:
            continue
        _as_convolution(node, linear, [int(n) for n in shape.get_shape()])
        count += 1
    return count


def _as_convolution(node: Any, linear: _Linear, shape: list[int]) -> None:
    inner, outer = linear.weight.shape
    tokens = int(np.prod(shape[:-1]))
    x = ops.reshape(linear.x, ints(1, tokens, 1, inner), False)
    x = ops.transpose(x, ints(0, 3, 1, 2))
    kernel = np.ascontiguousarray(linear.weight.T)[:, :, None, None]
    name = node.get_friendly_name()
    x = ops.convolution(x, ops.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1], name=name)
    bias = only_consumer(node, "Add")
    if bias is not None:
        found = _linear(bias)
        if found is not None and found.bias is not None and found.bias.size == outer:
            node, values = bias, np.ascontiguousarray(found.bias.reshape(1, outer, 1, 1))
            x = ops.add(x, ops.constant(values), name=node.get_friendly_name())
    gelu = only_consumer(node, "Gelu")
    if gelu is not None:
        node = gelu
        x = ops.gelu(x, gelu.get_attributes()["approximation_mode"])
    x = ops.reshape(ops.transpose(x, ints(0, 2, 3, 1)), ints(*shape), False)
    replace(node.output(0), x)


def _output_cell(products: list[Any], p: int, q: int) -> Any:
    """Output (p, q) of every tile: the products that its two rows of A^T take, with their signs."""
    total = None
    for a in range(4):
        for b in range(4):
            sign = _OUTPUT[p][a] * _OUTPUT[q][b]
            if sign and total is None:
                total = products[4 * a + b]  # the first one's sign is + for all four outputs
            elif sign:
                combine = ops.add if sign > 0 else ops.subtract
                total = combine(total, products[4 * a + b])
    return total


def _floats(values: NDArray[np.float64]) -> Any:
    return ops.constant(np.ascontiguousarray(values, np.float32))
