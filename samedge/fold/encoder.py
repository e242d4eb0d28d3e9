"""Folding of the image encoder: official weights -> FoldedEncoder. Exact algebra only.

Products of weights are formed in float64 and rounded to float32 once. Every rule below is written
out with its proof in docs/folding.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from samedge.fold.attention import EPS, AttentionSpec, fold_attention, fold_cross
from samedge.fold.layers import (
    Block,
    CnnBranch,
    ConvNorm,
    FoldedEncoder,
    Linear,
    Mlp,
    Neck,
    Norm,
    PatchEmbed,
    RmsNorm,
)
from samedge.fold.tree import Tree
from samedge.geometry.filters import bilinear_matrix

if TYPE_CHECKING:
    from samedge.families import Family
    from samedge.fold.report import Notes


@dataclass(frozen=True)
class EncoderSpec:
    """What the shapes of the tensors do not tell.

    Attributes:
        input_size: side of the network input, px.
        resized: side of the enlarged input in front of the patch embedding; equal to
            `input_size` where there is none.
        stride: of the patch embedding, px.
        heads: attention heads of a block (and of the cross-branch attention).
        window: side of a window in tokens.
        global_blocks: blocks that attend to the whole grid.
        tables: names of a block's relative-position tables.
        norm_inside: windows are cut in front of norm1, so padding tokens are norm1's bias.
        slices: of a volume that are encoded together; 1: images.
        chunk: entries of the batch axis that a depth branch relates; 0: all that there are.
        branch_scale: factor of the CNN branch after the last block.
        adapter_scale: factor of an adapter parallel to the MLP.
    """

    input_size: int
    resized: int
    stride: int
    heads: int
    window: int
    global_blocks: tuple[int, ...]
    tables: tuple[str, str] = ("rel_pos_h", "rel_pos_w")
    norm_inside: bool = False
    slices: int = 1
    chunk: int = 0
    branch_scale: float = 0.5
    adapter_scale: float = 0.5


def fold_encoder(
    tensors: dict[str, torch.Tensor],
    family: Family,
    spec: EncoderSpec,
    no_mask: torch.Tensor | None,
    notes: Notes,
) -> FoldedEncoder:
    """Fold `image_encoder.*` of an official state dict.

    Args:
        tensors: state dict with official keys.
        family: value scale, normalisation and channels of the frame.
        spec: geometry that shapes do not tell.
        no_mask: [P], added to the embedding for good; None where the model has a dense prompt of
            its own.
        notes: receives one line per kind of folding.
    """
    t = Tree(tensors, "image_encoder.")
    patch = _patch_embed(t, family, spec, notes)
    grid = int(patch.pos_embed.shape[1] ** 0.5)
    blocks = [_block(t.below(f"blocks.{i}"), i, grid, spec, notes) for i in t.indices("blocks")]
    cnn = _cnn(t.below("cnn_embed"), family, notes) if "cnn_embed" in t else None
    neck = fold_neck(t.below("neck"), no_mask, notes)
    return FoldedEncoder(patch, blocks, neck, cnn, spec.branch_scale)


def first_conv(
    weight: torch.Tensor, family: Family, notes: Notes, what: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalisation and grey -> RGB repetition into a convolution on the frame's channels.

    Returns:
        the weights, and what the mean adds to every output (zero for padded families: their
        padding has to stay zero, so the mean is subtracted in front).
    """
    inputs = weight.shape[1]
    std = torch.tensor(family.std, dtype=torch.float64).expand(inputs) * family.value_scale
    mean = torch.tensor(family.mean, dtype=torch.float64).expand(inputs) * family.value_scale
    scaled = weight / std.reshape(1, -1, 1, 1)
    offset = torch.zeros(len(weight), dtype=torch.float64)
    if any(family.mean) and not family.padded:
        offset = -torch.einsum("ocij,c->o", scaled, mean)
        notes.add("normalisation", f"{what}: the mean into a bias")
    if any(v * family.value_scale != 1 for v in family.std):
        notes.add("normalisation", f"{what}: value scale and standard deviation into its weights")
    if family.channels == 1 and inputs == 3:
        scaled = scaled.sum(1, keepdim=True)
        notes.add("grey input", f"{what}: its three input channels are summed")
    return scaled, offset


def _patch_embed(t: Tree, family: Family, spec: EncoderSpec, notes: Notes) -> PatchEmbed:
    weight, bias = t["patch_embed.proj.weight"], t["patch_embed.proj.bias"]
    size = weight.shape[-1]
    grid = (spec.resized - size) // spec.stride + 1
    dim = weight.shape[0]
    pos = _position_table(t, grid, notes).reshape(1, grid * grid, dim) + bias
    adapter = adapter_bias = None
    if "input_Adapter" in t:  # y = P x + p;  A1 y + a1 = (A1 P) x + (A1 p + a1)
        down, up = t.below("input_Adapter.D_fc1"), t.below("input_Adapter.D_fc2")
        a1 = down["weight"]
        weight = torch.cat([weight, torch.einsum("ad,dcij->acij", a1, weight)])
        adapter_bias = a1 @ bias + down["bias"]
        adapter = Linear(up["weight"].t())
        pos = pos + up["bias"]
        notes.add("serial adapter", "input_Adapter: first matrix into the patch embedding")
    notes.add("constants", "patch embedding's bias into the position table")
    weight, offset = first_conv(weight, family, notes, "patch_embed")
    pos = pos + offset[:dim]
    if adapter_bias is not None:
        adapter_bias = adapter_bias + offset[dim:]
    resize = None
    if spec.resized != spec.input_size:
        resize = torch.from_numpy(bilinear_matrix(spec.resized, spec.input_size))
    return PatchEmbed(weight, spec.stride, pos, resize, adapter, adapter_bias)


def _position_table(t: Tree, grid: int, notes: Notes) -> torch.Tensor:
    """[grid, grid, D]; SAMUS passes its table through a small network that sees no image, Medical
    SAM Adapter resizes it (bicubic)."""
    table = t["pos_embed"]
    if "post_pos_embed" in t:
        x = table.permute(0, 3, 1, 2)
        for i in t.indices("post_pos_embed.downs"):
            d = t.below(f"post_pos_embed.downs.{i}.maxpool_conv")
            x = F.conv2d(F.max_pool2d(x, 2), d["1.weight"], padding=1)
            x = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), d["2.weight"], d["2.bias"], EPS)
            x = F.gelu(x).permute(0, 3, 1, 2)
        notes.add("constants", "post_pos_embed(pos_embed) evaluated once")
        table = x.permute(0, 2, 3, 1)
    elif table.shape[1] != grid:
        notes.add("constants", f"position table resized from {table.shape[1]} to {grid} once")
        x = F.interpolate(table.permute(0, 3, 1, 2), size=(grid, grid), mode="bicubic")
        table = x.permute(0, 2, 3, 1)
    assert table.shape[1:3] == (grid, grid)
    return table[0]


def _cnn(t: Tree, family: Family, notes: Notes) -> CnnBranch:
    first, _ = first_conv(t["inc.conv.0.weight"], family, notes, "cnn_embed.inc")
    assert not any(family.mean)  # it would have to be zero on the convolutions' own padding
    convs = [conv_norm(first, t.below("inc.conv.1"), notes)]
    for i in t.indices("downs"):
        d = t.below(f"downs.{i}.maxpool_conv")
        convs.append(conv_norm(d["1.weight"], d.below("2"), notes))
    return CnnBranch(convs)


def conv_norm(weight: torch.Tensor, t: Tree, notes: Notes) -> ConvNorm:
    """A convolution without bias, the LayerNorm2d behind it, and GELU."""
    return ConvNorm(centred(weight, notes), RmsNorm(t["weight"], t["bias"], EPS))


def centred(weight: torch.Tensor, notes: Notes) -> torch.Tensor:
    """[out, ...] weights less their mean over the outputs.

    The LayerNorm behind a map without bias subtracts the mean of its outputs, which is linear in
    the input: with centred weights that mean is zero already, and an RMS norm is left.
    """
    notes.add("LayerNorm mean", "into the weights of the convolution or matrix in front")
    return weight - weight.mean(0, keepdim=True)


def _block(t: Tree, index: int, grid: int, spec: EncoderSpec, notes: Notes) -> Block:
    window = grid if index in spec.global_blocks else spec.window
    depth = 0
    if spec.slices > 1:
        depth = spec.chunk or spec.slices * (-(-grid // window)) ** 2
    cross = refine = None
    if "Space_Adapter.q" in t:
        cross = fold_cross(t.below("Space_Adapter"), spec.heads, notes)
        d = t.below("refine_Adapter.conv")
        refine = conv_norm(d["0.weight"], d.below("1"), notes)
    own = AttentionSpec(window, grid, spec.heads, spec.tables, spec.norm_inside, depth)
    norm1, attn = fold_attention(t, own, notes)
    norm2 = Norm(t["norm2.weight"], t["norm2.bias"], EPS)
    return Block(norm1, attn, norm2, _mlp(t, spec, notes), cross, refine)


def _mlp(t: Tree, spec: EncoderSpec, notes: Notes) -> Mlp:
    """MLP and parallel adapter in one: [W1; A1], [W2, s A2], b2 + s a2."""
    (w1, b1), (w2, b2) = t.linear("mlp.lin1", notes), t.linear("mlp.lin2", notes)
    if "MLP_Adapter" in t:
        s = spec.adapter_scale
        down, up = t.below("MLP_Adapter.D_fc1"), t.below("MLP_Adapter.D_fc2")
        notes.add("parallel adapter", f"MLP_Adapter joins the MLP: {w1.shape[0]} -> "
                  f"{w1.shape[0] + down['weight'].shape[0]} hidden channels")  # fmt: skip
        w1, b1 = torch.cat([w1, down["weight"]]), torch.cat([b1, down["bias"]])
        w2, b2 = torch.cat([w2, s * up["weight"]], 1), b2 + s * up["bias"]
    return Mlp(Linear(w1.t(), b1), Linear(w2.t(), b2))


def fold_neck(t: Tree, no_mask: torch.Tensor | None, notes: Notes) -> Neck:
    """SAM's neck, with the no-mask embedding in its last bias."""
    lin = Linear(centred(t["0.weight"], notes)[:, :, 0, 0].t())
    last_bias = t["3.bias"]
    if no_mask is not None:
        notes.add("constants", "no-mask embedding into the neck's last bias")
        last_bias = last_bias + no_mask.double()
    last = RmsNorm(t["3.weight"], last_bias, EPS)
    conv = ConvNorm(centred(t["2.weight"], notes), last, activation=False)
    return Neck(lin, RmsNorm(t["1.weight"], t["1.bias"], EPS), conv)
