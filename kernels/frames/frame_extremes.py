"""Extremes of a crop and of resized images: what a cubic resize is clipped to, and "min_max".

Both are found in parts, which whoever needs them puts together: no atomics, no memory to clear.
"""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.kernels.frames.frame_pixels import levels_at, share_of
from samedge.kernels.launch import Array, Launch, Runner, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product


@triton.jit
def span(bands_ptr, SIDE: tl.constexpr, SIDE_POW2: tl.constexpr):
    """First and behind-last place where any row of a resize matrix is not zero."""
    row = tl.arange(0, SIDE_POW2)
    first = tl.load(bands_ptr + 2 * row, mask=row < SIDE, other=0)
    last = tl.load(bands_ptr + 2 * row + 1, mask=row < SIDE, other=0)
    return tl.min(tl.where(last > 0, first, 0x7FFFFFFF), 0), tl.max(last, 0)


@triton.jit
def crop_extremes_kernel(
    frame_ptr,
    colour_ptr,
    row_bands_ptr,
    col_bands_ptr,
    out_ptr,
    height,
    width,
    frame_channels,
    CHANNELS: tl.constexpr,
    SIDE: tl.constexpr,
    SIDE_POW2: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Darkest and brightest grey level in every part of a crop, of all channels: out [slices,
    parts, 2]. Parts take turns at every BLOCK_Y rows."""
    image = tl.program_id(1)
    top, bottom = span(row_bands_ptr, SIDE, SIDE_POW2)
    left, right = span(col_bands_ptr, SIDE, SIDE_POW2)
    frame = frame_ptr + image.to(tl.int64) * height * width * frame_channels
    low = tl.full((BLOCK_Y, BLOCK_X), float("inf"), tl.float32)
    high = tl.full((BLOCK_Y, BLOCK_X), float("-inf"), tl.float32)
    for channel in tl.static_range(CHANNELS):
        share_0, _ = share_of(colour_ptr, 0, channel, frame_channels, CHANNELS)
        share_1, _ = share_of(colour_ptr, 1, channel, frame_channels, CHANNELS)
        share_2, _ = share_of(colour_ptr, 2, channel, frame_channels, CHANNELS)
        start = top + tl.program_id(0) * BLOCK_Y
        for y in range(start, bottom, tl.num_programs(0) * BLOCK_Y):
            for x in range(left, right, BLOCK_X):
                row = y + tl.arange(0, BLOCK_Y)[:, None]
                column = x + tl.arange(0, BLOCK_X)[None, :]
                inside = (row < bottom) & (column < right)
                level = levels_at(
                    frame, row * width + column, inside, frame_channels, share_0, share_1, share_2
                )
                low = tl.minimum(low, tl.where(inside, level, float("inf")))
                high = tl.maximum(high, tl.where(inside, level, float("-inf")))
    part = (image * tl.num_programs(0) + tl.program_id(0)) * 2
    tl.store(out_ptr + part, tl.min(tl.min(low, 1), 0))
    tl.store(out_ptr + part + 1, tl.max(tl.max(high, 1), 0))


@triton.jit
def min_max_kernel(
    x_ptr,
    extremes_ptr,
    valid_rows_ptr,
    valid_cols_ptr,
    out_ptr,
    SIZE: tl.constexpr,
    SIDE: tl.constexpr,
    PADDED: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Images x [slices, SIZE] brought to 0..1 by their own extremes [slices, PARTS, 2]; may be in
    place. Padding stays zero."""
    image = tl.program_id(1)
    low = tl.full((BLOCK,), float("inf"), tl.float32)
    high = tl.full((BLOCK,), float("-inf"), tl.float32)
    for start in range(0, PARTS, BLOCK):
        part = start + tl.arange(0, BLOCK)
        at = extremes_ptr + (image * PARTS + part) * 2
        low = tl.minimum(low, tl.load(at, mask=part < PARTS, other=float("inf")))
        high = tl.maximum(high, tl.load(at + 1, mask=part < PARTS, other=float("-inf")))
    darkest = tl.min(low, 0)
    size = tl.maximum(tl.max(high, 0) - darkest, 1e-8)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < SIZE
    start = image.to(tl.int64) * SIZE
    x = tl.load(x_ptr + start + place, mask=inside, other=0.0).to(tl.float32)
    above = x - darkest
    if PADDED:
        down = tl.load(valid_rows_ptr + place // SIDE % SIDE, mask=inside, other=0.0)
        across = tl.load(valid_cols_ptr + place % SIDE, mask=inside, other=0.0)
        above = tl.where(down * across > 0, above, 0.0)
    y = tl.div_rn(above, tl.zeros((BLOCK,), tl.float32) + size)
    tl.store(out_ptr + start + place, y.to(out_ptr.dtype.element_ty), mask=inside)


def crop_extremes(
    run: Runner, frame: Array, colour: Array, row_bands: Array, col_bands: Array
) -> Array:
    """Extremes of the grey levels in the crop, in parts.

    Args:
        run: carries it out.
        frame, colour, row_bands, col_bands: as `samedge.kernels.frames.frame.frame` checked them.

    Returns:
        fp32 [slices, parts, 2]: darkest and brightest of each part, of all channels; infinite for
        an empty part. The number of parts is a power of two.
    """
    *slices, height, width, channels = frame.shape
    side = fixed(row_bands.shape[0], "the side of the network's input")
    k = fixed(colour.shape[1], "the channels of the network's input")
    tile = tile_of("crop_extremes", "fp32", run.arch)
    out = run.empty((product(*slices), tile["PARTS"], 2), "fp32", "extremes of the crop")
    run.launch(
        Launch(
            crop_extremes_kernel,
            (tile["PARTS"], product(*slices), 1),
            {
                "frame_ptr": frame,
                "colour_ptr": colour,
                "row_bands_ptr": row_bands,
                "col_bands_ptr": col_bands,
                "out_ptr": out,
                "height": height,
                "width": width,
                "frame_channels": channels,
            },
            {
                "CHANNELS": k,
                "SIDE": side,
                "SIDE_POW2": next_power(side),
                "BLOCK_Y": tile["BLOCK_Y"],
                "BLOCK_X": tile["BLOCK_X"],
            },
            ("out_ptr",),
            tile,
            flops=product(*frame.shape, 2 * k),
        )
    )
    return out


def min_max(
    run: Runner,
    levels: Array,
    extremes: Array,
    out: Array,
    valid_rows: Array | None = None,
    valid_cols: Array | None = None,
) -> None:
    """Every image of `levels` [slices, K, S, S] brought to 0..1; see `reference.min_max`.

    Args:
        run: carries it out.
        levels: any float, contiguous.
        extremes: fp32 [slices, parts, 2].
        out: of the levels' shape; may be `levels`.
        valid_rows, valid_cols: fp32 [S], 1 on image and 0 on padding; None where there is none.
    """
    slices, *image = (fixed(size, "the size of the network's input") for size in levels.shape)
    size = fixed(product(*image), "the size of the network's input")
    tile = tile_of("min_max", "fp32", run.arch)
    run.launch(
        Launch(
            min_max_kernel,
            (cdiv(size, tile["BLOCK"]), slices, 1),
            {
                "x_ptr": levels,
                "extremes_ptr": extremes,
                "valid_rows_ptr": valid_rows,
                "valid_cols_ptr": valid_cols,
                "out_ptr": out,
            },
            {
                "SIZE": size,
                "SIDE": image[-1],
                "PADDED": valid_rows is not None,
                "PARTS": fixed(extremes.shape[1], "the number of parts"),
                **tile.sizes,
            },
            ("out_ptr",),
            tile,
            flops=product(slices, size, 2),
        )
    )
