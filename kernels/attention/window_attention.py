"""Attention in windows, with decomposed relative positions and padding that exists nowhere.

Queries, keys and values are read where the qkv product left them; neither windows nor bias matrices
are written to memory.
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
LEAST_COLUMNS = 8  # of the result of one of their instructions


@triton.jit
def window_bias(
    q,
    rel_h_ptr,
    rel_w_ptr,
    y,
    WINDOW: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    SIDE: tl.constexpr,
    GROUP: tl.constexpr,
    OFFSETS: tl.constexpr,
    DIM_POW2: tl.constexpr,
):
    """Biases of q [ROWS * SIDE, DIM_POW2], rows y and on of a window, as fp32: by key row
    [ROWS * SIDE, SIDE], and by key column, for KEY_ROWS rows, [ROWS * SIDE, KEY_ROWS * SIDE].
    Those of keys behind the window are -inf.

    The products waste nothing: each query row has a dense table of its own for the height; each
    GROUP of columns shares the few rows of the compact table that it needs for the width.
    """
    M: tl.constexpr = ROWS * SIDE
    GROUPS: tl.constexpr = SIDE // GROUP
    side = tl.arange(0, SIDE)
    d = tl.arange(0, DIM_POW2)
    row = y + tl.arange(0, ROWS)
    table = dense_table(
        rel_h_ptr, row[:, None, None], side[None, None, :], d[None, :, None], WINDOW, DIM
    )  # [row, d, key row]
    by_row = tl.reshape(q, (ROWS, SIDE, DIM_POW2))
    bias_h = tl.reshape(tl.dot(by_row, table, input_precision="ieee"), (M, SIDE)) * LOG2_E
    bias_h = tl.where((side < WINDOW)[None, :], bias_h, -float("inf"))

    first = tl.arange(0, GROUPS) * GROUP
    offset = tl.arange(0, OFFSETS)
    table = compact_rows(
        rel_w_ptr, first[:, None, None] + offset[None, :, None], d[None, None, :], WINDOW, DIM
    )  # [group, offset, d]
    by_group = tl.permute(tl.reshape(q, (ROWS, GROUPS, GROUP, DIM_POW2)), (1, 3, 0, 2))
    by_group = tl.reshape(by_group, (GROUPS, DIM_POW2, ROWS * GROUP))
    found = tl.dot(table, by_group, input_precision="ieee")
    found = tl.permute(tl.reshape(found, (GROUPS, OFFSETS, ROWS, GROUP)), (2, 0, 3, 1))
    index = (tl.arange(0, M) % GROUP)[:, None] - side[None, :] + (WINDOW - 1)
    bias_w = tl.gather(tl.reshape(found, (M, OFFSETS)), tl.maximum(index, 0), 1) * LOG2_E
    bias_w = tl.where((side < WINDOW)[None, :], bias_w, -float("inf"))
    return bias_h, repeated(bias_w, KEY_ROWS)


@triton.jit
def window_attention_kernel(
    qkv_ptr,
    rel_h_ptr,
    rel_w_ptr,
    out_ptr,
    GRID: tl.constexpr,
    WINDOW: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    SIDE: tl.constexpr,
    GROUP: tl.constexpr,
    OFFSETS: tl.constexpr,
    DIM_POW2: tl.constexpr,
):
    """qkv [B, GRID * GRID, 3, HEADS, DIM] -> out [B, GRID * GRID, HEADS, DIM].

    Grid: tiles of a window * windows, heads, batch. A tile is ROWS rows of a window, each SIDE wide
    (WINDOW and padding); keys come KEY_ROWS rows at a time.
    """
    ACROSS: tl.constexpr = (GRID + WINDOW - 1) // WINDOW
    TILES: tl.constexpr = (WINDOW + ROWS - 1) // ROWS
    WIDTH: tl.constexpr = 3 * HEADS * DIM
    KEYS: tl.constexpr = KEY_ROWS * SIDE
    window = tl.program_id(0) // TILES
    y = tl.program_id(0) % TILES * ROWS
    y0, x0 = window // ACROSS * WINDOW, window % ACROSS * WINDOW
    if y0 + y >= GRID:  # nothing but padding queries
        return
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    qkv_ptr += batch * (GRID * GRID * WIDTH) + head * DIM
    m = tl.arange(0, ROWS * SIDE)
    d = tl.arange(0, DIM_POW2)
    m_y, m_x = y + m // SIDE, m % SIDE
    real = (m_y < WINDOW) & (m_x < WINDOW) & (y0 + m_y < GRID) & (x0 + m_x < GRID)
    stored = real[:, None] & (d < DIM)[None, :]
    token = (y0 + m_y) * GRID + x0 + m_x
    q = tl.load(qkv_ptr + token[:, None] * WIDTH + d[None, :], mask=stored, other=0.0)
    bias_h, bias_w = window_bias(
        q, rel_h_ptr, rel_w_ptr, y, WINDOW, DIM, ROWS, KEY_ROWS, SIDE, GROUP, OFFSETS, DIM_POW2
    )

    peak = tl.full((ROWS * SIDE,), -float("inf"), tl.float32)
    total = tl.zeros((ROWS * SIDE,), tl.float32)
    result = tl.zeros((ROWS * SIDE, DIM_POW2), tl.float32)
    n = tl.arange(0, KEYS)
    n_x = n % SIDE
    for row in range(0, WINDOW, KEY_ROWS):
        # Keys and values outside of the grid are zero; those outside of the window have -inf.
        n_y = row + n // SIDE
        inside = (n_y < WINDOW) & (n_x < WINDOW) & (y0 + n_y < GRID) & (x0 + n_x < GRID)
        place = ((y0 + n_y) * GRID + x0 + n_x) * WIDTH
        k = tl.load(
            qkv_ptr + HEADS * DIM + place[None, :] + d[:, None],
            mask=inside[None, :] & (d < DIM)[:, None],
            other=0.0,
        )
        scores = tl.dot(q, k, input_precision="ieee") * LOG2_E + bias_w
        scores = add_height_bias(scores, bias_h, row, KEY_ROWS, SIDE, SIDE)
        weights, correction, peak, total = softmax_step(scores, peak, total)
        v = tl.load(
            qkv_ptr + 2 * HEADS * DIM + place[:, None] + d[None, :],
            mask=inside[:, None] & (d < DIM)[None, :],
            other=0.0,
        )
        result *= correction[:, None]
        result = tl.dot(weights.to(v.dtype), v, result, input_precision="ieee")
    result /= total[:, None]
    out_ptr += batch * (GRID * GRID * HEADS * DIM) + head * DIM
    place = token[:, None] * (HEADS * DIM) + d[None, :]
    tl.store(out_ptr + place, result.to(out_ptr.dtype.element_ty), mask=stored)


def window_attention(
    run: Runner, qkv: Array, rel_h: Array, rel_w: Array, heads: int, grid: int
) -> Array:
    """Attention in w x w windows of a g x g grid; see `reference.window_attention`.

    Args:
        run: carries it out.
        qkv: [B, g*g, 3*h*d], contiguous; queries scaled by 1/sqrt(d). fp32, fp16 or bf16.
        rel_h, rel_w: [2 w - 1, d], element type of qkv, made by `relative_positions.tables`.
        heads: h.
        grid: g.

    Returns:
        [B, g*g, h*d], element type of qkv.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name = "window_attention"
    dim = check_qkv(qkv, name, grid * grid, heads)
    window = check_table(rel_h, name, "rel_h", dim, qkv.dtype)
    if check_table(rel_w, name, "rel_w", dim, qkv.dtype) != window:
        raise DeviceError(
            f"{name}: rel_w came with {rel_w.shape[0]} rows, rel_h has "
            f"{rel_h.shape[0]}: windows are square"
        )
    tile = tile_of(name, qkv.dtype, run.arch)
    shape = _shape(window, tile)
    out = run.empty((qkv.shape[0], grid * grid, heads * dim), qkv.dtype, name)
    across = cdiv(grid, window)
    tiles = product(cdiv(window, shape["ROWS"]), across, across)
    run.launch(
        Launch(
            window_attention_kernel,
            (tiles, heads, qkv.shape[0]),
            {"qkv_ptr": qkv, "rel_h_ptr": rel_h, "rel_w_ptr": rel_w, "out_ptr": out},
            {
                "GRID": grid,
                "WINDOW": window,
                "HEADS": heads,
                "DIM": dim,
                **shape,
                "DIM_POW2": next_power(dim, LEAST_SIDE),
            },
            ("out_ptr",),
            tile,
            flops=product(qkv.shape[0], grid**2, heads, 4 * dim * (window**2 + window)),
        )
    )
    return out


def _shape(window: int, tile: Tile) -> dict[str, int]:
    side = next_power(window, LEAST_SIDE)
    # Two neighbouring columns need one row of the table more than one of them: share it, where
    # that does not double the tile.
    group = 2 if next_power(window + 1, LEAST_SIDE) == side else 1
    return {
        "ROWS": max(1, tile["BLOCK_M"] // side),
        "KEY_ROWS": max(1, tile["BLOCK_N"] // side),
        "SIDE": side,
        "GROUP": group,
        "OFFSETS": next_power(window + group - 1, LEAST_SIDE),
    }


def tensor_core_work(grid: int, window: int, dim: int, tile: Tile) -> tuple[int, int]:
    """Multiply-adds of one head of one image as tensor cores execute them, padding included.

    Returns:
        those of the bias; those of queries with keys and of weights with values.
    """
    c, d, across = _shape(window, tile), next_power(dim, LEAST_SIDE), -(-grid // window)
    m = c["ROWS"] * c["SIDE"]
    starts = (y0 + y for y0 in range(0, grid, window) for y in range(0, window, c["ROWS"]))
    programs = across * sum(start < grid for start in starts)
    height = m * d * c["SIDE"]
    columns = max(c["ROWS"] * c["GROUP"], LEAST_COLUMNS)
    width = c["SIDE"] // c["GROUP"] * c["OFFSETS"] * d * columns
    keys = -(-window // c["KEY_ROWS"]) * c["KEY_ROWS"] * c["SIDE"]
    return programs * (height + width), programs * 2 * m * keys * d
