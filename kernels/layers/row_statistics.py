"""Mean and reciprocal deviation of every row: the part of a LayerNorm that sees whole rows.

`linear` normalises with them while it loads; they are computed once per row, not once per tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.layers.rows import rows_of
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product


@triton.jit
def row_statistics_kernel(
    x_ptr,
    out_ptr,
    rows,
    WIDTH: tl.constexpr,
    STRIDE: tl.constexpr,
    EPS: tl.constexpr,
    CENTRED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """x [rows, WIDTH] -> out fp32 [rows, 2]: mean and 1 / sqrt(variance + EPS).

    CENTRED: rows have mean zero already, so the mean is 0 and the variance the mean square.
    """
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.arange(0, WIDTH_POW2)
    inside = (m < rows)[:, None] & (k < WIDTH)[None, :]
    place = m.to(tl.int64)[:, None] * STRIDE + k[None, :]
    x = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    if CENTRED:
        mean = tl.zeros((BLOCK_M,), tl.float32)
    else:
        mean = tl.sum(x, 1) / WIDTH
    # Two passes over registers: the mean of squares less the square of the mean would cancel.
    distance = tl.where(inside, x - mean[:, None], 0.0)
    deviation = tl.rsqrt(tl.sum(distance * distance, 1) / WIDTH + EPS)
    tl.store(out_ptr + m * 2, mean, mask=m < rows)
    tl.store(out_ptr + m * 2 + 1, deviation, mask=m < rows)


def row_statistics(run: Runner, x: Array, eps: float, centred: bool = False) -> Array:
    """Mean and reciprocal deviation of the rows of x.

    Args:
        run: carries it out.
        x: [..., D], fp32, fp16 or bf16; rows contiguous and equally far apart.
        eps: added to the variance.
        centred: rows have mean zero; it is not computed (an RMS norm).

    Returns:
        fp32 [rows, 2], (mean, 1 / sqrt(variance + eps)); see `reference.layer_norm`.

    Raises:
        DeviceError: x does not fit.
    """
    check(x, "row_statistics", "x", (*(None,) * (len(x.shape) - 1), None), *FLOATS)
    width = fixed(x.shape[-1], "the width of x")
    rows, stride = rows_of(x, "row_statistics", "x")
    tile = tile_of("row_statistics", x.dtype, run.arch)
    out = run.empty((rows, 2), "fp32", "row statistics")
    run.launch(
        Launch(
            row_statistics_kernel,
            (cdiv(rows, tile["BLOCK_M"]), 1, 1),
            {"x_ptr": x, "out_ptr": out, "rows": rows},
            {
                "WIDTH": width,
                "STRIDE": stride,
                "EPS": eps,
                "CENTRED": centred,
                "BLOCK_M": tile["BLOCK_M"],
                "WIDTH_POW2": next_power(width),
            },
            ("out_ptr",),
            tile,
            flops=product(rows, width, 5),
        )
    )
    return out
