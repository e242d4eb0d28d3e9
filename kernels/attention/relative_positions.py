"""Decomposed relative positions: the bias of a key at (v, u) for a query at (y, x) is

    q . rel_h[y - v + S - 1]  +  q . rel_w[x - u + S - 1].

The attention kernels read the compact tables, 2 S - 1 rows of them, and work from that: a dense
table of one query row is the same rows in falling order. Key tiles consist of whole rows of keys,
so that the width bias is one tile for all of them, the height bias one number per query and row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import FLOATS, Array, check, fixed


def tables(rel: torch.Tensor) -> torch.Tensor:
    """The table as the kernels read it.

    Args:
        rel: [S, d, S] of a folded model, entry [i, :, j] for query i and key j.

    Returns:
        [2 S - 1, d], row i - j + S - 1; type of `rel`.

    Raises:
        DeviceError: an entry depends on more than i - j.
    """
    size = rel.shape[0]
    compact = torch.cat([rel[0].t().flip(0), rel[1:, :, 0]])
    index = torch.arange(size)[:, None] - torch.arange(size)[None] + size - 1
    if not torch.equal(compact[index].transpose(1, 2), rel):
        raise DeviceError("a relative position table depends on more than the distance of tokens")
    return compact.contiguous()


def check_qkv(qkv: Array, kernel: str, tokens: int, heads: int) -> int:
    """Refuse what is no product [B, tokens, 3*h*d] of qkv; gives its d."""
    check(qkv, kernel, "qkv", (None, tokens, None), *FLOATS)
    width = fixed(qkv.shape[2], "the width of qkv")
    if width % (3 * heads):
        raise DeviceError(
            f"{kernel}: qkv has {width} columns, which 3 x {heads} heads do not divide"
        )
    if not qkv.contiguous:
        raise DeviceError(f"{kernel}: qkv is not contiguous: copy it")
    return width // (3 * heads)


def check_table(table: Array, kernel: str, name: str, dim: int, dtype: str) -> int:
    """Refuse what is no compact table for heads of `dim` channels; gives its S."""
    check(table, kernel, name, (None, dim), dtype)
    rows = fixed(table.shape[0], f"the length of {name}")
    if rows % 2 == 0:
        raise DeviceError(
            f"{kernel}: {name} has {rows} rows, expected 2 S - 1 for a side of S: see `tables`"
        )
    if table.strides[0] != dim:
        raise DeviceError(f"{kernel}: {name} has gaps between its rows: copy it")
    return (rows + 1) // 2


@triton.jit
def compact_rows(table_ptr, row, d, SIDE: tl.constexpr, DIM: tl.constexpr):
    """Elements d of rows `row` of a table [2 SIDE - 1, DIM]; they broadcast against each other.

    Zero beyond the table.
    """
    inside = (row >= 0) & (row < 2 * SIDE - 1) & (d < DIM)
    return tl.load(table_ptr + row * DIM + d, mask=inside, other=0.0)


@triton.jit
def dense_table(table_ptr, i, j, d, SIDE: tl.constexpr, DIM: tl.constexpr):
    """Entries [i, d, j] of the table in its dense form; see `compact_rows`."""
    return compact_rows(table_ptr, i - j + (SIDE - 1), d, SIDE, DIM)


@triton.jit
def repeated(tile, TIMES: tl.constexpr):
    """A tile [M, N] beside itself: [M, TIMES * N]. The copies share their registers."""
    M: tl.constexpr = tile.shape[0]
    N: tl.constexpr = tile.shape[1]
    return tl.reshape(tl.broadcast_to(tile[:, None, :], (M, TIMES, N)), (M, TIMES * N))


@triton.jit
def column_of(tile, j, COLUMNS: tl.constexpr):
    """Column j of a tile [M, COLUMNS] in registers -> [M]."""
    selected = tl.arange(0, COLUMNS)[None, :] == j
    return tl.sum(tl.where(selected, tile, 0.0), 1)


@triton.jit
def add_height_bias(
    scores, bias_h, row, KEY_ROWS: tl.constexpr, SIDE: tl.constexpr, COLUMNS: tl.constexpr
):
    """scores [M, KEY_ROWS * SIDE] of key rows row, row + 1, .. plus columns row, .. of bias_h."""
    if KEY_ROWS == 1:
        return scores + column_of(bias_h, row, COLUMNS)[:, None]
    else:
        key_row = tl.arange(0, KEY_ROWS * SIDE)[None, :] // SIDE
        bias = column_of(bias_h, row, COLUMNS)[:, None]
        for r in tl.static_range(1, KEY_ROWS):
            bias = tl.where(key_row < r, bias, column_of(bias_h, row + r, COLUMNS)[:, None])
        return scores + bias
