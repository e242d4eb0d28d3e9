"""Folding of attention: scales and biases into weights, padding to zero, serial adapters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from samedge.fold.layers import CrossAttention, DepthBranch, Linear, Norm, RelativeAttention
from samedge.fold.report import Notes
from samedge.fold.tree import Tree
from samedge.models.config import depth_grid

EPS = 1e-6  # of every LayerNorm in the encoders, LayerNorm2d included


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


def fold_cross(t: Tree, heads: int, notes: Notes) -> CrossAttention:
    """SAMUS's cross-branch attention."""
    notes.add("cross-branch attention", "key and value in one matrix, key bias dropped")
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


@dataclass(frozen=True)
class AttentionSpec:
    """What the shapes of a block's tensors do not tell of its attention.

    Attributes:
        window: side of the square that attends to itself, tokens; the grid in a global block.
        grid: side of the grid, tokens.
        heads: attention heads.
        tables: names of the two relative-position tables.
        norm_inside: windows are cut in front of norm1, so padding tokens are norm1's bias.
        depth: entries of the batch axis that the depth branch relates; 0: there is none.
    """

    window: int
    grid: int
    heads: int
    tables: tuple[str, str]
    norm_inside: bool = False
    depth: int = 0


def fold_attention(
    block: Tree, spec: AttentionSpec, notes: Notes
) -> tuple[Norm, RelativeAttention]:
    """norm1 and self-attention of a block, with the adapters behind its projection."""
    t = block.below("attn")
    norm = Norm(block["norm1.weight"], block["norm1.bias"], EPS)
    weight, bias = t.linear("qkv", notes)
    if spec.norm_inside:
        # norm1(0) is its bias: with scale and shift inside qkv a padding token is zero again.
        weight, bias = weight * block["norm1.weight"], bias + weight @ block["norm1.bias"]
        norm = Norm(torch.ones_like(norm.weight), torch.zeros_like(norm.bias), EPS)
        notes.add("LayerNorm affine", "norm1's scale and shift into qkv; padding becomes zero")
    dim = weight.shape[1]
    q, k, v, proj = scaled_heads(
        (weight[:dim], weight[dim : 2 * dim], weight[2 * dim :]),
        (bias[:dim], bias[2 * dim :]),
        t.linear("proj", notes),
        spec.heads,
    )
    assert q.bias is not None
    qkv_bias = torch.cat([q.bias, torch.zeros(2 * dim)])
    qkv = Linear(torch.cat([q.weight, k.weight, v.weight], 1), qkv_bias)
    _note_attention(t[spec.tables[0]].shape[0], spec, notes)
    rel_h, rel_w = (_scaled_table(t[name], spec.window, dim, spec.heads) for name in spec.tables)
    if "Space_Adapter.D_fc1" not in block:
        return norm, RelativeAttention(qkv, proj, rel_h, rel_w, spec.heads, spec.grid)
    wide, adapter, depth = _serial(block, proj, spec, notes)
    return norm, RelativeAttention(
        qkv, wide, rel_h, rel_w, spec.heads, spec.grid, adapter=adapter, depth=depth
    )


def _note_attention(rows: int, spec: AttentionSpec, notes: Notes) -> None:
    window, grid = spec.window, spec.grid
    notes.add("softmax scale", "into the query weights, tables divided by it")
    if rows != 2 * window - 1:
        notes.add("constants", f"position table of {rows} rows resized to {2 * window - 1}")
    notes.add("attention biases", "key bias dropped (softmax does not see it), value bias moved "
              "behind the attention")  # fmt: skip
    if grid != window and grid % window:
        side = -(-grid // window) * window
        notes.add("window padding", f"{side}x{side} -> {grid}x{grid} tokens in qkv and proj; "
                  "padding keys are zero")  # fmt: skip


def _scaled_table(table: torch.Tensor, size: int, dim: int, heads: int) -> torch.Tensor:
    """`relative_table` for queries that are scaled already."""
    return relative_table(table, size) * math.sqrt(dim // heads)


def _serial(
    block: Tree, proj: Linear, spec: AttentionSpec, notes: Notes
) -> tuple[Linear, Linear, DepthBranch | None]:
    """Adapters behind the projection y = P z + p (and those of the depth branch).

    y + A2 gelu(A1 y + a1) + a2: `[P; A1 P] z` gives y and the adapter's pre-activation. The depth
    branch D2 gelu(D1 y' + d1) + d2 has no skip, so its y' is never formed: D1 P is its projection;
    and both second matrices act on hidden vectors that stand side by side.
    """
    assert proj.bias is not None
    weight, bias = proj.weight.t().double(), proj.bias.double()
    space = block.below("Space_Adapter")
    a1, a2 = space["D_fc1.weight"], space["D_fc2.weight"]
    hidden_bias, out_bias = a1 @ bias + space["D_fc1.bias"], space["D_fc2.bias"]
    notes.add("serial adapter", "Space_Adapter: first matrix into the projection in front")
    depth = None
    if spec.depth:
        depth = _depth_branch(block, weight, bias, spec, notes)
        d2 = block.below("Depth_Adapter.D_fc2")
        a2, out_bias = torch.cat([a2, d2["weight"]], 1), out_bias + d2["bias"]
    else:
        notes.add("depth branch", "Depth_Adapter left out: images have no slices to relate")
    wide = Linear(torch.cat([weight, a1 @ weight]).t(), torch.cat([bias + out_bias, hidden_bias]))
    return wide, Linear(a2.t()), depth


def _depth_branch(
    block: Tree, weight: torch.Tensor, bias: torch.Tensor, spec: AttentionSpec, notes: Notes
) -> DepthBranch:
    """D1 (P z + p) + d1 of the depth branch, with `weight` P [out, in] and `bias` p."""
    first, dim = block.below("Depth_Adapter.D_fc1"), weight.shape[0]
    tables = [block.below("attn")[name] for name in spec.tables]
    sides = zip(tables, depth_grid(spec.depth), strict=True)
    rel_h, rel_w = (_scaled_table(table, side, dim, spec.heads) for table, side in sides)
    notes.add("depth branch", f"shares qkv with the image's; {spec.depth} entries as "
              f"{rel_h.shape[0]} x {rel_w.shape[0]}; Depth_Adapter: first matrix into the "
              "projection, second joined with Space_Adapter's")  # fmt: skip
    down = Linear((first["weight"] @ weight).t(), first["weight"] @ bias + first["bias"])
    return DepthBranch(down, rel_h, rel_w, spec.depth)
