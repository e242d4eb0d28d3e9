"""From a uint8 frame of any size to the network's input: colour, crop, resize, normalisation.

Bit for bit what `samedge.geometry.network_input` computes where grey levels are whole, in the
arithmetic that docs/geometry.md proves: float32 sums of which every one is exact (of OpenCV's area
resize, the same sums in the same order: `samedge.kernels.frames.frame_area`). Each program
makes a tile of the output. It goes over the frame's rows that the tile needs, resizes each
horizontally to the tile's columns and adds it to the tile's rows: nothing of the frame's size is
written.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.families import Family
from samedge.geometry.filters import CUBIC_CENTRE, CUBIC_PART, CUBIC_SLACK, PLANE
from samedge.kernels.frames.frame_area import area_levels
from samedge.kernels.frames.frame_extremes import crop_extremes, min_max
from samedge.kernels.frames.frame_pixels import banded_rows, dense_rows, share_of
from samedge.kernels.launch import (
    Array,
    Launch,
    Runner,
    Tile,
    check,
    check_contiguous,
    fixed,
)
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, product

CHANNELS = 3  # the most that a frame has
# Where the bands of the matrices are wide, all coefficients of a tile are multiplied, zeros too.
DENSE = ("cubic", "zoom")

_PLANE = tl.constexpr(PLANE)
_CENTRE = tl.constexpr(CUBIC_CENTRE)
_PART = tl.constexpr(CUBIC_PART)
_SLACK = tl.constexpr(CUBIC_SLACK)


@triton.jit
def recombined(high, low):
    """One pass of PIL's resize from its two sums."""
    return tl.floor((high + tl.floor(low / _PLANE) + _PLANE / 2) / _PLANE)


@triton.jit
def rows_of_tile(bands_ptr, row, SIDE: tl.constexpr):
    """First and behind-last column of every row's band, and those of all bands together."""
    first = tl.load(bands_ptr + 2 * row, mask=row < SIDE, other=0)
    last = tl.load(bands_ptr + 2 * row + 1, mask=row < SIDE, other=0)
    return first, last, tl.min(tl.where(last > 0, first, 0x7FFFFFFF), 0), tl.max(last, 0)


@triton.jit
def frame_kernel(
    frame_ptr,
    colour_ptr,
    rows_ptr,
    cols_ptr,
    rows_first_ptr,
    valid_rows_ptr,
    valid_cols_ptr,
    row_bands_ptr,
    col_bands_ptr,
    crop_ptr,
    out_ptr,
    extremes_ptr,
    height,
    width,
    frame_channels,
    CHANNELS: tl.constexpr,
    SIDE: tl.constexpr,
    INTERPOLATION: tl.constexpr,
    DENSE: tl.constexpr,
    MEAN: tl.constexpr,
    EXTREMES: tl.constexpr,
    PADDED: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """frame [slices, height, width, frame_channels] -> out [slices, CHANNELS, SIDE, SIDE].

    A program makes a tile of one channel. Where all channels are the same (a grey frame for a
    network that wants RGB), the first channel's programs write them all.
    """
    planes: tl.constexpr = 1 if INTERPOLATION == "plain" else 2
    tiles_x: tl.constexpr = tl.cdiv(SIDE, BLOCK_X)
    channel = tl.program_id(1)
    image = tl.program_id(2)
    y = tl.program_id(0) // tiles_x * BLOCK_Y + tl.arange(0, BLOCK_Y)
    x = tl.program_id(0) % tiles_x * BLOCK_X + tl.arange(0, BLOCK_X)
    share_0, other_0 = share_of(colour_ptr, 0, channel, frame_channels, CHANNELS)
    share_1, other_1 = share_of(colour_ptr, 1, channel, frame_channels, CHANNELS)
    share_2, other_2 = share_of(colour_ptr, 2, channel, frame_channels, CHANNELS)
    same = other_0 + other_1 + other_2 == 0
    first_row, last_row, top, bottom = rows_of_tile(row_bands_ptr, y, SIDE)
    first, last, left, right = rows_of_tile(col_bands_ptr, x, SIDE)
    if INTERPOLATION == "area":
        bottom = top
    bottom = tl.where(same & (channel > 0), 0, bottom)
    frame = frame_ptr + image.to(tl.int64) * height * width * frame_channels
    centre: tl.constexpr = _CENTRE if INTERPOLATION == "cubic" else 0.0
    large_sum = tl.zeros((BLOCK_Y, BLOCK_X), tl.float32)
    small_sum = tl.zeros((BLOCK_Y, BLOCK_X), tl.float32)
    tail = tl.zeros((BLOCK_Y, BLOCK_X), tl.float32)
    for start in range(top, bottom, BLOCK_H):
        h = start + tl.arange(0, BLOCK_H)
        if DENSE:
            high, low = dense_rows(
                frame, cols_ptr, h, x, left, right, height, width, frame_channels,
                share_0, share_1, share_2, SIDE, planes, centre, BLOCK_W,
            )  # fmt: skip
        else:
            high, low = banded_rows(
                frame, cols_ptr, h, x, first, last, height, width, frame_channels,
                share_0, share_1, share_2, SIDE, planes, centre,
            )  # fmt: skip
        place = y[:, None] * height + h[None, :]
        inside = (y < SIDE)[:, None] & (h < height)[None, :]
        large = tl.load(rows_ptr + place, mask=inside, other=0.0)
        if INTERPOLATION == "plain":
            large_sum = tl.dot(large, high, large_sum, input_precision="ieee")
        else:
            small = tl.load(rows_ptr + SIDE * height + place, mask=inside, other=0.0)
            if INTERPOLATION == "pil":
                level = recombined(high, low)
                large_sum = tl.dot(large, level, large_sum, input_precision="ieee")
                small_sum = tl.dot(small, level, small_sum, input_precision="ieee")
            else:
                value = high + low
                whole = tl.floor(value + 0.5)
                above = high - whole
                part = tl.floor((above + low) * _PART + 0.5) / _PART
                large_sum = tl.dot(large, whole, large_sum, input_precision="ieee")
                small_sum = tl.dot(large, part, small_sum, input_precision="ieee")
                tail = tl.dot(large, (above - part) + low, tail, input_precision="ieee")
                tail = tl.dot(small, value, tail, input_precision="ieee")
    level = large_sum
    if INTERPOLATION == "area":
        last_row = tl.where(same & (channel > 0), first_row, last_row)
        level = area_levels(
            frame, rows_ptr, cols_ptr, y, x, first_row, last_row, first, last, height, width,
            frame_channels, share_0, share_1, share_2, SIDE,
        )  # fmt: skip
    elif INTERPOLATION == "pil":
        level = recombined(large_sum, small_sum)
    elif INTERPOLATION == "cubic":
        level = tl.floor(large_sum)
        fraction = (large_sum - level) + small_sum
        level = level + tl.floor(fraction + (tail + _SLACK)) + _CENTRE
        part = (image * PARTS + tl.arange(0, PARTS)) * 2
        level = tl.maximum(level, tl.min(tl.load(crop_ptr + part), 0))
        level = tl.minimum(level, tl.max(tl.load(crop_ptr + part + 1), 0))
    if EXTREMES:
        note_extremes(
            level, extremes_ptr, valid_rows_ptr, valid_cols_ptr, y, x, image, same & (channel > 0),
            CHANNELS, SIDE, PADDED,
        )  # fmt: skip
    turned = 0
    if INTERPOLATION == "pil":
        turned = tl.load(rows_first_ptr).to(tl.int32)
    if turned != 0:
        write(
            tl.trans(level), out_ptr, valid_rows_ptr, valid_cols_ptr, x, y, image, channel, same,
            CHANNELS, SIDE, MEAN,
        )  # fmt: skip
    else:
        write(
            level, out_ptr, valid_rows_ptr, valid_cols_ptr, y, x, image, channel, same, CHANNELS,
            SIDE, MEAN,
        )  # fmt: skip


@triton.jit
def note_extremes(
    level,
    extremes_ptr,
    valid_rows_ptr,
    valid_cols_ptr,
    y,
    x,
    image,
    unused,
    CHANNELS: tl.constexpr,
    SIDE: tl.constexpr,
    PADDED: tl.constexpr,
):
    """Darkest and brightest grey level of a tile, without padding; infinite for one that is not
    used."""
    inside = (y < SIDE)[:, None] & (x < SIDE)[None, :]
    if PADDED:
        down = tl.load(valid_rows_ptr + y, mask=y < SIDE, other=0.0)
        across = tl.load(valid_cols_ptr + x, mask=x < SIDE, other=0.0)
        inside = inside & (down > 0)[:, None] & (across > 0)[None, :]
    low = tl.min(tl.min(tl.where(inside, level, float("inf")), 1), 0)
    high = tl.max(tl.max(tl.where(inside, level, float("-inf")), 1), 0)
    tile = (image * CHANNELS + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    tl.store(extremes_ptr + 2 * tile, tl.where(unused, float("inf"), low))
    tl.store(extremes_ptr + 2 * tile + 1, tl.where(unused, float("-inf"), high))


@triton.jit
def write(
    level,
    out_ptr,
    valid_rows_ptr,
    valid_cols_ptr,
    y,
    x,
    image,
    channel,
    same,
    CHANNELS: tl.constexpr,
    SIDE: tl.constexpr,
    MEAN: tl.constexpr,
):
    """A tile of grey levels, less the mean where it is image; to all channels if they are the
    same."""
    place = y[:, None] * SIDE + x[None, :]
    if len(MEAN) > 0:
        down = tl.load(valid_rows_ptr + y, mask=y < SIDE, other=0.0)
        across = tl.load(valid_cols_ptr + x, mask=x < SIDE, other=0.0)
        valid = down[:, None] * across[None, :]
    for other in tl.static_range(CHANNELS):
        value = level
        if len(MEAN) > 0:
            value = level - valid * MEAN[other]
        writer = tl.where(same, 0, other)
        own = (y < tl.where(channel == writer, SIDE, 0))[:, None] & (x < SIDE)[None, :]
        out = out_ptr + (image * CHANNELS + other).to(tl.int64) * (SIDE * SIDE) + place
        tl.store(out, value.to(out_ptr.dtype.element_ty), mask=own)


def frame(
    run: Runner,
    frame: Array,
    colour: Array,
    rows: Array,
    cols: Array,
    rows_first: Array | None,
    valid_rows: Array | None,
    valid_cols: Array | None,
    row_bands: Array,
    col_bands: Array,
    family: Family,
    *,
    dtype: str,
    out: Array | None = None,
) -> Array:
    """The network's input of a frame, or of the slices of a volume.

    Args:
        run: carries it out.
        frame: u8 [H, W, C], or [slices, H, W, C] for a family of volumes; C up to 3. All but the
            slices may be known only at run time.
        colour: fp32 [C, K].
        rows, cols: fp32 [P, S, H] and [P, S, W] with two planes for a family that rounds, else one.
        rows_first: u8 [1]; only for families resized by PIL.
        valid_rows, valid_cols: fp32 [S]; only for padded families with a mean or "min_max". All
            these are the inputs that `samedge.geometry.network_input.encoder_inputs` makes.
        row_bands, col_bands: i32 [S, 2] of `bands(run, rows, negligible(family))`.
        family: of the frames.
        dtype: of the output. Grey levels are exact in fp16 and bf16; less a mean, or between 0 and
            1, they are rounded.
        out: memory to write to, contiguous; new memory if None.

    Returns:
        [slices, K, S, S], [1, K, S, S] for images.

    Raises:
        DeviceError: an argument does not fit.
    """
    mean = _mean(family)
    valid = family.padded and (bool(mean) or family.normalisation == "min_max")
    given = {
        "frame": frame,
        "colour": colour,
        "rows": rows,
        "cols": cols,
        "rows_first": rows_first if family.interpolation == "pil" else None,
        "valid_rows": valid_rows if valid else None,
        "valid_cols": valid_cols if valid else None,
        "row_bands": row_bands,
        "col_bands": col_bands,
    }
    side = _check(given, family, valid)
    shape = (family.slices, family.channels, side, side)
    out = run.empty(shape, dtype, "network input") if out is None else out
    check(out, "frame", "out", shape, dtype)
    check_contiguous(out, "frame", "out")
    crop = extremes = None
    if family.interpolation == "cubic":
        crop = crop_extremes(run, frame, colour, row_bands, col_bands)
    tile = tile_of("frame.dense" if family.interpolation in DENSE else "frame", "fp32", run.arch)
    levels = out
    if family.normalisation == "min_max":
        parts = _tiles(side, tile) * family.channels
        extremes = run.empty((family.slices, parts, 2), "fp32", "extremes of tiles")
        # Whole grey levels can wait in the output for what their image's extremes are.
        levels = out if family.rounded else run.empty(shape, "fp32", "grey levels")
    made = {"crop": crop, "out": levels, "extremes": extremes}
    run.launch(_launch({**given, **made}, family, side, mean, tile))
    if extremes is not None:
        min_max(run, levels, extremes, out, given["valid_rows"], given["valid_cols"])
    return out


def _launch(
    arrays: Mapping[str, Array | None],
    family: Family,
    side: int,
    mean: tuple[float, ...],
    tile: Tile,
) -> Launch:
    frame, crop, extremes = arrays["frame"], arrays["crop"], arrays["extremes"]
    assert frame is not None
    height, width, channels = frame.shape[-3:]
    planes = 2 if family.rounded else 1
    return Launch(
        frame_kernel,
        (_tiles(side, tile), family.channels, family.slices),
        {
            **{f"{name}_ptr": array for name, array in arrays.items()},
            "height": height,
            "width": width,
            "frame_channels": channels,
        },
        {
            "CHANNELS": family.channels,
            "SIDE": side,
            "INTERPOLATION": family.interpolation if family.rounded else "plain",
            "DENSE": family.interpolation in DENSE,
            "MEAN": mean,
            "EXTREMES": extremes is not None,
            "PADDED": family.padded,
            "PARTS": 1 if crop is None else fixed(crop.shape[1], "the parts of the crop"),
            **tile.sizes,
        },
        ("out_ptr",) if extremes is None else ("out_ptr", "extremes_ptr"),
        tile,
        # Of the triangle filters: a pixel of the frame is part of two sums in each direction.
        flops=product(width + side, height, family.slices, family.channels, 4 * planes),
    )


def _tiles(side: int, tile: Tile) -> int:
    return -(-side // tile["BLOCK_X"]) * -(-side // tile["BLOCK_Y"])


def _mean(family: Family) -> tuple[float, ...]:
    """What is subtracted from the image of a padded family, per channel; empty where nothing is."""
    if not family.padded or not any(family.mean) or family.normalisation == "min_max":
        return ()
    scaled = np.asarray(family.mean, np.float32) * np.float32(family.value_scale)
    return tuple(float(v) for v in np.broadcast_to(scaled, family.channels))


def _check(given: Mapping[str, Array | None], family: Family, valid: bool) -> int:
    """Refuse what does not fit.

    Returns:
        Side of the network's input.
    """
    needed = {"frame", "colour", "rows", "cols", "row_bands", "col_bands"}
    needed |= {"rows_first"} if family.interpolation == "pil" else set()
    needed |= {"valid_rows", "valid_cols"} if valid else set()
    arrays = {name: array for name, array in given.items() if array is not None}
    if missing := sorted(needed - set(arrays)):
        raise DeviceError(f"frame: the family {family.name} needs {' and '.join(missing)}")
    slices = (family.slices,) if family.slices > 1 else ()
    check(arrays["frame"], "frame", "frame", (*slices, None, None, None), "u8")
    height, width, channels = arrays["frame"].shape[-3:]
    if isinstance(channels, int) and not 0 < channels <= CHANNELS:
        raise DeviceError(f"frame: a frame of {channels} channels, expected 1 to {CHANNELS}")
    planes = 2 if family.rounded else 1
    check(arrays["rows"], "frame", "rows", (planes, None, height), "fp32")
    side = fixed(arrays["rows"].shape[1], "the side of the network's input")
    shapes: dict[str, tuple[Size, ...]] = {
        "colour": (channels, family.channels),
        "cols": (planes, side, width),
        "valid_rows": (side,),
        "valid_cols": (side,),
    }
    for name, shape in shapes.items():
        if name in arrays:
            check(arrays[name], "frame", name, shape, "fp32")
    for name in ("row_bands", "col_bands"):
        check(arrays[name], "frame", name, (side, 2), "i32")
    if "rows_first" in arrays:
        check(arrays["rows_first"], "frame", "rows_first", (1,), "u8")
    for name, array in arrays.items():
        check_contiguous(array, "frame", name)
    return side
