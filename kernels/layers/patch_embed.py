"""Patch embedding: patches times a matrix, plus the position table, in one launch.

Patches are read from the image where they lie; where the stride is smaller than their side (SAMUS)
they overlap, and nothing is unfolded.
"""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import (
    FLOATS,
    Array,
    Launch,
    Runner,
    check,
    check_contiguous,
    fixed,
)
from samedge.kernels.layers.gelu import gelu
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product


@triton.jit
def patch_embed_kernel(
    pixels_ptr,
    weight_ptr,
    pos_ptr,
    bias_ptr,
    tokens_ptr,
    hidden_ptr,
    rows,
    CHANNELS: tl.constexpr,
    SIDE: tl.constexpr,
    PATCH: tl.constexpr,
    STRIDE: tl.constexpr,
    GRID: tl.constexpr,
    DIM: tl.constexpr,
    HIDDEN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """pixels [B, CHANNELS, SIDE, SIDE], weight [CHANNELS * PATCH^2, DIM + HIDDEN] -> tokens
    [rows, DIM] with the table pos [GRID^2, DIM], hidden [rows, HIDDEN] with the bias and GELU."""
    columns: tl.constexpr = DIM + HIDDEN
    inner: tl.constexpr = CHANNELS * PATCH * PATCH
    column_tiles: tl.constexpr = tl.cdiv(columns, BLOCK_N)
    m = tl.program_id(0) // column_tiles * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(0) % column_tiles * BLOCK_N + tl.arange(0, BLOCK_N)
    token = m % (GRID * GRID)
    corner = token // GRID * (STRIDE * SIDE) + token % GRID * STRIDE
    corner = (m // (GRID * GRID)).to(tl.int64) * (CHANNELS * SIDE * SIDE) + corner
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for first in range(0, inner, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        place = k // (PATCH * PATCH) * (SIDE * SIDE) + k // PATCH % PATCH * SIDE + k % PATCH
        a = tl.load(
            pixels_ptr + corner[:, None] + place[None, :],
            mask=(m < rows)[:, None] & (k < inner)[None, :],
            other=0.0,
        )
        w = tl.load(
            weight_ptr + k[:, None] * columns + n[None, :],
            mask=(k < inner)[:, None] & (n < columns)[None, :],
            other=0.0,
        )
        acc = tl.dot(a, w, acc, input_precision="ieee")
    inside = (m < rows)[:, None] & (n < DIM)[None, :]
    table = tl.load(pos_ptr + token[:, None] * DIM + n[None, :], mask=inside, other=0.0)
    row = m.to(tl.int64)[:, None]
    tl.store(tokens_ptr + row * DIM + n[None, :], acc + table, mask=inside)
    if HIDDEN > 0:
        bias = tl.load(bias_ptr + n - DIM, mask=(n >= DIM) & (n < columns), other=0.0)
        value = gelu(acc + bias[None, :])
        inside = (m < rows)[:, None] & ((n >= DIM) & (n < columns))[None, :]
        place = row * HIDDEN + (n - DIM)[None, :]
        tl.store(hidden_ptr + place, value.to(hidden_ptr.dtype.element_ty), mask=inside)


def patch_embed(
    run: Runner,
    pixels: Array,
    weight: Array,
    stride: int,
    size: int,
    pos: Array,
    *,
    adapter_bias: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Patches to tokens, position table added; with an adapter its hidden vectors, too.

    Args:
        run: carries it out.
        pixels: [B, C, S, S], contiguous, any float.
        weight: [C * size * size, D + A], contiguous, of the same type; row (c, i, j).
        stride: from patch to patch, px.
        size: side of a patch, px.
        pos: fp32 [g * g, D] with `g = (S - size) // stride + 1`.
        adapter_bias: fp32 [A]; None: A is 0.

    Returns:
        tokens fp32 [B, g * g, D]; with an adapter also `gelu(patches @ weight[:, D:] +
        adapter_bias)` [B, g * g, A] of the weight's type.

    Raises:
        DeviceError: an argument does not fit.
    """
    name = "patch_embed"
    check(pixels, name, "pixels", (None,) * 4, *FLOATS)
    batch, channels, side, _ = pixels.shape
    check(pixels, name, "pixels", (batch, channels, side, side), *FLOATS)
    s = fixed(side, "the side of the pixels")
    if not 0 < size <= s or stride < 1:
        raise DeviceError(f"{name}: patches of {size} px every {stride} px of {s} px")
    grid = (s - size) // stride + 1
    check(pos, name, "pos", (grid * grid, None), "fp32")
    dim, hidden = fixed(pos.shape[1], "the channels"), 0
    if adapter_bias is not None:
        check(adapter_bias, name, "adapter_bias", (None,), "fp32")
        hidden = fixed(adapter_bias.shape[0], "the adapter's width")
    inner = fixed(channels, "the channels of the pixels") * size * size
    check(weight, name, "weight", (inner, dim + hidden), pixels.dtype)
    for array, what in ((pixels, "pixels"), (weight, "weight"), (pos, "pos")):
        check_contiguous(array, name, what)
    rows = product(batch, grid * grid)
    tile = tile_of(name, weight.dtype, run.arch)
    tokens = run.empty((batch, grid * grid, dim), "fp32", "tokens")
    beside = run.empty((batch, grid * grid, hidden), weight.dtype, "hidden") if hidden else None
    programs = product(cdiv(rows, tile["BLOCK_M"]), cdiv(dim + hidden, tile["BLOCK_N"]))
    run.launch(
        Launch(
            patch_embed_kernel,
            (programs, 1, 1),
            {
                "pixels_ptr": pixels,
                "weight_ptr": weight,
                "pos_ptr": pos,
                "bias_ptr": adapter_bias,
                "tokens_ptr": tokens,
                "hidden_ptr": beside,
                "rows": rows,
            },
            {
                "CHANNELS": channels,
                "SIDE": s,
                "PATCH": size,
                "STRIDE": stride,
                "GRID": grid,
                "DIM": dim,
                "HIDDEN": hidden,
                **tile.sizes,
            },
            ("tokens_ptr", "hidden_ptr") if hidden else ("tokens_ptr",),
            tile,
            flops=product(rows, 2 * inner, dim + hidden),
        )
    )
    return tokens if beside is None else (tokens, beside)
