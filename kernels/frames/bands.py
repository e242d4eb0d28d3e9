"""Where the rows of a resize matrix are not zero, so that a product need not go over the rest."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.families import Family
from samedge.kernels.launch import Array, Launch, Runner, check, check_contiguous, fixed
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product

# Coefficients up to this large change nothing, see `negligible`.
NEGLIGIBLE = {"pil": 0.0, "cubic": 2.0**-36, "zoom": 2.0**-27, "bilinear": 0.0, "area": 0.0}


def negligible(family: Family) -> float:
    """How large a coefficient of the family's resize may be and yet be taken for zero.

    A cubic spline's response never ends, it only falls by 0.27 per sample: most of a row is far
    below what float32 can add to a grey level.

    * "cubic": a row loses less than 2^-34 in sum, and a grey level 128 times that, 2^-27: a
      sixteenth of the slack below which docs/geometry.md counts a value as whole.
    * "zoom": after two zooms less than 2^-21 of a row, 1e-4 of a grey level, which is what the
      float32 product itself is off by.
    * the triangle of "pil" and "bilinear" has no such tail, nor have the cells of "area".
    """
    return NEGLIGIBLE[family.interpolation]


@triton.jit
def bands_kernel(
    matrix_ptr,
    out_ptr,
    rows,
    columns,
    PLANES: tl.constexpr,
    LEAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """matrix [PLANES, rows, columns] -> out [rows, 2]: first and behind-last column above LEAST."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    first = tl.full((BLOCK_M, BLOCK_N), 0x7FFFFFFF, tl.int32)
    end = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
    for start in range(0, columns, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        inside = (m < rows)[:, None] & (n < columns)[None, :]
        place = m[:, None] * columns + n[None, :]
        for plane in tl.static_range(PLANES):
            x = tl.load(matrix_ptr + plane * rows * columns + place, mask=inside, other=0.0)
            used = tl.abs(x) > LEAST
            first = tl.where(used, tl.minimum(first, n[None, :]), first)
            end = tl.where(used, tl.maximum(end, n[None, :] + 1), end)
    last = tl.max(end, 1)
    tl.store(out_ptr + 2 * m, tl.where(last > 0, tl.min(first, 1), 0), mask=m < rows)
    tl.store(out_ptr + 2 * m + 1, last, mask=m < rows)


def bands(run: Runner, matrix: Array, least: float = 0.0) -> Array:
    """First and behind-last nonzero column of every row, over all planes.

    Args:
        run: carries it out.
        matrix: fp32 [P, S, n] or [S, n], contiguous, up to 2^31 elements; S and n may be known
            only at run time.
        least: coefficients that are not larger count as zero; see `negligible`.

    Returns:
        i32 [S, 2]; 0 and 0 for a row of zeros.

    Raises:
        DeviceError: the matrix does not fit.
    """
    check(matrix, "bands", "matrix", (None,) * len(matrix.shape), "fp32")
    check_contiguous(matrix, "bands", "matrix")
    *planes, rows, columns = matrix.shape
    tile = tile_of("bands", "fp32", run.arch)
    out = run.empty((rows, 2), "i32", "bands")
    run.launch(
        Launch(
            bands_kernel,
            (cdiv(rows, tile["BLOCK_M"]), 1, 1),
            {"matrix_ptr": matrix, "out_ptr": out, "rows": rows, "columns": columns},
            {
                "PLANES": fixed(product(*planes), "the number of planes"),
                "LEAST": float(least),
                **tile.sizes,
            },
            ("out_ptr",),
            tile,
        )
    )
    return out
