"""Low-res logits to masks of the frame's size: enlarging, cropping and the decision in one pass.

Both enlargements and the crop are one matrix per direction, with few entries per row; every pixel
collects its own. Of values at frame size nothing is written but the decision.
"""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.families import Family
from samedge.kernels.launch import Array, Launch, Runner, check, check_contiguous, fixed
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, cdiv, product


@triton.jit
def probability_kernel(x_ptr, out_ptr, count, BLOCK: tl.constexpr):
    """Sigmoid of `count` logits."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + place, mask=place < count, other=0.0)
    small = tl.exp2(tl.abs(x) * -1.4426950408889634)  # of no sign that could overflow
    y = tl.div_rn(tl.where(x < 0, small, 1.0), 1.0 + small)
    tl.store(out_ptr + place, y, mask=place < count)


@triton.jit
def value_at(values_ptr, rows_ptr, cols_ptr, y, x, top, bottom, left, right, LOW: tl.constexpr):
    """`rows @ values @ cols^T` at pixels (y, x) of a tile, by what is not zero of it."""
    value = tl.zeros((y.shape[0], x.shape[0]), tl.float32)
    for tap in range(tl.max(right - left, 0)):
        column = left + tap
        across = column < right
        down = tl.zeros((y.shape[0], x.shape[0]), tl.float32)
        for other in range(tl.max(bottom - top, 0)):
            row = top + other
            inside = row < bottom
            share = tl.load(rows_ptr + y * LOW + row, mask=inside, other=0.0)
            there = values_ptr + row[:, None] * LOW + column[None, :]
            logit = tl.load(there, mask=inside[:, None] & across[None, :], other=0.0)
            down += share[:, None] * logit
        value += down * tl.load(cols_ptr + x * LOW + column, mask=across, other=0.0)[None, :]
    return value


@triton.jit
def pixels_of_program(
    row_bands_ptr, col_bands_ptr, height, width, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr
):
    """Rows and columns of this program's tile, and their bands."""
    x = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)
    y = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)
    top = tl.load(row_bands_ptr + 2 * y, mask=y < height, other=0)
    bottom = tl.load(row_bands_ptr + 2 * y + 1, mask=y < height, other=0)
    left = tl.load(col_bands_ptr + 2 * x, mask=x < width, other=0)
    right = tl.load(col_bands_ptr + 2 * x + 1, mask=x < width, other=0)
    return y, x, top, bottom, left, right


@triton.jit
def mask_kernel(
    values_ptr,
    rows_ptr,
    cols_ptr,
    row_bands_ptr,
    col_bands_ptr,
    masks_ptr,
    height,
    width,
    LOW: tl.constexpr,
    THRESHOLD: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """values [planes, LOW, LOW] -> masks [planes, height, width]: above the threshold or not."""
    y, x, top, bottom, left, right = pixels_of_program(
        row_bands_ptr, col_bands_ptr, height, width, BLOCK_Y, BLOCK_X
    )
    plane = tl.program_id(2).to(tl.int64)
    values = values_ptr + plane * (LOW * LOW)
    value = value_at(values, rows_ptr, cols_ptr, y, x, top, bottom, left, right, LOW)
    place = plane * height * width + y[:, None] * width + x[None, :]
    inside = (y < height)[:, None] & (x < width)[None, :]
    tl.store(masks_ptr + place, (value > THRESHOLD).to(tl.uint8), mask=inside)


@triton.jit
def class_kernel(
    values_ptr,
    rows_ptr,
    cols_ptr,
    row_bands_ptr,
    col_bands_ptr,
    masks_ptr,
    class_map_ptr,
    height,
    width,
    LOW: tl.constexpr,
    CLASSES: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """values [N, CLASSES, LOW, LOW] -> masks [N, CLASSES, height, width] and class_map [N, height,
    width]: the class with the largest value, the first of equals."""
    y, x, top, bottom, left, right = pixels_of_program(
        row_bands_ptr, col_bands_ptr, height, width, BLOCK_Y, BLOCK_X
    )
    image = tl.program_id(2).to(tl.int64)
    values = values_ptr + image * (CLASSES * LOW * LOW)
    largest = value_at(values, rows_ptr, cols_ptr, y, x, top, bottom, left, right, LOW)
    found = tl.zeros((BLOCK_Y, BLOCK_X), tl.int32)
    for i in range(1, CLASSES):
        plane = values + i * (LOW * LOW)
        value = value_at(plane, rows_ptr, cols_ptr, y, x, top, bottom, left, right, LOW)
        found = tl.where(value > largest, i, found)
        largest = tl.maximum(largest, value)
    place = y[:, None] * width + x[None, :]
    inside = (y < height)[:, None] & (x < width)[None, :]
    size = image * 0 + height * width  # 64 bits
    tl.store(class_map_ptr + image * size + place, found.to(tl.uint8), mask=inside)
    for i in range(CLASSES):
        out = masks_ptr + (image * CLASSES + i) * size + place
        tl.store(out, (found == i).to(tl.uint8), mask=inside)


def mask(
    run: Runner,
    logits: Array,
    mask_rows: Array,
    mask_cols: Array,
    row_bands: Array,
    col_bands: Array,
    family: Family,
    masks: Array,
    class_map: Array | None = None,
) -> None:
    """Masks at frame size; `samedge.geometry.mask_values` in numpy.

    Args:
        run: carries it out.
        logits: fp32 [N, K, L, L], contiguous. N and K, and the frame's size, may be known only at
            run time (of a family with exclusive classes K may not).
        mask_rows, mask_cols: fp32 [H, L] and [W, L], contiguous.
        row_bands, col_bands: i32 [H, 2] and [W, 2] of `bands` of these two.
        family: says what is enlarged and what decides.
        masks: u8 [N, K, H, W], is written: 0 or 1. Outside the crop the value is 0.
        class_map: u8 [N, H, W], is written; only for a family with exclusive classes, which needs
            it.

    Raises:
        DeviceError: an argument does not fit.
    """
    check(logits, "mask", "logits", (None,) * 4, "fp32")
    n, k, _, low = logits.shape
    check(logits, "mask", "logits", (n, k, low, low), "fp32")
    check(mask_rows, "mask", "mask_rows", (None, low), "fp32")
    check(mask_cols, "mask", "mask_cols", (None, low), "fp32")
    height, width = mask_rows.shape[0], mask_cols.shape[0]
    check(row_bands, "mask", "row_bands", (height, 2), "i32")
    check(col_bands, "mask", "col_bands", (width, 2), "i32")
    check(masks, "mask", "masks", (n, k, height, width), "u8")
    if family.exclusive != (class_map is not None):
        need = "needs" if family.exclusive else "has no"
        raise DeviceError(f"mask: a family {'with' if family.exclusive else 'without'} exclusive "
                          f"classes {need} class_map")  # fmt: skip
    if class_map is not None:
        check(class_map, "mask", "class_map", (n, height, width), "u8")
        check_contiguous(class_map, "mask", "class_map")
    for array, name in ((logits, "logits"), (mask_rows, "mask_rows"), (mask_cols, "mask_cols"),
                        (masks, "masks")):  # fmt: skip
        check_contiguous(array, "mask", name)
    if family.mask_values == "probability":
        logits = _probabilities(run, logits)
    arguments: dict[str, Array | Size | None] = {
        "values_ptr": logits,
        "rows_ptr": mask_rows,
        "cols_ptr": mask_cols,
        "row_bands_ptr": row_bands,
        "col_bands_ptr": col_bands,
        "masks_ptr": masks,
        "height": height,
        "width": width,
    }
    side = fixed(low, "the side of the logits")
    run.launch(_launch(run, arguments, family, (n, k, height, width), side, class_map))


def _launch(
    run: Runner,
    arguments: dict[str, Array | Size | None],
    family: Family,
    shape: tuple[Size, Size, Size, Size],
    low: int,
    class_map: Array | None,
) -> Launch:
    n, k, height, width = shape
    tile = tile_of("mask", "fp32", run.arch)
    across, down = cdiv(width, tile["BLOCK_X"]), cdiv(height, tile["BLOCK_Y"])
    # Two neighbours in each direction, as a bilinear enlargement has.
    flops = product(*shape, 12)
    if class_map is None:
        constants = {"LOW": low, "THRESHOLD": float(family.threshold), **tile.sizes}
        return Launch(
            mask_kernel, (across, down, product(n, k)), arguments, constants, ("masks_ptr",), tile,
            flops,
        )  # fmt: skip
    constants = {"LOW": low, "CLASSES": fixed(k, "the number of classes"), **tile.sizes}
    return Launch(
        class_kernel,
        (across, down, n),
        {**arguments, "class_map_ptr": class_map},
        constants,
        ("masks_ptr", "class_map_ptr"),
        tile,
        flops,
    )


def _probabilities(run: Runner, logits: Array) -> Array:
    count = product(*logits.shape)
    tile = tile_of("probability", "fp32", run.arch)
    out = run.empty(logits.shape, "fp32", "probabilities")
    run.launch(
        Launch(
            probability_kernel,
            (cdiv(count, tile["BLOCK"]), 1, 1),
            {"x_ptr": logits, "out_ptr": out, "count": count},
            dict(tile.sizes),
            ("out_ptr",),
            tile,
            flops=product(count, 4),
        )
    )
    return out
