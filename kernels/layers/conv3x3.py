"""3x3 convolution with zero padding, channels last, as one matrix product without its matrix.

The product's rows are the output's places and its inner axis the nine neighbours' channels
(implicit GEMM): each tile of it is loaded straight from the image, shifted, with zeros beyond the
edges. Nothing is copied nine times.
"""

from __future__ import annotations

from dataclasses import replace

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import (
    FLOATS,
    Array,
    Launch,
    Runner,
    Tile,
    check,
    check_contiguous,
    fixed,
    next_power,
)
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product

TAPS = 9
# Up to this many inputs (1 and 3 channels) all of them make one tile: no loop over neighbours.
NARROW = 64


@triton.jit
def tile_of_program(rows, BLOCK_M: tl.constexpr, COLUMN_TILES: tl.constexpr, GROUP_M: tl.constexpr):
    """Numbers of this program's tile of rows and of columns.

    Groups of GROUP_M row tiles go through all columns before the next group begins, so that what
    runs at a time shares few rows of the image and few columns of the weights, both in L2.
    """
    program = tl.program_id(0)
    row_tiles = tl.cdiv(rows, BLOCK_M)
    group = program // (GROUP_M * COLUMN_TILES)
    inside = program % (GROUP_M * COLUMN_TILES)
    height = tl.minimum(row_tiles - group * GROUP_M, GROUP_M)
    return group * GROUP_M + inside % height, inside // height


@triton.jit
def finish(acc, add_ptr, out_ptr, m, n, rows, OUTPUTS: tl.constexpr, ADD: tl.constexpr):
    """Add what is to be added and write a tile of the output."""
    inside = (m < rows)[:, None] & (n < OUTPUTS)[None, :]
    place = m.to(tl.int64)[:, None] * OUTPUTS + n[None, :]
    if ADD:
        acc += tl.load(add_ptr + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + place, acc.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def conv3x3_kernel(
    x_ptr,
    weight_ptr,
    add_ptr,
    out_ptr,
    rows,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    ADD: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    """x [rows, I], rows = (image, y, x); weight [9, I, O] -> out [rows, O]."""
    row_tile, column_tile = tile_of_program(rows, BLOCK_M, tl.cdiv(OUTPUTS, BLOCK_N), GROUP_M)
    m = row_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    n = column_tile * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    y = m // WIDTH % HEIGHT
    x = m % WIDTH
    places = x_ptr + m.to(tl.int64)[:, None] * INPUTS + k[None, :]
    weights = weight_ptr + k[:, None] * OUTPUTS + n[None, :]
    chunks: tl.constexpr = tl.cdiv(INPUTS, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for i in range(9 * chunks):
        tap = i // chunks
        first = i % chunks * BLOCK_K
        down = tap // 3 - 1
        right = tap % 3 - 1
        inside = (y + down >= 0) & (y + down < HEIGHT) & (x + right >= 0) & (x + right < WIDTH)
        inside = inside & (m < rows)
        shift = (down * WIDTH + right) * INPUTS + first
        a = tl.load(places + shift, mask=inside[:, None] & (k < INPUTS - first)[None, :], other=0.0)
        w = tl.load(
            weights + (tap * INPUTS + first) * OUTPUTS,
            mask=(k < INPUTS - first)[:, None] & (n < OUTPUTS)[None, :],
            other=0.0,
        )
        acc = tl.dot(a.to(w.dtype), w, acc, input_precision="ieee")
    finish(acc, add_ptr, out_ptr, m, n, rows, OUTPUTS, ADD)


@triton.jit
def conv3x3_narrow_kernel(
    x_ptr,
    weight_ptr,
    add_ptr,
    out_ptr,
    rows,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    ADD: tl.constexpr,
    PLANES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    """As `conv3x3_kernel`, for few input channels: all neighbours' channels make one tile.

    PLANES: x is [image, I, y, x].
    """
    row_tile, column_tile = tile_of_program(rows, BLOCK_M, tl.cdiv(OUTPUTS, BLOCK_N), GROUP_M)
    m = row_tile * BLOCK_M + tl.arange(0, BLOCK_M)
    n = column_tile * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    tap = k // INPUTS
    down = (tap // 3 - 1)[None, :]
    right = (tap % 3 - 1)[None, :]
    y = (m // WIDTH % HEIGHT)[:, None] + down
    x = (m % WIDTH)[:, None] + right
    inside = (y >= 0) & (y < HEIGHT) & (x >= 0) & (x < WIDTH)
    inside = inside & (m < rows)[:, None] & (k < 9 * INPUTS)[None, :]
    if PLANES:
        PLACES: tl.constexpr = HEIGHT * WIDTH
        image = (m // PLACES).to(tl.int64)[:, None] * (INPUTS * PLACES)
        channel = (k % INPUTS)[None, :] * PLACES
        place = image + channel + (m % PLACES)[:, None] + down * WIDTH + right
    else:
        shift = (down * WIDTH + right) * INPUTS + (k % INPUTS)[None, :]
        place = m.to(tl.int64)[:, None] * INPUTS + shift
    a = tl.load(x_ptr + place, mask=inside, other=0.0)
    w = tl.load(
        weight_ptr + k[:, None] * OUTPUTS + n[None, :],
        mask=(k < 9 * INPUTS)[:, None] & (n < OUTPUTS)[None, :],
        other=0.0,
    )
    acc = tl.dot(a.to(w.dtype), w, input_precision="ieee")
    finish(acc, add_ptr, out_ptr, m, n, rows, OUTPUTS, ADD)


def conv3x3(
    run: Runner,
    x: Array,
    weight: Array,
    *,
    dtype: str,
    add: Array | None = None,
    planes: bool = False,
) -> Array:
    """3x3 convolution with zero padding; products in the weight's type, sums in fp32.

    Args:
        run: carries it out.
        x: [B, y, x, I], contiguous; fp32, fp16 or bf16 (converted to the weight's type).
        weight: [3, 3, I, O], contiguous: a folded model's [O, I, 3, 3], its axes reordered.
        dtype: of the output.
        add: [B, y, x, O], contiguous, any float; added to the output.
        planes: x is [B, I, y, x], as a frame's colours come; for few channels.

    Returns:
        [B, y, x, O]; see `reference.conv3x3`.

    Raises:
        DeviceError: an argument does not fit.
    """
    check(x, "conv3x3", "x", (None,) * 4, *FLOATS)
    batch, height, width, inputs = x.shape
    if planes:
        batch, inputs, height, width = x.shape
    check(weight, "conv3x3", "weight", (3, 3, inputs, None), *FLOATS)
    outputs = fixed(weight.shape[3], "the output channels")
    if add is not None:
        check(add, "conv3x3", "add", (batch, height, width, outputs), *FLOATS)
        check_contiguous(add, "conv3x3", "add")
    check_contiguous(x, "conv3x3", "x")
    check_contiguous(weight, "conv3x3", "weight")
    rows, i = product(batch, height, width), fixed(inputs, "the input channels")
    narrow = i * TAPS <= NARROW
    if planes and not narrow:
        raise DeviceError(f"conv3x3: x has {i} planes, expected at most {NARROW // TAPS}")
    tile = _tile(narrow, i, weight.dtype, run.arch)
    out = run.empty((batch, height, width, outputs), dtype, "conv3x3")
    programs = product(cdiv(rows, tile["BLOCK_M"]), cdiv(outputs, tile["BLOCK_N"]))
    run.launch(
        Launch(
            conv3x3_narrow_kernel if narrow else conv3x3_kernel,
            (programs, 1, 1),
            {"x_ptr": x, "weight_ptr": weight, "add_ptr": add, "out_ptr": out, "rows": rows},
            {
                "HEIGHT": fixed(height, "the height of x"),
                "WIDTH": fixed(width, "the width of x"),
                "INPUTS": i,
                "OUTPUTS": outputs,
                "ADD": add is not None,
                **({"PLANES": planes} if narrow else {}),
                **tile.sizes,
            },
            ("out_ptr",),
            tile,
            flops=product(rows, 2 * TAPS * i, outputs),
        )
    )
    return out


def _tile(narrow: bool, inputs: int, dtype: str, arch: int) -> Tile:
    if not narrow:
        return tile_of("conv3x3", dtype, arch)
    tile = tile_of("conv3x3.narrow", dtype, arch)
    sizes = {**tile.sizes, "BLOCK_K": next_power(TAPS * inputs, 16)}
    return replace(tile, sizes=sizes)
