"""Attention over the whole grid, with decomposed relative positions.

A tile of keys is one or more whole grid rows (or the same columns of them, on wide grids). So the
width bias is one tile for all keys, the height bias one column per row of keys, and the loop over
the keys has no gather in it and no further product.
"""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.attention.online_softmax import LOG2_E, softmax_step
from samedge.kernels.attention.relative_positions import (
    add_height_bias,
    check_qkv,
    check_table,
    compact_rows,
    dense_table,
    repeated,
)
from samedge.kernels.launch import Array, Launch, Runner, Tile, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product

LEAST_SIDE = 16  # of a tile of a product on tensor cores
NARROW = 32  # columns of a grid, up to which the tiles for narrow ones are used
CHUNK = 16  # key rows whose height bias is in registers at a time


@triton.jit
def height_bias(
    q,
    rel_h_ptr,
    y,
    first,
    GRID_ROWS: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    SIDE: tl.constexpr,
    CHUNK: tl.constexpr,
    DIM_POW2: tl.constexpr,
):
    """q [ROWS * SIDE, DIM_POW2], grid rows y and on -> its bias for key rows first .. first +
    CHUNK - 1, fp32; -inf behind the grid. Each query row has a dense table of its own."""
    key_row = first + tl.arange(0, CHUNK)
    d = tl.arange(0, DIM_POW2)
    if ROWS == 1:
        table = dense_table(rel_h_ptr, y, key_row[None, :], d[:, None], GRID_ROWS, DIM)
        bias = tl.dot(q, table, input_precision="ieee")
    else:
        row = y + tl.arange(0, ROWS)[:, None, None]
        table = dense_table(
            rel_h_ptr, row, key_row[None, None, :], d[None, :, None], GRID_ROWS, DIM
        )
        bias = tl.dot(tl.reshape(q, (ROWS, SIDE, DIM_POW2)), table, input_precision="ieee")
        bias = tl.reshape(bias, (ROWS * SIDE, CHUNK))
    return tl.where((key_row < GRID_ROWS)[None, :], bias * LOG2_E, -float("inf"))


@triton.jit
def width_bias(
    q,
    rel_w_ptr,
    x,
    first,
    GRID_COLS: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    SIDE: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    OFFSETS: tl.constexpr,
    DIM_POW2: tl.constexpr,
):
    """q [ROWS * SIDE, DIM_POW2], grid columns x and on -> its bias for KEY_ROWS times the key
    columns first .. first + SIDE - 1, fp32; -inf behind the grid.

    One product with all rows of the table that occur, then one gather.
    """
    offset = x - first - (SIDE - 1) + (GRID_COLS - 1) + tl.arange(0, OFFSETS)
    d = tl.arange(0, DIM_POW2)
    table = compact_rows(rel_w_ptr, offset[None, :], d[:, None], GRID_COLS, DIM)
    found = tl.dot(q, table, input_precision="ieee")
    key = tl.arange(0, SIDE)
    index = (tl.arange(0, ROWS * SIDE) % SIDE)[:, None] - key[None, :] + (SIDE - 1)
    bias = tl.gather(found, index, 1) * LOG2_E
    bias = tl.where((first + key < GRID_COLS)[None, :], bias, -float("inf"))
    return repeated(bias, KEY_ROWS)


@triton.jit
def global_attention_kernel(
    qkv_ptr,
    rel_h_ptr,
    rel_w_ptr,
    out_ptr,
    GRID_ROWS: tl.constexpr,
    GRID_COLS: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    SIDE: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    OFFSETS: tl.constexpr,
    CHUNK: tl.constexpr,
    DIM_POW2: tl.constexpr,
):
    """qkv [B, GRID_ROWS * GRID_COLS, 3, HEADS, DIM] -> out [B, GRID_ROWS * GRID_COLS, HEADS, DIM].

    Grid: tiles of ROWS x SIDE queries, heads, batch. Keys come in tiles of KEY_ROWS x SIDE.
    """
    ACROSS: tl.constexpr = (GRID_COLS + SIDE - 1) // SIDE
    TOKENS: tl.constexpr = GRID_ROWS * GRID_COLS
    WIDTH: tl.constexpr = 3 * HEADS * DIM
    y, x = tl.program_id(0) // ACROSS * ROWS, tl.program_id(0) % ACROSS * SIDE
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    qkv_ptr += batch * (TOKENS * WIDTH) + head * DIM
    m, d = tl.arange(0, ROWS * SIDE), tl.arange(0, DIM_POW2)
    real = (y + m // SIDE < GRID_ROWS) & (x + m % SIDE < GRID_COLS)
    stored = real[:, None] & (d < DIM)[None, :]
    token = (y + m // SIDE) * GRID_COLS + x + m % SIDE
    q = tl.load(qkv_ptr + token[:, None] * WIDTH + d[None, :], mask=stored, other=0.0)

    peak = tl.full((ROWS * SIDE,), -float("inf"), tl.float32)
    total = tl.zeros((ROWS * SIDE,), tl.float32)
    result = tl.zeros((ROWS * SIDE, DIM_POW2), tl.float32)
    n = tl.arange(0, KEY_ROWS * SIDE)
    for column in range(0, GRID_COLS, SIDE):
        bias_w = width_bias(
            q,
            rel_w_ptr,
            x,
            column,
            GRID_COLS,
            DIM,
            ROWS,
            SIDE,
            KEY_ROWS,
            OFFSETS,
            DIM_POW2,
        )
        n_x = column + n % SIDE
        for first in range(0, GRID_ROWS, CHUNK):
            bias_h = height_bias(
                q, rel_h_ptr, y, first, GRID_ROWS, DIM, ROWS, SIDE, CHUNK, DIM_POW2
            )
            for row in range(0, tl.minimum(CHUNK, GRID_ROWS - first), KEY_ROWS):
                n_y = first + row + n // SIDE
                inside = (n_y < GRID_ROWS) & (n_x < GRID_COLS)
                place = (n_y * GRID_COLS + n_x) * WIDTH
                k = tl.load(
                    qkv_ptr + HEADS * DIM + place[None, :] + d[:, None],
                    mask=inside[None, :] & (d < DIM)[:, None],
                    other=0.0,
                )
                scores = tl.dot(q, k, input_precision="ieee") * LOG2_E + bias_w
                scores = add_height_bias(scores, bias_h, row, KEY_ROWS, SIDE, CHUNK)
                weights, correction, peak, total = softmax_step(scores, peak, total)
                v = tl.load(
                    qkv_ptr + 2 * HEADS * DIM + place[:, None] + d[None, :],
                    mask=inside[:, None] & (d < DIM)[None, :],
                    other=0.0,
                )
                result *= correction[:, None]
                result = tl.dot(weights.to(v.dtype), v, result, input_precision="ieee")
    result /= total[:, None]
    out_ptr += batch * (TOKENS * HEADS * DIM) + head * DIM
    place = token[:, None] * (HEADS * DIM) + d[None, :]
    tl.store(out_ptr + place, result.to(out_ptr.dtype.element_ty), mask=stored)


def global_attention(
    run: Runner, qkv: Array, rel_h: Array, rel_w: Array, heads: int, rows: int, cols: int
) -> Array:
    """Attention among all tokens of a grid; see `reference.relative_attention`.

    Args:
        run: carries it out.
        qkv: [B, rows*cols, 3*h*d], contiguous; queries scaled by 1/sqrt(d). fp32, fp16 or bf16.
        rel_h, rel_w: [2 rows - 1, d] and [2 cols - 1, d], element type of qkv, made by
            `relative_positions.tables`.
        heads: h.
        rows, cols: of the grid.

    Returns:
        [B, rows*cols, h*d], element type of qkv.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name = "global_attention"
    dim = check_qkv(qkv, name, rows * cols, heads)
    sides = (
        check_table(x, name, n, dim, qkv.dtype) for x, n in ((rel_h, "rel_h"), (rel_w, "rel_w"))
    )
    if (got := tuple(sides)) != (rows, cols):
        raise DeviceError(
            f"{name}: tables of a grid of {got[0]} x {got[1]} tokens came, expected {rows} x {cols}"
        )
    tile = tile_of_grid(cols, qkv.dtype, run.arch)
    shape = _shape(rows, cols, tile)
    out = run.empty((qkv.shape[0], rows * cols, heads * dim), qkv.dtype, name)
    tiles = cdiv(rows, shape["ROWS"]) * cdiv(cols, shape["SIDE"])
    run.launch(
        Launch(
            global_attention_kernel,
            (tiles, heads, qkv.shape[0]),
            {"qkv_ptr": qkv, "rel_h_ptr": rel_h, "rel_w_ptr": rel_w, "out_ptr": out},
            {
                "GRID_ROWS": rows,
                "GRID_COLS": cols,
                "HEADS": heads,
                "DIM": dim,
                **shape,
                "CHUNK": CHUNK,
                "DIM_POW2": next_power(dim, LEAST_SIDE),
            },
            ("out_ptr",),
            tile,
            flops=product(
                qkv.shape[0], rows * cols, heads, 2 * dim * (2 * rows * cols + rows + cols)
            ),
        )
    )
    return out


def tile_of_grid(cols: int, dtype: str, arch: int) -> Tile:
    """The tile for a grid of so many columns; see `tile_of`."""
    return tile_of("global_attention" + (".narrow" if cols <= NARROW else ""), dtype, arch)


def tensor_core_work(rows: int, cols: int, dim: int, tile: Tile) -> tuple[int, int]:
    """Multiply-adds of one head of one image as tensor cores execute them, padding included.

    Returns:
        those of the bias; those of queries with keys and of weights with values.
    """
    c, d = _shape(rows, cols, tile), next_power(dim, LEAST_SIDE)
    m, columns = c["ROWS"] * c["SIDE"], -(-cols // c["SIDE"])
    programs = -(-rows // c["ROWS"]) * columns
    bias = columns * m * d * (c["OFFSETS"] + -(-rows // CHUNK) * CHUNK)
    keys = columns * -(-rows // c["KEY_ROWS"]) * c["KEY_ROWS"] * c["SIDE"]
    return programs * bias, programs * 2 * m * keys * d


def _shape(rows: int, cols: int, tile: Tile) -> dict[str, int]:
    side = _part_of_row(cols, min(tile["SIDE"], tile["BLOCK_M"], tile["BLOCK_N"]))
    return {
        "ROWS": min(tile["BLOCK_M"] // side, next_power(rows)),
        "SIDE": side,
        "KEY_ROWS": min(tile["BLOCK_N"] // side, next_power(rows), CHUNK),
        "OFFSETS": 2 * side,
    }


def _part_of_row(cols: int, most: int) -> int:
    """The power of two, up to `most`, that cuts a row up with the least padding; the largest."""
    sizes = [size for size in (128, 64, 32, 16) if size <= max(most, LEAST_SIDE)]
    return min(sizes, key=lambda size: -(-cols // size) * size)
