"""Attention along the batch axis: slices of a volume look at each other, place by place.

Each place has only a few keys, one per slice, so there is nothing for tensor cores in it: it is
bound by memory, and everything is read where the qkv product left it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.attention.online_softmax import LOG2_E
from samedge.kernels.attention.relative_positions import check_qkv, check_table
from samedge.kernels.launch import Array, Launch, Runner, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product


@triton.jit
def place_in_image(sequence, p, GRID: tl.constexpr, WINDOW: tl.constexpr, ACROSS: tl.constexpr):
    """Where places p of window number `sequence`, counted over all images, lie.

    Returns:
        the image (int64), tokens in it, and whether they are in the grid.
    """
    window = sequence % (ACROSS * ACROSS)
    y = window // ACROSS * WINDOW + p // WINDOW
    x = window % ACROSS * WINDOW + p % WINDOW
    inside = (p < WINDOW * WINDOW) & (y < GRID) & (x < GRID)
    return (sequence // (ACROSS * ACROSS)).to(tl.int64), y * GRID + x, inside


@triton.jit
def depth_attention_kernel(
    qkv_ptr,
    rel_h_ptr,
    rel_w_ptr,
    out_ptr,
    GRID: tl.constexpr,
    WINDOW: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    DIM_POW2: tl.constexpr,
):
    """qkv [B, GRID * GRID, 3, HEADS, DIM] -> out [B, GRID * GRID, HEADS, DIM].

    Grid: tiles of BLOCK_M places of a window, heads, windows of all images. Each ROWS * COLS
    windows, counted over all images, form a group that is laid out as a grid of ROWS x COLS.
    """
    ACROSS: tl.constexpr = (GRID + WINDOW - 1) // WINDOW
    TOKENS: tl.constexpr = GRID * GRID
    WIDTH: tl.constexpr = 3 * HEADS * DIM
    DEPTH: tl.constexpr = ROWS * COLS
    head, sequence = tl.program_id(1), tl.program_id(2)
    p = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, DIM_POW2)
    image, token, stored = place_in_image(sequence, p, GRID, WINDOW, ACROSS)
    stored = stored[:, None] & (d < DIM)[None, :]
    place = image * (TOKENS * WIDTH) + head * DIM + token[:, None] * WIDTH + d[None, :]
    q = tl.load(qkv_ptr + place, mask=stored, other=0.0).to(tl.float32) * LOG2_E
    entry, first = sequence % DEPTH, sequence // DEPTH * DEPTH

    peak = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    result = tl.zeros((BLOCK_M, DIM_POW2), tl.float32)
    for other in range(DEPTH):
        # Keys and values outside of the grid are zero, and take part with their bias.
        its_image, its_token, inside = place_in_image(first + other, p, GRID, WINDOW, ACROSS)
        key = qkv_ptr + its_image * (TOKENS * WIDTH) + (HEADS + head) * DIM
        key += its_token[:, None] * WIDTH + d[None, :]
        inside = inside[:, None] & (d < DIM)[None, :]
        k = tl.load(key, mask=inside, other=0.0).to(tl.float32)
        v = tl.load(key + HEADS * DIM, mask=inside, other=0.0).to(tl.float32)
        row = entry // COLS - other // COLS + (ROWS - 1)
        column = entry % COLS - other % COLS + (COLS - 1)
        bias_h = tl.load(rel_h_ptr + row * DIM + d, mask=d < DIM, other=0.0).to(tl.float32)
        bias_w = tl.load(rel_w_ptr + column * DIM + d, mask=d < DIM, other=0.0).to(tl.float32)
        scores = tl.sum(q * (k + (bias_h + bias_w)[None, :]), 1)
        new_peak = tl.maximum(peak, scores)
        weights, correction = tl.exp2(scores - new_peak), tl.exp2(peak - new_peak)
        total = total * correction + weights
        result = result * correction[:, None] + weights[:, None] * v
        peak = new_peak
    result /= total[:, None]
    out_ptr += image * (TOKENS * HEADS * DIM) + head * DIM
    place = token[:, None] * (HEADS * DIM) + d[None, :]
    tl.store(out_ptr + place, result.to(out_ptr.dtype.element_ty), mask=stored)


def depth_attention(
    run: Runner,
    qkv: Array,
    rel_h: Array,
    rel_w: Array,
    heads: int,
    grid: int,
    window: int,
    depth: int,
) -> Array:
    """Attention along the batch axis; see `reference.depth_attention`.

    Args:
        run: carries it out.
        qkv: [B, g*g, 3*h*d], contiguous; queries scaled by 1/sqrt(d). fp32, fp16 or bf16.
        rel_h, rel_w: [2 m - 1, d] and [2 n - 1, d] with m*n = depth, element type of qkv, made by
            `relative_positions.tables`.
        heads: h.
        grid: g.
        window: side of a window, or the grid's where there are none.
        depth: windows of a group; divides B times the windows of an image.

    Returns:
        [B, g*g, h*d], element type of qkv.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name = "depth_attention"
    dim = check_qkv(qkv, name, grid * grid, heads)
    rows, cols = (
        check_table(x, name, n, dim, qkv.dtype) for x, n in ((rel_h, "rel_h"), (rel_w, "rel_w"))
    )
    if rows * cols != depth:
        raise DeviceError(
            f"{name}: tables of a grid of {rows} x {cols} came, expected {depth} places"
        )
    sequences = product(qkv.shape[0], cdiv(grid, window), cdiv(grid, window))
    if isinstance(sequences, int) and sequences % depth:
        raise DeviceError(f"{name}: {sequences} windows came, expected a multiple of {depth}")
    tile = tile_of(name, qkv.dtype, run.arch)
    out = run.empty((qkv.shape[0], grid * grid, heads * dim), qkv.dtype, name)
    run.launch(
        Launch(
            depth_attention_kernel,
            (cdiv(window**2, tile["BLOCK_M"]), heads, sequences),
            {"qkv_ptr": qkv, "rel_h_ptr": rel_h, "rel_w_ptr": rel_w, "out_ptr": out},
            {
                "GRID": grid,
                "WINDOW": window,
                "ROWS": rows,
                "COLS": cols,
                "HEADS": heads,
                "DIM": dim,
                "BLOCK_M": tile["BLOCK_M"],
                "DIM_POW2": next_power(dim),
            },
            ("out_ptr",),
            tile,
            flops=product(qkv.shape[0], grid**2, heads, 2 * dim * (2 * depth + rows + cols)),
        )
    )
    return out
