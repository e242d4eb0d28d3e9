"""FoldedModel layers -> ONNX nodes: one function per layer of `samedge.fold.layers`."""

from __future__ import annotations

import numpy as np
import torch

from samedge.export.graphs.builder import Array, GraphBuilder
from samedge.fold import layers as fl


def array(x: torch.Tensor) -> Array:
    """float32 numpy array of a weight."""
    return x.detach().cpu().numpy()


def linear(g: GraphBuilder, x: str, layer: fl.Linear, path: str) -> str:
    """x @ weight + bias."""
    y = g.matmul(x, g.weight(f"{path}.weight", array(layer.weight)), path)
    if layer.bias is None:
        return y
    return g.add(y, g.weight(f"{path}.bias", array(layer.bias)), path)


def norm(g: GraphBuilder, x: str, layer: fl.Norm, path: str) -> str:
    """LayerNorm over the last axis."""
    weight = g.weight(f"{path}.weight", array(layer.weight))
    bias = g.weight(f"{path}.bias", array(layer.bias))
    return str(g.op("LayerNormalization", [x, weight, bias], path, axis=-1, epsilon=layer.eps))


def mlp(g: GraphBuilder, x: str, layer: fl.Mlp, path: str) -> str:
    """lin1, GELU, lin2."""
    return linear(g, g.gelu(linear(g, x, layer.lin1, f"{path}.lin1"), path), layer.lin2,
                  f"{path}.lin2")  # fmt: skip


def rms_norm(g: GraphBuilder, x: str, layer: fl.RmsNorm, path: str, axis: int) -> str:
    """x / sqrt(mean(x^2) + eps) * weight + bias over `axis` (1 of NCHW, or the last)."""
    shape = (-1, 1, 1) if axis == 1 else (-1,)
    weight = g.weight(f"{path}.weight", array(layer.weight).reshape(shape))
    bias = g.weight(f"{path}.bias", array(layer.bias).reshape(shape))
    square = g.op("ReduceMean", [g.mul(x, x, path), g.const([axis], f"axis_{axis}")], path)
    eps = g.const(np.float32(layer.eps), "eps_1e-6")
    root = g.op("Sqrt", [g.add(square, eps, path)], path)
    return g.add(g.mul(g.op("Div", [x, root], path), weight, path), bias, path)


def conv_norm(g: GraphBuilder, x: str, layer: fl.ConvNorm, path: str) -> str:
    """3x3 convolution, RMS norm over channels, optional GELU; x is [B, C, y, x]."""
    weight = g.weight(f"{path}.weight", array(layer.weight))
    y = str(g.op("Conv", [x, weight], path, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    y = rms_norm(g, y, layer.norm, f"{path}.norm", axis=1)
    return g.gelu(y, path) if layer.activation else y


def heads(g: GraphBuilder, x: str, count: int, dim: int, path: str) -> str:
    """[B, T, h*d] -> [B, h, T, d]."""
    return g.transpose(g.reshape(x, (0, -1, count, dim // count), path), (0, 2, 1, 3), path)


def key_heads(g: GraphBuilder, x: str, count: int, dim: int, path: str) -> str:
    """[B, T, h*d] -> [B, h, d, T], ready to be multiplied by queries."""
    return g.transpose(g.reshape(x, (0, -1, count, dim // count), path), (0, 2, 3, 1), path)


def split(g: GraphBuilder, x: str, parts: int, width: int, path: str) -> list[str]:
    """The last axis in `parts` equal parts of `width`."""
    sizes = g.const([width] * parts, f"split_{width}_{parts}")
    return [str(y) for y in g.op("Split", [x, sizes], path, outputs=parts, axis=-1)]


def softmax_value(g: GraphBuilder, scores: str, v: str, path: str) -> str:
    """softmax(scores) @ v."""
    return g.matmul(str(g.op("Softmax", [scores], path, axis=-1)), v, path)


def merge(g: GraphBuilder, x: str, dim: int, path: str) -> str:
    """[B, h, T, d] -> [B, T, h*d]."""
    return g.reshape(g.transpose(x, (0, 2, 1, 3), path), (0, -1, dim), path)


def attention(g: GraphBuilder, q: str, k: str, v: str, count: int, dim: int, path: str) -> str:
    """Plain attention of [B, T, dim] queries, keys and values."""
    qh, vh = heads(g, q, count, dim, path), heads(g, v, count, dim, path)
    kt = key_heads(g, k, count, dim, path)
    return merge(g, softmax_value(g, g.matmul(qh, kt, path), vh, path), dim, path)


def relative_bias(
    g: GraphBuilder, q: str, shape: tuple[int, int, int, int], tables: tuple[str, str], path: str
) -> str:
    """Bias [B, h, m*n, w*w] of heads-first queries q [B, h, m*n, d]; shape = (h, m, n, d)."""
    h, m, n, d = shape
    grid = g.reshape(q, (-1, h, m, n, d), path)
    rows = g.matmul(grid, tables[0], f"{path}.rel_h")
    cols = g.matmul(g.transpose(grid, (0, 1, 3, 2, 4), path), tables[1], f"{path}.rel_w")
    cols = g.transpose(cols, (0, 1, 3, 2, 4), path)
    w_axis = g.const([-1], "last_axis")
    rows = str(g.op("Unsqueeze", [rows, w_axis], f"{path}.rel_h"))
    cols = str(g.op("Unsqueeze", [cols, g.const([-2], "second_last_axis")], f"{path}.rel_w"))
    return g.add(rows, cols, f"{path}.bias")


def relu_mlp(g: GraphBuilder, x: str, layers: torch.nn.ModuleList, path: str) -> str:
    """Linear layers with ReLU between them."""
    for i, layer in enumerate(layers):
        assert isinstance(layer, fl.Linear)
        x = x if i == 0 else str(g.op("Relu", [x], path))
        x = linear(g, x, layer, f"{path}.{i}")
    return x
