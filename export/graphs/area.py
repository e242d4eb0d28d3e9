"""OpenCV's area resize in the encoder graph: `samedge.geometry.area.resize_area`, step by step."""

from __future__ import annotations

import numpy as np
import onnx

from samedge.export.graphs.builder import GraphBuilder
from samedge.geometry.area import ACROSS, AREA_TAPS, DOWN, FIXED_TAPS, PART, STEPS

PATH = "preprocess.area"


def area_resize(g: GraphBuilder, x: str, rows: str, cols: str) -> str:
    """[..., K, H, W] -> [..., K, S, S], bit for bit.

    Args:
        g: the graph.
        x: whole grey levels, float32.
        rows, cols: [2, S, H] and [2, S, W]; see `samedge.geometry.area.area_planes`.
    """
    path = f"{PATH}.cols"
    index, weights, _ = _taps(g, cols, path)
    fixed = g.op("Greater", [_largest(g, cols, [0, 1, 2], path), _number(g, 1.0)], path)
    across = _sum(g, [_term(g, x, index, weights, t, -1, path) for t in range(AREA_TAPS)], path)
    cut = str(g.op("Floor", [_divided(g, across, ACROSS, path)], path))
    across = str(g.op("Where", [fixed, cut, across], path))

    path = f"{PATH}.rows"
    index, weights, factor = _taps(g, rows, path)
    means = _sum(g, [_term(g, across, index, weights, t, -2, path) for t in range(AREA_TAPS)], path)
    means = str(g.op("Round", [g.mul(means, factor, path)], path))
    path = f"{PATH}.fixed"
    terms = [_fixed_term(g, across, index, weights, t, path) for t in range(FIXED_TAPS)]
    steps = g.add(_sum(g, terms, path), _number(g, 2.0), path)
    levels = str(g.op("Floor", [_divided(g, steps, STEPS, path)], path))
    return str(g.op("Where", [fixed, levels, means], path))


def _taps(g: GraphBuilder, planes: str, path: str) -> tuple[list[str], list[str], str]:
    """Places and coefficients of tap 0, 1, ... of every sample, [S] each; factors [S, 1]."""
    coefficients, firsts = (
        str(g.op("Gather", [planes, g.const(np.int64(i), f"plane_{i}")], path)) for i in (0, 1)
    )
    first = str(g.op("ArgMax", [firsts], path, axis=1, keepdims=1))
    factor = _largest(g, firsts, [1], path)
    place = g.add(first, g.const(np.arange(AREA_TAPS)[None], "taps"), path)
    length = g.op("Shape", [coefficients], path, start=1, end=2)
    end = g.op("Sub", [length, g.const([1], "one")], path)
    index = str(g.op("Min", [place, end], path))
    weights = g.op("GatherElements", [coefficients, index], path, axis=1)
    there = g.op("Cast", [g.op("Less", [place, length], path)], path, to=onnx.TensorProto.FLOAT)
    weights = g.mul(weights, there, path)
    each = [g.const(np.int64(t), f"tap_{t}") for t in range(AREA_TAPS)]
    return (
        [str(g.op("Gather", [index, t], path, axis=1)) for t in each],
        [str(g.op("Gather", [weights, t], path, axis=1)) for t in each],
        factor,
    )


def _term(
    g: GraphBuilder, x: str, index: list[str], weights: list[str], tap: int, axis: int, path: str
) -> str:
    """One tap's product along an axis.

    No product is negative, so Relu changes none. It stands between the product and the sum because
    engines fuse these two into one operation that does not round in between, as OpenCV does.
    """
    weight = weights[tap]
    if axis == -2:
        weight = str(g.op("Unsqueeze", [weight, g.const([1], "one")], path))
    taken = str(g.op("Gather", [x, index[tap]], path, axis=axis))
    return str(g.op("Relu", [g.mul(taken, weight, path)], path))


def _fixed_term(
    g: GraphBuilder, x: str, index: list[str], weights: list[str], tap: int, path: str
) -> str:
    """`floor(x * weight / 2^16)` down the columns, of whole numbers whose product may be larger
    than float32 counts to."""
    weight = str(g.op("Unsqueeze", [weights[tap], g.const([1], "one")], path))
    taken = str(g.op("Gather", [x, index[tap]], path, axis=-2))
    high = str(g.op("Floor", [_divided(g, taken, PART, path)], path))
    low = str(g.op("Sub", [taken, g.mul(high, _number(g, PART), path)], path))
    carry = str(g.op("Floor", [_divided(g, g.mul(weight, low, path), PART, path)], path))
    total = g.add(g.mul(weight, high, path), carry, path)
    return str(g.op("Floor", [_divided(g, total, DOWN, path)], path))


def _sum(g: GraphBuilder, terms: list[str], path: str) -> str:
    """Of all terms, from the first to the last."""
    total = terms[0]
    for term in terms[1:]:
        total = g.add(total, term, path)
    return total


def _largest(g: GraphBuilder, x: str, axes: list[int], path: str) -> str:
    return str(g.op("ReduceMax", [x, g.const(axes, "axes")], path, keepdims=1))


def _divided(g: GraphBuilder, x: str, power: float, path: str) -> str:
    """x by a power of two, exactly."""
    return g.mul(x, _number(g, 1.0 / power), path)


def _number(g: GraphBuilder, value: float) -> str:
    return g.const(np.float32(value), f"area_{value:g}")
