"""FoldedEncoder -> launches: from the frame to the image embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from samedge.export.triton.context import Context
from samedge.export.triton.preprocess import network_input
from samedge.fold import layers as fl
from samedge.kernels.attention.depth_attention import depth_attention
from samedge.kernels.attention.global_attention import global_attention
from samedge.kernels.attention.plain import attention
from samedge.kernels.attention.relative_positions import tables
from samedge.kernels.attention.window_attention import window_attention
from samedge.kernels.launch import Array
from samedge.kernels.layers.linear import linear
from samedge.kernels.layers.patch_embed import patch_embed
from samedge.kernels.layers.resize import resize, taps


@dataclass(frozen=True)
class Branch:
    """SAMUS's CNN branch behind a convolution: norm and GELU come when somebody needs them.

    Behind the last block they come with the sum of both streams, in one launch.
    """

    raw: Array
    path: str
    eps: float

    def activated(self, c: Context, pool: bool = False) -> Array:
        """The branch, [B, y, x, C]; pooled if asked for."""
        return c.rms_norm(self.raw, self.path, self.eps, c.half, activation="gelu", pool=pool)

    def added_to(self, c: Context, tokens: Array, factor: float) -> Array:
        """tokens + factor * branch, [B, y, x, C]."""
        tokens = tokens.reshape(*self.raw.shape)
        add = (tokens, factor)
        return c.rms_norm(self.raw, self.path, self.eps, c.half, activation="gelu", add=add)


RESIDUAL = "fp32"  # element type of the tokens that every block adds to


def lower_encoder(c: Context, encoder: fl.FoldedEncoder) -> None:
    """Write the launches of an encoder down; its ports are those of the bundle's graph."""
    pixels = network_input(c)
    tokens = _patch_embed(c, pixels, encoder.patch_embed)
    branch = None if encoder.cnn is None else _cnn(c, pixels, encoder.cnn)
    for i, block in enumerate(encoder.blocks):
        assert isinstance(block, fl.Block)
        tokens, branch = _block(c, tokens, branch, block, f"encoder.blocks.{i}")
    _neck(c, tokens, branch, encoder)


def _patch_embed(c: Context, pixels: Array, layer: fl.PatchEmbed) -> Array:
    path = "encoder.patch_embed"
    if layer.resize is not None:
        first, shares = taps(layer.resize)
        with c.run.layer(f"{path}.resize"):
            pixels = resize(
                c.run,
                pixels,
                c.constant(first, "i32", "first rows of the enlargement"),
                c.constant(shares, "fp32", "shares of the enlargement"),
            )
    total, _, size, _ = layer.weight.shape
    # [D, C, p, p] -> rows (c, i, j), columns D
    weight = c.matrix(f"{path}.weight", lambda w: w.reshape(total, -1).t())
    pos = c.vector(f"{path}.pos_embed", lambda table: table[0])
    if layer.adapter is None:
        with c.run.layer(path):
            tokens = patch_embed(c.run, pixels, weight, layer.stride, size, pos)
        assert isinstance(tokens, Array)
        return tokens
    bias = c.vector(f"{path}.adapter_bias")
    with c.run.layer(path):
        parts = patch_embed(c.run, pixels, weight, layer.stride, size, pos, adapter_bias=bias)
    assert isinstance(parts, tuple)
    return c.linear(parts[1], f"{path}.adapter", RESIDUAL, residual=parts[0])


def _cnn(c: Context, pixels: Array, layer: fl.CnnBranch) -> Branch:
    branch: Branch | None = None
    for i, part in enumerate(layer.convs):
        assert isinstance(part, fl.ConvNorm)
        path = f"encoder.cnn.convs.{i}"
        x = pixels if branch is None else branch.activated(c, pool=True)
        y = c.conv3x3(x, path, planes=branch is None)
        branch = Branch(y, f"{path}.norm", part.norm.eps)
    assert branch is not None
    return branch


def _block(
    c: Context, x: Array, branch: Branch | None, block: fl.Block, path: str
) -> tuple[Array, Branch | None]:
    attn = block.attn
    norm = c.row_norm(x, f"{path}.norm1", block.norm1.eps)
    if block.cross is not None and block.refine is not None and branch is not None:
        seen = branch.activated(c)
        y = _cross(c, x, norm, seen, block.cross, f"{path}.cross")
        qkv = c.linear(y, f"{path}.attn.qkv", c.half)
        refined = c.conv3x3(seen, f"{path}.refine")
        branch = Branch(refined, f"{path}.refine.norm", block.refine.norm.eps)
    else:
        qkv = c.linear(x, f"{path}.attn.qkv", c.half, norm=norm)
    x = _attend(c, x, qkv, attn, f"{path}.attn")
    norm = c.row_norm(x, f"{path}.norm2", block.norm2.eps)
    hidden = c.linear(x, f"{path}.mlp.lin1", c.half, norm=norm, activation="gelu")
    return c.linear(hidden, f"{path}.mlp.lin2", RESIDUAL, residual=x), branch


def _cross(
    c: Context, x: Array, norm: object, branch: Array, layer: fl.CrossAttention, path: str
) -> Array:
    """norm(x) + what it finds in the CNN branch."""
    q = c.linear(x, f"{path}.q", c.half, norm=norm)
    b, rows, cols, channels = branch.shape
    kv = c.linear(branch.reshape(b, rows * cols, channels), f"{path}.kv", c.half)
    dim = layer.q.weight.shape[1]
    with c.run.layer(path):
        y = attention(c.run, q, kv.columns(0, dim), kv.columns(dim, 2 * dim), layer.heads)
    return c.linear(y, f"{path}.proj", c.half, residual=x, residual_norm=norm)


def _attend(c: Context, x: Array, qkv: Array, layer: fl.RelativeAttention, path: str) -> Array:
    """x + self-attention, with the adapters behind it."""
    rel_h, rel_w = _tables(c, layer, path)
    with c.run.layer(path):
        if layer.windowed:
            y = window_attention(c.run, qkv, rel_h, rel_w, layer.heads, layer.grid)
        else:
            sides = layer.grid, layer.grid
            y = global_attention(c.run, qkv, rel_h, rel_w, layer.heads, *sides)
    if layer.adapter is None:
        return c.linear(y, f"{path}.proj", RESIDUAL, residual=x)
    dim = x.shape[-1]
    assert isinstance(dim, int)
    total = layer.adapter.weight.shape[0]
    hidden = c.run.empty((*x.shape[:-1], total), c.half, "adapter")
    own = layer.proj.weight.shape[1] - dim
    first, _ = c.split_linear(
        y, f"{path}.proj", dim, RESIDUAL, residual=x, second_out=hidden.columns(0, own)
    )
    if layer.depth is not None:
        _along_depth(c, qkv, layer, layer.depth, hidden.columns(own, total), f"{path}.depth")
    return c.linear(hidden, f"{path}.adapter", RESIDUAL, residual=first)


def _tables(
    c: Context, layer: fl.RelativeAttention | fl.DepthBranch, path: str
) -> tuple[Array, Array]:
    """Of relative positions, as kernels read them."""
    rel_h, rel_w = tables(layer.rel_h), tables(layer.rel_w)
    return (
        c.constant(rel_h, c.half, f"{path}.rel_h"),
        c.constant(rel_w, c.half, f"{path}.rel_w"),
    )


def _along_depth(
    c: Context, qkv: Array, layer: fl.RelativeAttention, branch: fl.DepthBranch, out: Array,
    path: str,
) -> None:  # fmt: skip
    """The hidden vector of the depth branch, beside the adapter's."""
    rel_h, rel_w = _tables(c, branch, path)
    with c.run.layer(path):
        y = depth_attention(
            c.run, qkv, rel_h, rel_w, layer.heads, layer.grid, layer.window, branch.depth
        )
    c.linear(y, f"{path}.down", c.half, activation="gelu", out=out)


def _neck(c: Context, tokens: Array, branch: Branch | None, encoder: fl.FoldedEncoder) -> None:
    path, neck, grid = "encoder.neck", encoder.neck, c.variant.grid

    def columns(weight: torch.Tensor) -> torch.Tensor:
        return weight[:, :, 0, 0].t()  # of a 1x1 convolution

    x = tokens
    if branch is not None:
        x = branch.added_to(c, tokens, encoder.branch_scale).reshape(*tokens.shape)
    with c.run.layer(f"{path}.lin"):
        y = linear(c.run, x, c.matrix(f"{path}.lin.weight", columns), dtype="fp32")
    assert isinstance(y, Array)
    y = y.reshape(tokens.shape[0], grid, grid, c.variant.prompt_dim)
    y = c.rms_norm(y, f"{path}.norm", neck.norm.eps, c.half)
    y = c.conv3x3(y, f"{path}.conv")
    out = c.output("image_embedding")
    c.rms_norm(y, f"{path}.conv.norm", neck.conv.norm.eps, "fp32", planes=True, out=out)
