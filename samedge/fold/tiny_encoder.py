"""Folding of a TinyViT image encoder: official weights -> FoldedTinyEncoder. Exact algebra only.

Every rule is written out with its proof in docs/folding.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from samedge.fold.attention import scaled_heads
from samedge.fold.encoder import first_conv, fold_neck
from samedge.fold.layers import Linear, Mlp, Norm
from samedge.fold.tiny_layers import (
    BiasedAttention,
    Conv,
    FoldedTinyEncoder,
    MbConv,
    Merge,
    TinyBlock,
)
from samedge.fold.tree import Tree
from samedge.models.tiny_vit import BATCH_NORM_EPS, LAYER_NORM_EPS, distances

if TYPE_CHECKING:
    from samedge.families import Family
    from samedge.fold.report import Notes
    from samedge.models import MobileSamConfig


def fold_tiny_encoder(
    tensors: dict[str, torch.Tensor],
    family: Family,
    config: MobileSamConfig,
    no_mask: torch.Tensor | None,
    notes: Notes,
) -> FoldedTinyEncoder:
    """Fold `image_encoder.*` of an official state dict.

    Args:
        tensors: state dict with official keys.
        family: value scale, normalisation and channels of the frame.
        config: geometry that shapes do not tell.
        no_mask: [P], added to the embedding for good.
        notes: receives one line per kind of folding.
    """
    t = Tree(tensors, "image_encoder.")
    stride = config.patch_stride
    weight, _ = first_conv(t["patch_embed.seq.0.c.weight"], family, notes, "patch_embed")
    # A mean that stood in the bias would be subtracted from the convolution's own padding as well.
    assert family.padded or not any(family.mean)
    patch = [
        _conv(t.below("patch_embed.seq.0"), notes, stride, weight=weight),
        _conv(t.below("patch_embed.seq.2"), notes, stride),
    ]
    blocks: list[MbConv | Merge | TinyBlock] = []
    for stage in t.indices("layers"):
        layer, grid = t.below(f"layers.{stage}"), config.stage_grid(stage)
        for i in layer.indices("blocks"):
            block = layer.below(f"blocks.{i}")
            if stage == 0:
                blocks.append(MbConv(*_three(block, notes)))
            else:
                blocks.append(_block(block, config.heads[stage], grid, notes))
        if "downsample" in layer:
            smaller = grid // config.stage_grid(stage + 1)
            blocks.append(Merge(*_three(layer.below("downsample"), notes, smaller)))
    return FoldedTinyEncoder(patch, blocks, fold_neck(t.below("neck"), no_mask, notes))


def _conv(
    t: Tree,
    notes: Notes,
    stride: int = 1,
    *,
    depthwise: bool = False,
    weight: torch.Tensor | None = None,
) -> Conv:
    """A convolution and the BatchNorm behind it: `g (W x - m) / sqrt(v + eps) + b`.

    Args:
        depthwise: each channel by itself.
        weight: instead of its own.
    """
    weight = t["c.weight"] if weight is None else weight
    scale = t["bn.weight"] / (t["bn.running_var"] + BATCH_NORM_EPS).sqrt()
    bias = t["bn.bias"] - scale * t["bn.running_mean"]
    notes.add("BatchNorm", "its statistics and affine into the convolution in front")
    groups = len(weight) if depthwise else 1
    return Conv(weight * scale.reshape(-1, 1, 1, 1), bias, stride, groups)


def _three(t: Tree, notes: Notes, stride: int = 1) -> tuple[Conv, Conv, Conv]:
    return (
        _conv(t.below("conv1"), notes),
        _conv(t.below("conv2"), notes, stride, depthwise=True),
        _conv(t.below("conv3"), notes),
    )


def _block(t: Tree, heads: int, grid: int, notes: Notes) -> TinyBlock:
    norm1, attn = _attention(t.below("attn"), heads, grid, notes)
    mlp = t.below("mlp")
    return TinyBlock(
        norm1,
        attn,
        _conv(t.below("local_conv"), notes, depthwise=True),
        Norm(mlp["norm.weight"], mlp["norm.bias"], LAYER_NORM_EPS),
        Mlp(
            Linear(mlp["fc1.weight"].t(), mlp["fc1.bias"]),
            Linear(mlp["fc2.weight"].t(), mlp["fc2.bias"]),
        ),
    )


def _attention(t: Tree, heads: int, grid: int, notes: Notes) -> tuple[Norm, BiasedAttention]:
    # norm(0) is its bias: with scale and shift inside qkv a padding token is zero again.
    scale, shift = t["norm.weight"], t["norm.bias"]
    weight, bias = t["qkv.weight"], t["qkv.bias"]
    weight, bias = weight * scale, bias + weight @ shift
    norm = Norm(torch.ones_like(scale), torch.zeros_like(shift), LAYER_NORM_EPS)
    notes.add("LayerNorm affine", "the attention's into qkv; padding becomes zero")
    dim = weight.shape[1]
    # Heads have query, key and value side by side: [h, 3, d, in] -> three of [h d, in].
    wq, wk, wv = weight.reshape(heads, 3, -1, dim).transpose(0, 1).reshape(3, -1, dim)
    bq, _, bv = bias.reshape(heads, 3, -1).transpose(0, 1).reshape(3, -1)
    proj_weight, proj_bias = t["proj.weight"], t["proj.bias"]
    q, k, v, proj = scaled_heads((wq, wk, wv), (bq, bv), (proj_weight, proj_bias), heads)
    assert q.bias is not None
    qkv_bias = torch.cat([q.bias, torch.zeros(2 * dim)])
    qkv = Linear(torch.cat([q.weight, k.weight, v.weight], 1), qkv_bias)
    table = t["attention_biases"]
    window = int(table.shape[1] ** 0.5)
    notes.add("softmax scale", "into the query weights")
    notes.add("attention biases", "key bias dropped (softmax does not see it), value bias moved "
              "behind the attention")  # fmt: skip
    notes.add("constants", f"table of {table.shape[1]} distances gathered to all pairs of a "
              f"{window}x{window} window once")  # fmt: skip
    if grid % window:
        side = -(-grid // window) * window
        notes.add("window padding", f"{side}x{side} -> {grid}x{grid} tokens in qkv and proj; "
                  "padding keys are zero")  # fmt: skip
    return norm, BiasedAttention(qkv, proj, table[:, distances(window)], heads, grid)
