"""FoldedModel -> the encoder graph: uint8 frame in, image embedding out."""

from __future__ import annotations

import numpy as np

from samedge.export.graphs.attention import self_attention
from samedge.export.graphs.builder import GraphBuilder
from samedge.export.graphs.layers import (
    array,
    attention,
    conv_norm,
    linear,
    mlp,
    norm,
    rms_norm,
    split,
)
from samedge.export.graphs.preprocess import preprocess
from samedge.export.graphs.tiny_encoder import tiny_encoder
from samedge.fold import layers as fl
from samedge.fold.model import FoldedModel
from samedge.fold.tiny_layers import FoldedTinyEncoder


def encoder_graph(folded: FoldedModel, builder: type[GraphBuilder] = GraphBuilder) -> GraphBuilder:
    """The encoder graph of a bundle.

    Inputs: those of `samedge.export.graphs.preprocess.preprocess`. Output: `image_embedding`
    float32 [slices, P, g, g] ([1, P, g, g] for images), no-mask embedding included where there is
    one.
    """
    g = builder("encoder", folded.half_weights)
    v, batch = folded.variant, folded.family.slices
    x = preprocess(g, folded.family, v.input_size)
    if isinstance(folded.encoder, FoldedTinyEncoder):
        x = tiny_encoder(g, x, folded.encoder)
    else:
        x = _vision_transformer(g, x, folded.encoder, batch, v.grid)
    x = _neck(g, x, folded.encoder.neck)
    g.output(x, "image_embedding", "float32", (batch, v.prompt_dim, v.grid, v.grid))
    return g


def _vision_transformer(g: GraphBuilder, x: str, e: fl.FoldedEncoder, batch: int, grid: int) -> str:
    """All of `FoldedEncoder` in front of its neck, as an image [B, D, g, g]."""
    tokens = _patch_embed(g, x, e.patch_embed, batch, grid)
    branch = None
    if e.cnn is not None:
        branch = _cnn(g, x, e.cnn)
    for i, block in enumerate(e.blocks):
        assert isinstance(block, fl.Block)
        tokens, branch = _block(g, tokens, branch, block, batch, grid, f"encoder.blocks.{i}")
    path = "encoder.neck"
    x = g.transpose(g.reshape(tokens, (batch, grid, grid, -1), path), (0, 3, 1, 2), path)
    if branch is not None:
        scale = g.const(np.float32(e.branch_scale), "branch_scale")
        x = g.add(x, g.mul(branch, scale, "encoder.branch"), "encoder.branch")
    return x


def _patch_embed(g: GraphBuilder, x: str, layer: fl.PatchEmbed, batch: int, grid: int) -> str:
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


def _cnn(g: GraphBuilder, x: str, layer: fl.CnnBranch) -> str:
    path = "encoder.cnn"
    for i, conv in enumerate(layer.convs):
        assert isinstance(conv, fl.ConvNorm)
        here = f"{path}.convs.{i}"
        if i:
            x = str(g.op("MaxPool", [x], here, kernel_shape=[2, 2], strides=[2, 2]))
        x = conv_norm(g, x, conv, here)
    return x


def _neck(g: GraphBuilder, x: str, neck: fl.Neck) -> str:
    path = "encoder.neck"
    weight = array(neck.lin.weight).T[:, :, None, None]
    x = str(
        g.op(
            "Conv", [x, g.weight(f"{path}.lin.weight", weight)], f"{path}.lin", kernel_shape=[1, 1]
        )
    )
    return conv_norm(
        g, rms_norm(g, x, neck.norm, f"{path}.norm", axis=1), neck.conv, f"{path}.conv"
    )


def _block(
    g: GraphBuilder, x: str, branch: str | None, block: fl.Block, batch: int, grid: int, path: str
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
    g: GraphBuilder,
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
