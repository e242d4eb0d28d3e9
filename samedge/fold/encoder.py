"""Folding of the image encoder: official weights -> FoldedEncoder. Exact algebra only.

Products of weights are formed in float64 and rounded to float32 once. Every rule below is written
out with its proof in docs/folding.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from samedge.fold.layers import (
    Block,
    CnnBranch,
    ConvNorm,
    CrossAttention,
    FoldedEncoder,
    Linear,
    Mlp,
    Neck,
    Norm,
    PatchEmbed,
    RelativeAttention,
    RmsNorm,
)
from samedge.resampling import bilinear_matrix

if TYPE_CHECKING:
    from samedge.families import Family
    from samedge.fold.report import Notes

EPS = 1e-6  # of every LayerNorm in the encoders, LayerNorm2d included


class Tree:
    """A view of a state dict below a prefix, in float64."""

    def __init__(self, tensors: dict[str, torch.Tensor], prefix: str = "") -> None:
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, key: str) -> torch.Tensor:
        return self.tensors[self.prefix + key].detach().to("cpu", torch.float64)

    def __contains__(self, key: str) -> bool:
        """True for a tensor or for a part (`"mlp"`) below the prefix."""
        name = self.prefix + key
        return name in self.tensors or any(k.startswith(name + ".") for k in self.tensors)

    def below(self, key: str) -> Tree:
        """The view one level down."""
        return Tree(self.tensors, f"{self.prefix}{key}.")


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
        branch_scale: factor of the CNN branch after the last block.
        adapter_scale: factor of an adapter parallel to the MLP.
    """

    input_size: int
    resized: int
    stride: int
    heads: int
    window: int
    global_blocks: tuple[int, ...]
    branch_scale: float = 0.5
    adapter_scale: float = 0.5


def fold_encoder(
    tensors: dict[str, torch.Tensor], family: Family, spec: EncoderSpec, notes: Notes
) -> FoldedEncoder:
    """Fold `image_encoder.*` of an official state dict.

    Args:
        tensors: state dict with official keys.
        family: value scale, normalisation and channels of the frame.
        spec: geometry that shapes do not tell.
        notes: receives one line per kind of folding.
    """
    t = Tree(tensors, "image_encoder.")
    patch = _patch_embed(t, family, spec, notes)
    grid = int(patch.pos_embed.shape[1] ** 0.5)
    depth = 1 + max(int(k.split(".")[2]) for k in tensors if k.startswith("image_encoder.blocks."))
    blocks = [_block(t.below(f"blocks.{i}"), i, grid, spec, notes) for i in range(depth)]
    cnn = _cnn(t.below("cnn_embed"), family, notes) if "cnn_embed" in t else None
    no_mask = Tree(tensors)["prompt_encoder.no_mask_embed.weight"].reshape(-1)
    notes.add("constants", "no-mask embedding into the neck's last bias")
    neck = _neck(t.below("neck"), no_mask, notes)
    return FoldedEncoder(patch, blocks, neck, cnn, spec.branch_scale)


def _first_conv(weight: torch.Tensor, family: Family, notes: Notes, what: str) -> torch.Tensor:
    """Value scale, std and grey -> RGB repetition into a convolution on the frame's channels."""
    if family.channels == 1 and weight.shape[1] == 3:
        weight = weight.sum(1, keepdim=True)
        notes.add("grey input", f"{what}: its three input channels are summed")
    notes.add("normalisation", f"{what}: value scale and standard deviation into its weights")
    std = torch.tensor(family.std, dtype=torch.float64).reshape(1, -1, 1, 1)
    return weight / (std * family.value_scale)


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
    weight = _first_conv(weight, family, notes, "patch_embed")
    resize = None
    if spec.resized != spec.input_size:
        resize = torch.from_numpy(bilinear_matrix(spec.resized, spec.input_size))
    return PatchEmbed(weight, spec.stride, pos, resize, adapter, adapter_bias)


def _position_table(t: Tree, grid: int, notes: Notes) -> torch.Tensor:
    """[grid, grid, D]; SAMUS passes its table through a small network that sees no image."""
    pos = t["pos_embed"]
    if "post_pos_embed" not in t:
        return pos[0]
    x = pos.permute(0, 3, 1, 2)
    for i in _indices(t.tensors, t.prefix + "post_pos_embed.downs."):
        d = t.below(f"post_pos_embed.downs.{i}.maxpool_conv")
        x = F.conv2d(F.max_pool2d(x, 2), d["1.weight"], padding=1)
        x = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), d["2.weight"], d["2.bias"], EPS)
        x = F.gelu(x).permute(0, 3, 1, 2)
    notes.add("constants", "post_pos_embed(pos_embed) evaluated once")
    table = x[0].permute(1, 2, 0)
    assert table.shape[:2] == (grid, grid)
    return table


def _indices(tensors: dict[str, torch.Tensor], prefix: str) -> list[int]:
    return sorted({int(k[len(prefix) :].split(".")[0]) for k in tensors if k.startswith(prefix)})


def _cnn(t: Tree, family: Family, notes: Notes) -> CnnBranch:
    first = _first_conv(t["inc.conv.0.weight"], family, notes, "cnn_embed.inc")
    convs = [_conv_norm(first, t.below("inc.conv.1"), notes)]
    for i in _indices(t.tensors, t.prefix + "downs."):
        d = t.below(f"downs.{i}.maxpool_conv")
        convs.append(_conv_norm(d["1.weight"], d.below("2"), notes))
    return CnnBranch(convs)


def _conv_norm(weight: torch.Tensor, t: Tree, notes: Notes) -> ConvNorm:
    return ConvNorm(centred(weight, notes), RmsNorm(t["weight"], t["bias"], EPS))


def centred(weight: torch.Tensor, notes: Notes) -> torch.Tensor:
    """[out, ...] weights less their mean over the outputs.

    The LayerNorm behind a map without bias subtracts the mean of its outputs, which is linear in
    the input: with centred weights that mean is zero already, and an RMS norm is left.
    """
    notes.add("LayerNorm mean", "into the weights of the convolution or matrix in front")
    return weight - weight.mean(0, keepdim=True)


def _norm(t: Tree) -> Norm:
    return Norm(t["weight"], t["bias"], EPS)


def _block(t: Tree, index: int, grid: int, spec: EncoderSpec, notes: Notes) -> Block:
    window = grid if index in spec.global_blocks else spec.window
    cross = refine = None
    if "Space_Adapter.q" in t:
        cross = _cross(t.below("Space_Adapter"), spec.heads)
        d = t.below("refine_Adapter.conv")
        refine = _conv_norm(d["0.weight"], d.below("1"), notes)
        notes.add("cross-branch attention", "key and value in one matrix, key bias dropped")
    attn = _attention(t.below("attn"), window, grid, spec.heads, notes)
    return Block(_norm(t.below("norm1")), attn, _norm(t.below("norm2")),
                 _mlp(t, spec, notes), cross, refine)  # fmt: skip


def scaled_heads(
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    biases: tuple[torch.Tensor, torch.Tensor],
    proj: tuple[torch.Tensor, torch.Tensor],
    heads: int,
) -> tuple[Linear, Linear, Linear, Linear]:
    """Query scale, key bias and value bias folded away, for any attention.

    softmax((q + bq)(k + bk)^T s) does not change when bk is dropped (it adds the same amount to
    every key of a query); softmax(..) (v + bv) = softmax(..) v + bv, so bv moves through `proj`.

    Args:
        weights: query, key, value matrices, [out, in].
        biases: of query and value.
        proj: matrix and bias behind the attention.

    Returns:
        query, key, value and projection layers; key and value have no bias.
    """
    wq, wk, wv = weights
    bq, bv = biases
    scale = (wq.shape[0] // heads) ** -0.5
    wp, bp = proj
    return (
        Linear(wq.t() * scale, bq * scale),
        Linear(wk.t()),
        Linear(wv.t()),
        Linear(wp.t(), bp + wp @ bv),
    )


def _cross(t: Tree, heads: int) -> CrossAttention:
    q, k, v, proj = scaled_heads(
        (t["q.weight"], t["k.weight"], t["v.weight"]),
        (t["q.bias"], t["v.bias"]),
        (t["proj.weight"], t["proj.bias"]),
        heads,
    )
    return CrossAttention(q, Linear(torch.cat([k.weight, v.weight], 1)), proj, heads)


def relative_table(table: torch.Tensor, size: int) -> torch.Tensor:
    """[L, d] table -> [size, d, size]: entry [i, :, j] is row i - j + size - 1.

    A table of another length than 2 size - 1 is first interpolated linearly, as upstream does at
    run time.
    """
    length = 2 * size - 1
    if table.shape[0] != length:
        table = F.interpolate(table.t()[None], size=length, mode="linear")[0].t()
    index = torch.arange(size)[:, None] - torch.arange(size)[None] + size - 1
    return table[index].transpose(1, 2)


def _attention(t: Tree, window: int, grid: int, heads: int, notes: Notes) -> RelativeAttention:
    weight, bias = t["qkv.weight"], t["qkv.bias"]
    dim = weight.shape[1]
    q, k, v, proj = scaled_heads(
        (weight[:dim], weight[dim : 2 * dim], weight[2 * dim :]),
        (bias[:dim], bias[2 * dim :]),
        (t["proj.weight"], t["proj.bias"]),
        heads,
    )
    assert q.bias is not None
    qkv_bias = torch.cat([q.bias, torch.zeros(2 * dim)])
    scale = (dim // heads) ** -0.5
    notes.add("softmax scale", "into the query weights, tables divided by it")
    stored = t["rel_pos_h"].shape[0]
    if stored != 2 * window - 1:
        notes.add("constants", f"position table of {stored} rows resized to {2 * window - 1}")
    notes.add("attention biases", "key bias dropped (softmax does not see it), value bias moved "
              "behind the attention")  # fmt: skip
    if grid != window and grid % window:
        notes.add("window padding", f"{-(-grid // window) * window}x{-(-grid // window) * window} "
                  f"-> {grid}x{grid} tokens in qkv and proj; padding keys are zero")  # fmt: skip
    return RelativeAttention(
        Linear(torch.cat([q.weight, k.weight, v.weight], 1), qkv_bias),
        proj,
        relative_table(t["rel_pos_h"], window) / scale,
        relative_table(t["rel_pos_w"], window) / scale,
        heads,
        grid,
    )


def _mlp(t: Tree, spec: EncoderSpec, notes: Notes) -> Mlp:
    """MLP and parallel adapter in one: [W1; A1], [W2, s A2], b2 + s a2."""
    w1, b1 = t["mlp.lin1.weight"], t["mlp.lin1.bias"]
    w2, b2 = t["mlp.lin2.weight"], t["mlp.lin2.bias"]
    if "MLP_Adapter" in t:
        s = spec.adapter_scale
        down, up = t.below("MLP_Adapter.D_fc1"), t.below("MLP_Adapter.D_fc2")
        notes.add("parallel adapter", f"MLP_Adapter joins the MLP: {w1.shape[0]} -> "
                  f"{w1.shape[0] + down['weight'].shape[0]} hidden channels")  # fmt: skip
        w1, b1 = torch.cat([w1, down["weight"]]), torch.cat([b1, down["bias"]])
        w2, b2 = torch.cat([w2, s * up["weight"]], 1), b2 + s * up["bias"]
    return Mlp(Linear(w1.t(), b1), Linear(w2.t(), b2))


def _neck(t: Tree, no_mask: torch.Tensor, notes: Notes) -> Neck:
    lin = Linear(centred(t["0.weight"], notes)[:, :, 0, 0].t())
    last = RmsNorm(t["3.weight"], t["3.bias"] + no_mask, EPS)
    conv = ConvNorm(centred(t["2.weight"], notes), last, activation=False)
    return Neck(lin, RmsNorm(t["1.weight"], t["1.bias"], EPS), conv)
