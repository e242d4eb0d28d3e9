"""Ways to break the rules for LoRA, Medical SAM Adapter and AutoSAMUS; see `breaks.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from samedge.fold.generator import AttentionHalf, PromptGenerator
from samedge.fold.layers import DepthBranch, Linear, Norm
from samedge.fold.tree import Tree
from samedge.geometry.filters import bilinear_matrix
from samedge.kernels import reference

# LoRA ------------------------------------------------------------------------------------------


def branches_moved(order: tuple[int, int, int]) -> Any:
    """SAMed's branches are added to other thirds of the qkv layer: `order` of (q, k, v)."""

    def linear(original: Any, tree: Tree, key: str, notes: Any) -> Any:
        weight, bias = original(tree, key, notes)
        if "qkv.weight" not in tree.below(key):
            return weight, bias
        plain = tree.below(key)["qkv.weight"]
        thirds = (weight - plain).chunk(3)
        return plain + torch.cat([thirds[i] for i in order]), bias

    return linear


def without_rank(original: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """loralib's 1 / r left out."""
    return original(a, b) * b.shape[1]


def groups_moved(original: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The branch of the query added to the key's rows, that of the value to the query's."""
    delta = original(a, b)
    return delta.roll(len(delta) // 3, 0)


# Medical SAM Adapter ---------------------------------------------------------------------------

Serial = tuple[Linear, Linear, DepthBranch | None]


def serial_of_the_attention(original: Any, block: Tree, proj: Linear, *rest: Any) -> Serial:
    """The adapter reads what the projection reads: A1 z instead of A1 P z."""
    wide, adapter, depth = original(block, proj, *rest)
    dim = proj.weight.shape[0]
    weight = wide.weight.clone()
    weight[:, dim:] = block["Space_Adapter.D_fc1.weight"].t()
    return Linear(weight, wide.bias), adapter, depth


def serial_without_projection_bias(original: Any, block: Tree, proj: Linear, *rest: Any) -> Serial:
    """A1 p left out of the pre-activation's bias."""
    wide, adapter, depth = original(block, proj, *rest)
    bias = wide.bias.clone()
    bias[proj.weight.shape[0] :] = block["Space_Adapter.D_fc1.bias"]
    return Linear(wide.weight, bias), adapter, depth


def second_matrices_swapped(original: Any, *args: Any) -> Serial:
    """The hidden vectors stand the other way round: space behind depth."""
    wide, adapter, depth = original(*args)
    return wide, Linear(adapter.weight.roll(len(adapter.weight) // 2, 0)), depth


def depth_without_projection_bias(original: Any, block: Tree, *rest: Any) -> Serial:
    wide, adapter, depth = original(block, *rest)
    down = Linear(depth.down.weight, block["Depth_Adapter.D_fc1.bias"])
    return wide, adapter, DepthBranch(down, depth.rel_h, depth.rel_w, depth.depth)


def depth_tables(rows: float, cols: float) -> Any:
    """Other factors of the depth branch's tables."""

    def make(original: Any, down: Linear, h: torch.Tensor, w: torch.Tensor, depth: int) -> Any:
        return original(down, rows * h, cols * w, depth)

    return make


def every_other_slice(original: Any, qkv: torch.Tensor, *rest: Any) -> torch.Tensor:
    """Groups of slices 0, 2, ... and 1, 3, ... instead of neighbours."""
    order = torch.cat([torch.arange(0, len(qkv), 2), torch.arange(1, len(qkv), 2)])
    return original(qkv[order], *rest)[order.argsort()]


def windows_apart(
    original: Any,
    qkv: torch.Tensor,
    rel_h: torch.Tensor,
    rel_w: torch.Tensor,
    heads: int,
    grid: int,
    window: int,
    depth: int,
) -> torch.Tensor:
    """Groups of the same window of several slices, as a reader of the paper would make them."""
    b, _, c = qkv.shape
    pad, count = -grid % window, -(-grid // window)
    side = (count, window)
    x = F.pad(qkv.reshape(b, grid, grid, c), (0, 0, 0, pad, 0, pad))
    x = reference.windows(x, side, side).reshape(b, count**2, window**2, c)
    x = x.permute(1, 2, 0, 3).reshape(-1, depth, c)  # [window, place, slice, C]
    y = reference.relative_attention(*x.chunk(3, -1), rel_h, rel_w, heads)
    y = y.reshape(count**2, window**2, b, c // 3).permute(2, 0, 1, 3).flatten(0, 1)
    y = reference.unwindows(y, side, side)[:, :grid, :grid]
    return y.reshape(b, grid * grid, c // 3)


def depth_padding_replicated(original: Any, qkv: torch.Tensor, *rest: Any) -> torch.Tensor:
    """Padding entries of a group are copies of the outermost real tokens instead of zero."""
    *tables, heads, grid, window, depth = rest
    pad = -grid % window
    if not pad:
        return original(qkv, *rest)
    b, _, c = qkv.shape
    wide = F.pad(qkv.reshape(b, grid, grid, c).permute(0, 3, 1, 2), (0, pad, 0, pad), "replicate")
    side = grid + pad
    wide = wide.permute(0, 2, 3, 1).reshape(b, side * side, c)
    y = original(wide, *tables, heads, side, window, depth).reshape(b, side, side, -1)
    return y[:, :grid, :grid].reshape(b, grid * grid, -1)


def no_mean(original: Any, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
    weight, offset = original(*args)
    return weight, torch.zeros_like(offset)


def mean_of_one_channel(
    original: Any, weight: torch.Tensor, family: Any, notes: Any, what: str
) -> Any:
    """A grey frame's three means taken for one."""
    return original(weight, replace(family, mean=family.mean[:1] * 3), notes, what)


def std_of_one_channel(
    original: Any, weight: torch.Tensor, family: Any, notes: Any, what: str
) -> Any:
    return original(weight, replace(family, std=family.std[:1] * 3), notes, what)


def bilinear_positions(original: Any, tree: Tree, grid: int, notes: Any) -> torch.Tensor:
    """Medical SAM Adapter's table, bilinear instead of bicubic."""
    table = tree["pos_embed"][0]
    matrix = torch.from_numpy(bilinear_matrix(grid, len(table)))
    return torch.einsum("yi,xj,ijc->yxc", matrix, matrix, table)


def code_in_scores_only(original: Any, *args: Any, code: str, residual: bool) -> Any:
    """The tokens' code in queries and keys, as in SAM, instead of in the tokens for good."""
    return original(*args, code="scores" if code == "tokens" else code, residual=residual)


def first_residual_as_in_sam(original: Any, *args: Any, code: str, residual: bool) -> Any:
    return original(*args, code=code, residual=residual and code != "none")


def first_residual_kept(original: Any, *args: Any, code: str, residual: bool) -> Any:
    """A residual in SAM's first layer, which has none."""
    return original(*args, code=code, residual=True)


# AutoSAMUS -------------------------------------------------------------------------------------


def textbook_attention(
    original: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int
) -> torch.Tensor:
    """`exp s / (1 + sum exp s)`: the one more is not divided by `exp(max s)`."""
    q, k, v = (reference.split_heads(x, heads) for x in (q, k, v))
    weights = (q @ k.transpose(-1, -2)).exp()
    return reference.merge_heads(weights @ v / (1 + weights.sum(-1, keepdim=True)))


def plain_attention(original: Any, *args: Any) -> torch.Tensor:
    return reference.attention(*args)


def nothing_exchanged(original: Any, tree: Tree, x: torch.Tensor, *rest: Any) -> torch.Tensor:
    """The object tokens as they are, without their exchange with the decoder's."""
    return x


def exchanged(part: str) -> Any:
    """One half of a layer, made wrongly: which part of its qkv bias is left out, or moved."""

    def make(original: Any, *args: Any) -> AttentionHalf:
        half = original(*args)
        inner = half.proj.weight.shape[0]
        bias, proj_bias = half.qkv.bias.clone(), half.proj.bias
        values = bias[2 * inner :].clone()
        if part == "query bias":
            bias[:inner] = 0
        else:
            bias[2 * inner :] = 0
        if part == "value bias behind the attention":  # as if the weights summed to 1
            proj_bias = proj_bias + values @ half.proj.weight
        feed = (half.feed_norm, half.lin1, half.lin2)
        proj = Linear(half.proj.weight, proj_bias)
        return AttentionHalf(half.norm, Linear(half.qkv.weight, bias), proj, feed)

    return make


def scale_kept(original: Any, *args: Any) -> AttentionHalf:
    """The queries' softmax scale left out."""
    half = original(*args)
    inner, heads = half.proj.weight.shape[0], args[2]
    weight, bias = half.qkv.weight.clone(), half.qkv.bias.clone()
    weight[:, :inner] *= (inner // heads) ** 0.5
    bias[:inner] *= (inner // heads) ** 0.5
    feed = (half.feed_norm, half.lin1, half.lin2)
    return AttentionHalf(half.norm, Linear(weight, bias), half.proj, feed)


def other_token_first(original: Any, tokens: torch.Tensor, *rest: Any) -> PromptGenerator:
    """Another token than the first object becomes the prompt."""
    return original(tokens.roll(-1, 1), *rest)


def generated(
    prune: int | None = None, one_after_the_other: bool = False, dense: bool = True
) -> Any:
    """`PromptGenerator.forward` with changes.

    Args:
        prune: the layer in which the other tokens are left out; None: the last.
        one_after_the_other: the prompt attends to the image's new state.
        dense: whether the dense prompt is added.
    """

    def forward(original: Any, self: PromptGenerator, x: torch.Tensor) -> Any:
        b, t, c = x.shape
        y = self.tokens.expand(b, -1, -1)
        last = len(self.image) - 1 if prune is None else prune
        for i, (image, prompt) in enumerate(zip(self.image, self.prompt, strict=True)):
            (q, k, v), (q_own, k_own, v_own) = image.parts(x), prompt.parts(y)
            if i == last:
                y, q_own = y[:, :1], q_own[:, :1]
            x = image(x, reference.one_more_attention(q, k_own, v_own, self.heads))
            if one_after_the_other:
                _, k, v = image.parts(x)
            y = prompt(y, reference.one_more_attention(q_own, k, v, self.heads))
        side = int(t**0.5)
        code = x.reshape(b, side, side, c)
        for conv in self.dense:
            code = conv(code)
        return (x + code.reshape(b, t, c) if dense else x), y

    return forward


def own_affine_kept(original: Any, *args: Any) -> AttentionHalf:
    """A norm's scale and shift in the matrices, and applied to the tokens as well."""
    half, layer, index = original(*args), args[0], args[1]
    own = layer.below(str(index))
    norm = Norm(own["norm1.weight"], own["norm1.bias"], half.norm.eps)
    feed = (half.feed_norm, half.lin1, half.lin2)
    return AttentionHalf(norm, half.qkv, half.proj, feed)


# TinyViT ---------------------------------------------------------------------------------------


def heads_as_thirds(original: Any, weights: Any, biases: Any, proj: Any, heads: int) -> Any:
    """qkv read as SAM has it, all queries first, where every head has its three side by side."""
    stacked = torch.stack([w.reshape(heads, -1, w.shape[1]) for w in weights], 1)
    return original(stacked.reshape(3, -1, stacked.shape[-1]).unbind(), biases, proj, heads)


def rows_and_columns_swapped(original: Any, window: int) -> torch.Tensor:
    """The table read by (|dx|, |dy|)."""
    index = original(window)
    return index % window * window + index // window


def distances_of_one_query(original: Any, window: int) -> torch.Tensor:
    """Every query has the first one's biases."""
    return original(window)[:1].expand(window * window, -1)


def biased_padding_not_attended(
    original: Any, qkv: torch.Tensor, bias: torch.Tensor, heads: int, grid: int
) -> torch.Tensor:
    """As if padding were masked."""
    w, c = int(bias.shape[-1] ** 0.5), qkv.shape[-1] // 3
    x = qkv.reshape(-1, grid, grid, 3 * c)
    table = bias.reshape(-1, w, w, w, w)
    result = x.new_empty(*x.shape[:3], c)
    for top in range(0, grid, w):
        for left in range(0, grid, w):
            m, n = min(w, grid - top), min(w, grid - left)
            part = x[:, top : top + m, left : left + n].reshape(-1, m * n, 3 * c)
            q, k, v = (reference.split_heads(t, heads) for t in part.chunk(3, -1))
            own = table[:, :m, :n, :m, :n].reshape(-1, m * n, m * n)
            out = reference.merge_heads((q @ k.transpose(-1, -2) + own).softmax(-1) @ v)
            result[:, top : top + m, left : left + n] = out.reshape(-1, m, n, c)
    return result.reshape(-1, grid * grid, c)
