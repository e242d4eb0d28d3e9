"""FoldedModel -> the encoder graph: uint8 frame in, image embedding out."""

from __future__ import annotations

import numpy as np
import onnx

from samedge.export.attention_graph import self_attention
from samedge.export.graph import Graph
from samedge.export.layers import array, attention, conv_norm, linear, mlp, norm, rms_norm, split
from samedge.families import Family
from samedge.fold import layers as fl
from samedge.fold.model import FoldedModel
from samedge.geometry import PLANE

NETWORK_INPUT = "network_input"


def encoder_graph(folded: FoldedModel) -> onnx.ModelProto:
    """The encoder graph of a bundle.

    Inputs: `frame` uint8 [H, W, C]; `colour` float32 [C, K], the map from the frame's channels to
    the network's (`samedge.frame_inputs.colour_matrix`); `rows` [2, S, H] and `cols` [2, S, W];
    `rows_first` uint8 [1], 1 for a frame that is handed over transposed (with its two matrices
    swapped) because its vertical pass comes first (`samedge.frame_inputs.encoder_inputs`); for a
    family with a mean also `valid_rows` [S] and `valid_cols` [S]. Output: `image_embedding`
    float32 [1, P, g, g], no-mask embedding included. The value called `network_input` [1, K, S, S]
    parts pre-processing (dynamic shapes, exact integers in float32) from the network (static
    shapes): an engine may cut there.
    """
    g = Graph("encoder")
    v, batch = folded.variant, folded.family.slices
    x = _preprocess(g, folded.family, v.input_size)
    e = folded.encoder
    tokens = _patch_embed(g, x, e.patch_embed, batch, v.grid)
    branch = None
    if e.cnn is not None:
        branch = _cnn(g, x, e.cnn)
    for i, block in enumerate(e.blocks):
        assert isinstance(block, fl.Block)
        tokens, branch = _block(g, tokens, branch, block, batch, v.grid, f"encoder.blocks.{i}")
    x = _neck(g, tokens, branch, e, batch, v.grid)
    g.output(x, "image_embedding", "float32", (batch, v.prompt_dim, v.grid, v.grid))
    return g.model()


def _preprocess(g: Graph, family: Family, size: int) -> str:
    """Colour, PIL's resize bit for bit, mean. See docs/geometry.md for the two planes."""
    path, k = "preprocess", family.channels
    frame = g.input("frame", "uint8", ("height", "width", "frame_channels"))
    colour = g.input("colour", "float32", ("frame_channels", k))
    rows = g.input("rows", "float32", (2, size, "height"))
    cols = g.input("cols", "float32", (2, size, "width"))
    x = str(g.op("Cast", [frame], path, to=onnx.TensorProto.FLOAT))
    half = g.const(np.float32(0.5), "half")
    x = g.op("Floor", [g.add(g.matmul(x, colour, f"{path}.colour"), half, f"{path}.colour")],
             f"{path}.colour")  # fmt: skip
    x = g.transpose(x, (2, 0, 1), path)
    plane_axis = g.const([1], "plane_axis")
    x = str(g.op("Unsqueeze", [x, plane_axis], path))  # [K, 1, H, W]
    x = g.matmul(x, g.transpose(cols, (0, 2, 1), f"{path}.cols"), f"{path}.cols")
    x = str(g.op("Unsqueeze", [_recombine(g, x, f"{path}.cols"), plane_axis], path))
    x = _recombine(g, g.matmul(rows, x, f"{path}.rows"), f"{path}.rows")  # [K, S, S]
    first = g.input("rows_first", "uint8", (1,))
    first = g.op("Cast", [first], f"{path}.rows_first", to=onnx.TensorProto.BOOL)
    turned = g.transpose(x, (0, 2, 1), f"{path}.rows_first")
    x = str(g.op("Where", [first, turned, x], f"{path}.rows_first"))
    if any(family.mean):
        x = _subtract_mean(g, x, family, size)
    x = str(g.op("Unsqueeze", [x, g.const([0], "axis_0")], path))
    # one node whose output carries the name that engines cut at
    g.identity(x, NETWORK_INPUT)
    return NETWORK_INPUT


def _recombine(g: Graph, x: str, path: str) -> str:
    """[K, 2, ...] high and low plane -> [K, ...] rounded grey levels."""
    high, low = (
        str(g.op("Gather", [x, g.const(np.int64(i), f"plane_{i}")], path, axis=1)) for i in (0, 1)
    )
    plane = g.const(np.float32(PLANE), "plane_size")
    carry = g.op("Floor", [g.op("Div", [low, plane], path)], path)
    total = g.add(g.add(high, carry, path), g.const(np.float32(PLANE / 2), "plane_half"), path)
    return str(g.op("Floor", [g.op("Div", [total, plane], path)], path))


def _subtract_mean(g: Graph, x: str, family: Family, size: int) -> str:
    path = "preprocess.mean"
    rows = g.input("valid_rows", "float32", (size,))
    cols = g.input("valid_cols", "float32", (size,))
    rows = g.reshape(rows, (1, size, 1), path)
    cols = g.reshape(cols, (1, 1, size), path)
    mean = np.asarray(family.mean, np.float32).reshape(-1, 1, 1) * np.float32(family.value_scale)
    valid = g.mul(rows, cols, path)
    return str(g.op("Sub", [x, g.mul(valid, g.const(mean, "mean"), path)], path))


def _patch_embed(g: Graph, x: str, layer: fl.PatchEmbed, batch: int, grid: int) -> str:
    path = "encoder.patch_embed"
    if layer.resize is not None:
        left = g.weight(f"{path}.resize", array(layer.resize))
        right = g.const(array(layer.resize).T, "patch_embed_resize_transposed")
        x = g.matmul(g.matmul(left, x, f"{path}.resize"), right, f"{path}.resize")
    size, stride = layer.weight.shape[-1], layer.stride
    weight = g.weight(f"{path}.weight", array(layer.weight))
    x = str(g.op("Conv", [x, weight], path, kernel_shape=[size, size], strides=[stride, stride]))
    x = g.transpose(x, (0, 2, 3, 1), path)
    total = layer.weight.shape[0]
    x = g.reshape(x, (batch, grid * grid, total), path)
    dim = layer.pos_embed.shape[-1]
    pos = g.weight(f"{path}.pos_embed", array(layer.pos_embed))
    if layer.adapter is None or layer.adapter_bias is None:
        return g.add(x, pos, path)
    widths = g.const([dim, total - dim], "patch_embed_split")
    x, hidden = g.op("Split", [x, widths], path, outputs=2, axis=-1)
    hidden = g.add(hidden, g.weight(f"{path}.adapter_bias", array(layer.adapter_bias)), path)
    y = linear(g, g.gelu(hidden, path), layer.adapter, f"{path}.adapter")
    return g.add(g.add(x, pos, path), y, path)


def _cnn(g: Graph, x: str, layer: fl.CnnBranch) -> str:
    path = "encoder.cnn"
    for i, conv in enumerate(layer.convs):
        assert isinstance(conv, fl.ConvNorm)
        here = f"{path}.convs.{i}"
        if i:
            x = str(g.op("MaxPool", [x], here, kernel_shape=[2, 2], strides=[2, 2]))
        x = conv_norm(g, x, conv, here)
    return x


def _neck(
    g: Graph, tokens: str, branch: str | None, e: fl.FoldedEncoder, batch: int, grid: int
) -> str:
    path = "encoder.neck"
    x = g.transpose(g.reshape(tokens, (batch, grid, grid, -1), path), (0, 3, 1, 2), path)
    if branch is not None:
        scale = g.const(np.float32(e.branch_scale), "branch_scale")
        x = g.add(x, g.mul(branch, scale, "encoder.branch"), "encoder.branch")
    weight = array(e.neck.lin.weight).T[:, :, None, None]
    x = str(
        g.op(
            "Conv", [x, g.weight(f"{path}.lin.weight", weight)], f"{path}.lin", kernel_shape=[1, 1]
        )
    )
    return conv_norm(
        g, rms_norm(g, x, e.neck.norm, f"{path}.norm", axis=1), e.neck.conv, f"{path}.conv"
    )


def _block(
    g: Graph, x: str, branch: str | None, block: fl.Block, batch: int, grid: int, path: str
) -> tuple[str, str | None]:
    y = norm(g, x, block.norm1, f"{path}.norm1")
    if block.cross is not None and block.refine is not None and branch is not None:
        z = _cross(g, y, branch, block.cross, batch, grid, f"{path}.cross")
        y = g.add(y, z, f"{path}.cross")
        branch = conv_norm(g, branch, block.refine, f"{path}.refine")
    x = g.add(x, self_attention(g, y, block.attn, batch, f"{path}.attn"), f"{path}.attn")
    y = mlp(g, norm(g, x, block.norm2, f"{path}.norm2"), block.mlp, f"{path}.mlp")
    return g.add(x, y, f"{path}.mlp"), branch


def _cross(
    g: Graph,
    x: str,
    branch: str,
    layer: fl.CrossAttention,
    batch: int,
    grid: int,
    path: str,
) -> str:
    dim = layer.q.weight.shape[1]
    tokens = g.reshape(g.transpose(branch, (0, 2, 3, 1), path), (batch, grid * grid, -1), path)
    kv = linear(g, tokens, layer.kv, f"{path}.kv")
    k, v = split(g, kv, 2, dim, path)
    y = attention(g, linear(g, x, layer.q, f"{path}.q"), k, v, layer.heads, dim, path)
    return linear(g, y, layer.proj, f"{path}.proj")
