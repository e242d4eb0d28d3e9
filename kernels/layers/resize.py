"""A constant bilinear enlargement in front of the patch embedding (SAMUS: 256 -> 264 px)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, check_contiguous, fixed
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product

NEIGHBOURS = 2


@triton.jit
def resize_kernel(
    pixels_ptr,
    first_ptr,
    weights_ptr,
    out_ptr,
    SIDE: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One plane [SIDE, SIDE] of pixels per program of axis 1 -> [OUT, OUT]."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < OUT * OUT
    y = place // OUT
    x = place % OUT
    plane = pixels_ptr + tl.program_id(1).to(tl.int64) * (SIDE * SIDE)
    top = tl.load(first_ptr + y, mask=inside, other=0)
    left = tl.load(first_ptr + x, mask=inside, other=0)
    value = tl.zeros((BLOCK,), tl.float32)
    for i in tl.static_range(2):
        across = tl.zeros((BLOCK,), tl.float32)
        for j in tl.static_range(2):
            # The second of a row with one neighbour may lie beyond the edge; its weight is zero.
            pixel = tl.minimum(top + i, SIDE - 1) * SIDE + tl.minimum(left + j, SIDE - 1)
            weight = tl.load(weights_ptr + 2 * x + j, mask=inside, other=0.0)
            across += weight * tl.load(plane + pixel, mask=inside, other=0.0).to(tl.float32)
        value += tl.load(weights_ptr + 2 * y + i, mask=inside, other=0.0) * across
    out = out_ptr + tl.program_id(1).to(tl.int64) * (OUT * OUT) + place
    tl.store(out, value.to(out_ptr.dtype.element_ty), mask=inside)


def resize(run: Runner, pixels: Array, first: Array, weights: Array) -> Array:
    """Both axes of square planes enlarged by the same matrix of at most two neighbours per row.

    Args:
        run: carries it out.
        pixels: [B, C, S, S], contiguous, any float.
        first: i32 [R], the first of the two neighbours, 0 to S - 1.
        weights: fp32 [R, 2]. Both are made by `taps`.

    Returns:
        [B, C, R, R] of the pixels' type; sums are in fp32 and rounded once.

    Raises:
        DeviceError: an argument does not fit.
    """
    check(pixels, "resize", "pixels", (None,) * 4, *FLOATS)
    batch, channels, side, _ = pixels.shape
    check(pixels, "resize", "pixels", (batch, channels, side, side), *FLOATS)
    check_contiguous(pixels, "resize", "pixels")
    check(first, "resize", "first", (None,), "i32")
    out = fixed(first.shape[0], "the enlarged side")
    check(weights, "resize", "weights", (out, NEIGHBOURS), "fp32")
    check_contiguous(weights, "resize", "weights")
    tile = tile_of("resize", pixels.dtype, run.arch)
    result = run.empty((batch, channels, out, out), pixels.dtype, "enlarged pixels")
    run.launch(
        Launch(
            resize_kernel,
            (cdiv(out * out, tile["BLOCK"]), product(batch, channels), 1),
            {"pixels_ptr": pixels, "first_ptr": first, "weights_ptr": weights, "out_ptr": result},
            {"SIDE": fixed(side, "the side of the pixels"), "OUT": out, **tile.sizes},
            ("out_ptr",),
            tile,
            flops=product(batch, channels, out * out * 12),
        )
    )
    return result


def taps(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A dense matrix [R, S] as the two tables of `resize`.

    Returns:
        int32 [R], the first neighbour of every row, and float32 [R, 2], the two weights.

    Raises:
        DeviceError: a row has coefficients that are farther apart than neighbours.
    """
    rows, columns = matrix.shape
    used = matrix != 0
    first = used.int().argmax(1)  # 0 for a row of zeros
    at = first[:, None] + torch.arange(NEIGHBOURS)
    weights = matrix.gather(1, at.clamp(max=columns - 1)) * (at < columns)
    if int((weights != 0).sum()) != int(used.sum()):
        raise DeviceError(
            f"resize: a row of the matrix [{rows}, {columns}] has more than {NEIGHBOURS} "
            "coefficients, or they are no neighbours; expected a bilinear enlargement"
        )
    return first.to(torch.int32), weights.to(torch.float32)
