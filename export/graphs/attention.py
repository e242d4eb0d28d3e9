"""Self-attention of the image encoder -> ONNX nodes: windows, relative positions, adapters."""

from __future__ import annotations

from collections.abc import Sequence

from samedge.bundle.attention_sizes import AttentionSizes
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.layers import (
    array,
    heads,
    key_heads,
    linear,
    merge,
    relative_bias,
    softmax_value,
    split,
)
from samedge.fold import layers as fl


def _shape(layer: fl.RelativeAttention, batch: int) -> AttentionSizes:
    width = layer.qkv.weight.shape[0] // layer.heads
    return AttentionSizes(batch, layer.grid, layer.heads, width, layer.window)


def self_attention(
    g: GraphBuilder, x: str, layer: fl.RelativeAttention, batch: int, path: str
) -> str:
    """`RelativeAttention` of `samedge.fold.layers`; x and the result are [batch, n * n, dim]."""
    shape = _shape(layer, batch)
    g.attention(path, shape)
    qkv = linear(g, x, layer.qkv, f"{path}.qkv")
    parts = split(g, qkv, 3, shape.dim, path)
    along = None
    if layer.windowed:
        q, k, v = (cut(g, part, shape, path) for part in parts)
        tables = _tables(g, layer, path)
        y = uncut(g, _in_windows(g, q, k, v, tables, shape, path), shape, path)
        if layer.depth is not None:
            along = _along_depth(g, (q, k, v), layer.depth, shape, f"{path}.depth")
    else:
        y = _global(g, parts, layer, shape, path)
        if layer.depth is not None:
            whole = [heads(g, part, shape.h, shape.dim, f"{path}.depth") for part in parts]
            along = _along_depth(g, whole, layer.depth, shape, f"{path}.depth")
    y = linear(g, y, layer.proj, f"{path}.proj")
    return y if layer.adapter is None else _adapter(g, y, along, layer, shape.dim, path)


def _adapter(
    g: GraphBuilder, y: str, along: str | None, layer: fl.RelativeAttention, dim: int, path: str
) -> str:
    """The projection's further columns are the adapter's pre-activation."""
    assert layer.adapter is not None
    hidden_dim = layer.proj.weight.shape[1] - dim
    sizes = g.const([dim, hidden_dim], f"split_{dim}_{hidden_dim}")
    y, hidden = g.op("Split", [y, sizes], f"{path}.adapter", outputs=2, axis=-1)
    if along is not None:
        hidden = str(g.op("Concat", [hidden, along], f"{path}.adapter", axis=-1))
    z = linear(g, g.gelu(hidden, f"{path}.adapter"), layer.adapter, f"{path}.adapter")
    return g.add(y, z, f"{path}.adapter")


def _tables(
    g: GraphBuilder, layer: fl.RelativeAttention | fl.DepthBranch, path: str
) -> tuple[str, str]:
    return (
        g.weight(f"{path}.rel_h", array(layer.rel_h)),
        g.weight(f"{path}.rel_w", array(layer.rel_w)),
    )


def _global(
    g: GraphBuilder, parts: list[str], layer: fl.RelativeAttention, s: AttentionSizes, path: str
) -> str:
    q, k, v = parts
    q, v = heads(g, q, s.h, s.dim, path), heads(g, v, s.h, s.dim, path)
    kt = key_heads(g, k, s.h, s.dim, path)
    bias = relative_bias(g, q, (s.h, s.n, s.n, s.d), _tables(g, layer, path), path)
    bias = g.reshape(bias, (s.b, s.h, s.n * s.n, s.n * s.n), path)
    scores = g.add(g.matmul(q, kt, path), bias, path)
    return merge(g, softmax_value(g, scores, v, path), s.dim, path)


def cut(g: GraphBuilder, x: str, s: AttentionSizes, path: str) -> str:
    """Tokens [b, n * n, dim] -> windows, heads first: [windows, h, w * w, d]; padded with zeros."""
    x = g.reshape(x, (s.b, s.n, s.n, s.dim), path)
    if s.pad:
        amounts = g.const([0, 0, 0, 0, 0, s.pad, s.pad, 0], f"pad_{s.pad}")
        x = str(g.op("Pad", [x, amounts], path))
    x = g.reshape(x, (s.b * s.count, s.w, s.count, s.w, s.h, s.d), path)
    x = g.transpose(x, (0, 2, 4, 1, 3, 5), path)
    return g.reshape(x, (s.windows, s.h, s.w * s.w, s.d), path)


def uncut(g: GraphBuilder, y: str, s: AttentionSizes, path: str) -> str:
    """The way back: [windows, h, w * w, d] -> [b, n * n, dim]."""
    y = g.reshape(y, (s.b * s.count, s.count, s.h, s.w, s.w, s.d), path)
    y = g.transpose(y, (0, 3, 1, 4, 2, 5), path)
    side = s.count * s.w
    y = g.reshape(y, (s.b, side, side, s.dim), path)
    if s.pad:
        bounds = [g.const([0, 0], "slice_from"), g.const([s.n, s.n], f"slice_to_{s.n}")]
        y = str(g.op("Slice", [y, *bounds, g.const([1, 2], "slice_axes")], path))
    return g.reshape(y, (s.b, s.n * s.n, s.dim), path)


def _in_windows(
    g: GraphBuilder, q: str, k: str, v: str, tables: tuple[str, str], s: AttentionSizes, path: str
) -> str:
    bias = relative_bias(g, q, (s.h, s.w, s.w, s.d), tables, path)
    bias = g.reshape(bias, (s.windows, s.h, s.w * s.w, s.w * s.w), path)
    scores = g.add(g.matmul(q, g.transpose(k, (0, 1, 3, 2), path), path), bias, path)
    return softmax_value(g, scores, v, path)


def _along_depth(
    g: GraphBuilder, parts: Sequence[str], layer: fl.DepthBranch, s: AttentionSizes, path: str
) -> str:
    """`DepthBranch`: parts are q, k, v as [entries, h, places, d], entries along the batch axis."""
    places, groups = s.w * s.w, s.windows // layer.depth

    def turned(x: str, last: tuple[int, ...]) -> str:
        x = g.reshape(x, (groups, layer.depth, s.h, places, s.d), path)
        x = g.transpose(x, (0, 3, 2, *last), path)
        sizes = [{1: layer.depth, 4: s.d}[axis] for axis in last]
        return g.reshape(x, (groups * places, s.h, *sizes), path)

    q, kt, v = turned(parts[0], (1, 4)), turned(parts[1], (4, 1)), turned(parts[2], (1, 4))
    rows, cols = layer.rel_h.shape[0], layer.rel_w.shape[0]
    bias = relative_bias(g, q, (s.h, rows, cols, s.d), _tables(g, layer, path), path)
    bias = g.reshape(bias, (groups * places, s.h, layer.depth, layer.depth), path)
    y = softmax_value(g, g.add(g.matmul(q, kt, path), bias, path), v, path)
    y = g.reshape(y, (groups, places, s.h, layer.depth, s.d), path)
    y = g.reshape(g.transpose(y, (0, 3, 2, 1, 4), path), (s.windows, s.h, places, s.d), path)
    return linear(g, uncut(g, y, s, path), layer.down, f"{path}.down")
