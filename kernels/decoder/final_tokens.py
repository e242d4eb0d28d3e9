"""The decoder's last look at the tokens: hypernetworks' weights and scores of the chosen masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.decoder.token_join import normalised
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product


@dataclass(frozen=True)
class HeadWeights:
    """The IoU head and the hypernetworks of every mask, of one size and behind each other.

    Matrices are in one of fp32, fp16 and bf16, the rest is fp32; `stacked_heads` makes them.

    Attributes:
        layers: [1 + masks, L, H, H], IoU head first, with an even L; each is followed by a ReLU.
        biases: [1 + masks, L, H].
        last: [1 + masks, H, O].
        last_bias: [1 + masks, O].
        hyper_width: columns of `last` that a hypernetwork has; the IoU head has one per mask.
    """

    layers: Array
    biases: Array
    last: Array
    last_bias: Array
    hyper_width: int


def stacked_heads(
    heads: Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tensors of `HeadWeights` from layers of different sizes and numbers, exactly.

    Narrow layers get zeros, short heads identity matrices (a ReLU does not change what comes out
    of another), which changes no value.

    Args:
        heads: IoU head, then hypernetworks; of each the layers' weights [in, out] and biases.

    Returns:
        layers, biases, last and last_bias.
    """
    count = max(len(layers) - 1 for layers in heads)
    count += count % 2
    width = max(max(w.shape) if i + 1 < len(layers) else w.shape[0]
                for layers in heads for i, (w, _) in enumerate(layers))  # fmt: skip
    outputs = max(layers[-1][0].shape[1] for layers in heads)
    full = heads[0][0][0].new_zeros
    layers_, biases = full(len(heads), count, width, width), full(len(heads), count, width)
    last, last_bias = full(len(heads), width, outputs), full(len(heads), outputs)
    for i, layers in enumerate(heads):
        *inner, (weight, bias) = layers
        last[i, : weight.shape[0], : weight.shape[1]], last_bias[i, : len(bias)] = weight, bias
        for j in range(count):
            if j < len(inner):
                weight, bias = inner[j]
                layers_[i, j, : weight.shape[0], : weight.shape[1]] = weight
                biases[i, j, : len(bias)] = bias
            else:
                layers_[i, j] = torch.eye(width, dtype=last.dtype)
    return layers_, biases, last, last_bias


@triton.jit
def final_tokens_kernel(
    x_ptr,
    y_ptr,
    proj_ptr,
    proj_bias_ptr,
    weight_ptr,
    shift_ptr,
    layers_ptr,
    biases_ptr,
    last_ptr,
    last_bias_ptr,
    index_ptr,
    hyper_ptr,
    scores_ptr,
    objects,
    masks,
    y_rows,
    MASKS: tl.constexpr,
    FIRST_MASK: tl.constexpr,
    WIDTH: tl.constexpr,
    INNER: tl.constexpr,
    LAYERS: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUTPUTS: tl.constexpr,
    HYPER: tl.constexpr,
    EPS: tl.constexpr,
    CHOSEN: tl.constexpr,
    CAPACITY: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_O: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """The IoU head (program 0 of the second axis) or a hypernetwork, of BLOCK_N objects.

    x fp32 [objects, CAPACITY, WIDTH], y [objects, y_rows, INNER], index i64 [masks] where CHOSEN,
    hyper fp32 [objects, masks, HYPER], scores fp32 [objects, masks].
    grid = (cdiv(objects, BLOCK_N), 1 + masks)
    """
    dtype = layers_ptr.dtype.element_ty
    which = tl.program_id(1)
    mask = tl.maximum(which - 1, 0)
    if CHOSEN:
        mask = tl.load(index_ptr + mask).to(tl.int32)
    known = (mask >= 0) & (mask < MASKS)
    mask = tl.minimum(tl.maximum(mask, 0), MASKS - 1)
    head = tl.where(which == 0, 0, 1 + mask)
    token = tl.where(which == 0, 0, 1 + FIRST_MASK + mask)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    c = tl.arange(0, WIDTH_POW2)
    real, wide, deep = (n < objects)[:, None], (c < WIDTH)[None, :], c < HIDDEN

    x = tl.zeros((BLOCK_N, WIDTH_POW2), tl.float32)
    k = tl.arange(0, BLOCK_K)
    for start in tl.range(0, INNER, BLOCK_K):
        row = start + k
        place = (n * y_rows + token)[:, None] * INNER + row[None, :]
        y = tl.load(y_ptr + place, mask=real & (row < INNER)[None, :], other=0.0)
        proj = tl.load(
            proj_ptr + row[:, None] * WIDTH + c[None, :],
            mask=(row < INNER)[:, None] & wide,
            other=0.0,
        )
        x = tl.dot(y, proj, x, input_precision="ieee")
    place = (n * CAPACITY + token)[:, None] * WIDTH + c[None, :]
    x += tl.load(x_ptr + place, mask=real & wide, other=0.0)
    x += tl.load(proj_bias_ptr + c, mask=c < WIDTH, other=0.0)[None, :]
    x = normalised(x, c, weight_ptr, shift_ptr, WIDTH, EPS)

    # Two layers at a time: the hidden columns between them come and go in blocks.
    for pair in tl.static_range(0, LAYERS, 2):
        layer = head * LAYERS + pair
        first_ptr = layers_ptr + layer * (HIDDEN * HIDDEN)
        bias_ptr = biases_ptr + layer * HIDDEN
        vector = x.to(dtype)
        x = tl.zeros((BLOCK_N, WIDTH_POW2), tl.float32)
        for start in tl.range(0, HIDDEN, BLOCK_H):
            h = start + tl.arange(0, BLOCK_H)
            first = tl.load(
                first_ptr + c[:, None] * HIDDEN + h[None, :],
                mask=deep[:, None] & (h < HIDDEN)[None, :],
                other=0.0,
            )
            second = tl.load(
                first_ptr + HIDDEN * HIDDEN + h[:, None] * HIDDEN + c[None, :],
                mask=(h < HIDDEN)[:, None] & deep[None, :],
                other=0.0,
            )
            hidden = tl.dot(vector, first, input_precision="ieee", out_dtype=tl.float32)
            hidden += tl.load(bias_ptr + h, mask=h < HIDDEN, other=0.0)[None, :]
            x = tl.dot(tl.maximum(hidden, 0.0).to(dtype), second, x, input_precision="ieee")
        x += tl.load(bias_ptr + HIDDEN + c, mask=deep, other=0.0)[None, :]
        x = tl.maximum(x, 0.0)

    vector = x.to(dtype)
    for start in tl.range(0, OUTPUTS, BLOCK_O):
        o = start + tl.arange(0, BLOCK_O)
        last = tl.load(
            last_ptr + (head * HIDDEN + c)[:, None] * OUTPUTS + o[None, :],
            mask=deep[:, None] & (o < OUTPUTS)[None, :],
            other=0.0,
        )
        y = tl.dot(vector, last, input_precision="ieee", out_dtype=tl.float32)
        y += tl.load(last_bias_ptr + head * OUTPUTS + o, mask=o < OUTPUTS, other=0.0)[None, :]
        if which == 0:
            for j in tl.range(masks):
                column = tl.zeros((BLOCK_N,), tl.int32) + j
                if CHOSEN:
                    column = tl.zeros((BLOCK_N,), tl.int32) + tl.load(index_ptr + j).to(tl.int32)
                score = tl.sum(tl.where(o[None, :] == column[:, None], y, 0.0), 1)
                there = (column >= 0) & (column < MASKS)
                here = (column >= start) & (column < start + BLOCK_O)
                score = tl.where(there, score, float("nan"))
                tl.store(
                    scores_ptr + n * masks + j, score, mask=(n < objects) & (here | (there == 0))
                )
        else:
            hyper = (n * masks + which - 1)[:, None] * HYPER + o[None, :]
            y = tl.where(known, y, float("nan"))  # a mask that there is not
            tl.store(hyper_ptr + hyper, y, mask=real & (o < HYPER)[None, :])


def final_tokens(
    run: Runner,
    x: Array,
    y: Array,
    proj: tuple[Array, Array],
    norm: tuple[Array, Array],
    eps: float,
    heads: HeadWeights,
    scores: Array,
    mask_index: Array | None = None,
    first_mask: int = 0,
) -> Array:
    """The tokens' last norm, and what the mask head makes of them; in one launch.

    Args:
        run: carries it out.
        x: fp32 [N, capacity, P], of the last `token_update`.
        y: [N, tokens or capacity, h*d] in the weights' type: what the tokens saw in the image.
        proj: weight [h*d, P] and bias fp32 [P] of the final attention.
        norm: weight and bias, fp32 [P].
        eps: of the norm.
        heads: IoU head and hypernetworks.
        scores: fp32 [N, K], contiguous; gets the predicted IoU of every chosen mask.
        mask_index: i64 [K], which masks; None: all of them, in order. The result is NaN for a mask
            that there is not.
        first_mask: mask token of the first hypernetwork.

    Returns:
        The hypernetworks' weights, fp32 [N, K, E], for `mask_head`.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name, dtype = "final_tokens", heads.layers.dtype
    (objects, capacity, width), inner = x.shape, fixed(y.shape[-1], "the width of y")
    width, capacity = fixed(width, "P"), fixed(capacity, "the capacity")
    count, layers, hidden, outputs = _check_heads(name, heads)
    masks = scores.shape[1]
    check(x, name, "x", (objects, capacity, width), "fp32")
    check(y, name, "y", (objects, None, inner), dtype)
    check(proj[0], name, "proj", (inner, width), dtype)
    check(scores, name, "scores", (objects, masks if mask_index else count - 1), "fp32")
    for array in (proj[1], *norm):
        check(array, name, "a vector of the norm", (width,), "fp32")
    if mask_index is not None:
        check(mask_index, name, "mask_index", (masks,), "i64")
    if not (x.contiguous and y.contiguous and scores.contiguous) or width > hidden:
        raise DeviceError(f"{name}: x, y and scores have to be contiguous, and P at most {hidden}")
    tile = tile_of(name, dtype, run.arch)
    hyper = run.empty((objects, masks, heads.hyper_width), "fp32", "hypernetworks")
    per_head = inner * width + layers * hidden * hidden + hidden * outputs
    run.launch(
        Launch(
            final_tokens_kernel,
            (cdiv(objects, tile["BLOCK_N"]), masks + 1, 1),
            {
                "x_ptr": x,
                "y_ptr": y,
                "proj_ptr": proj[0],
                "proj_bias_ptr": proj[1],
                "weight_ptr": norm[0],
                "shift_ptr": norm[1],
                "layers_ptr": heads.layers,
                "biases_ptr": heads.biases,
                "last_ptr": heads.last,
                "last_bias_ptr": heads.last_bias,
                "index_ptr": mask_index,
                "hyper_ptr": hyper,
                "scores_ptr": scores,
                "objects": objects,
                "masks": masks,
                "y_rows": y.shape[1],
            },
            {
                "MASKS": count - 1,
                "FIRST_MASK": first_mask,
                "WIDTH": width,
                "INNER": inner,
                "LAYERS": layers,
                "HIDDEN": hidden,
                "OUTPUTS": outputs,
                "HYPER": heads.hyper_width,
                "EPS": eps,
                "CHOSEN": mask_index is not None,
                "CAPACITY": capacity,
                "BLOCK_N": tile["BLOCK_N"],
                "BLOCK_K": min(tile["BLOCK_K"], next_power(inner, 16)),
                "BLOCK_H": min(tile["BLOCK_H"], next_power(hidden, 16)),
                "BLOCK_O": tile["BLOCK_O"],
                "WIDTH_POW2": next_power(hidden, 16),
            },
            ("hyper_ptr", "scores_ptr"),
            tile,
            flops=product(objects, masks + 1, 2 * per_head),
        )
    )
    return hyper


def _check_heads(name: str, heads: HeadWeights) -> tuple[int, int, int, int]:
    """Heads, layers of each, their width, and columns of the last one."""
    dtype = heads.layers.dtype
    sizes = (*heads.layers.shape[:3], heads.last.shape[-1])
    count, layers, hidden, outputs = (fixed(size, "a size of the heads") for size in sizes)
    check(heads.layers, name, "layers", (count, layers, hidden, hidden), *FLOATS)
    check(heads.biases, name, "biases", (count, layers, hidden), "fp32")
    check(heads.last, name, "last", (count, hidden, outputs), dtype)
    check(heads.last_bias, name, "last_bias", (count, outputs), "fp32")
    if layers % 2 or not 0 < heads.hyper_width <= outputs or outputs < count - 1:
        raise DeviceError(
            f"{name}: {layers} layers, {outputs} columns, {heads.hyper_width} of a hypernetwork; "
            "expected what stacked_heads makes"
        )
    return count, layers, hidden, outputs
