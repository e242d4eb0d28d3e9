"""Linear layers: x @ weight, with what stands before and behind it in the networks."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed
from samedge.kernels.layers.linear_parts import (
    Options,
    RowNorm,
    blocks_of,
    load_columns,
    load_x,
    place_of_tile,
    prepared,
    statistics_of,
    store_first,
    store_second,
    tile_for,
    tiles_in_all,
)
from samedge.kernels.layers.rows import rows_of
from samedge.runtime.triton.sizes import product


@triton.jit
def linear_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    statistics_ptr,
    norm_weight_ptr,
    norm_bias_ptr,
    add_ptr,
    table_ptr,
    residual_ptr,
    residual_statistics_ptr,
    residual_norm_weight_ptr,
    residual_norm_bias_ptr,
    out_ptr,
    second_ptr,
    rows,
    add_rows,
    table_rows,
    residual_rows,
    K: tl.constexpr,
    N: tl.constexpr,
    SPLIT: tl.constexpr,
    X_STRIDE: tl.constexpr,
    WEIGHT_STRIDE: tl.constexpr,
    ADD_STRIDE: tl.constexpr,
    TABLE_STRIDE: tl.constexpr,
    RESIDUAL_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    SECOND_STRIDE: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    """x [rows, K] and weight [K, N] -> out [rows, SPLIT], second [rows, N - SPLIT].

    out = activation((norm(x) + add) @ weight + bias + table) + norm(residual), second = gelu of the
    sums behind column SPLIT. Without SPLIT it is N. Rows of add, table, residual wrap around.
    """
    start, first, end, behind = place_of_tile(rows, N, SPLIT, BLOCK_M, BLOCK_N, GROUP_M)
    m = start + tl.arange(0, BLOCK_M)
    n = first + tl.arange(0, BLOCK_N)
    row = tl.minimum(m, rows - 1)  # rows behind the last one repeat it, and are not stored
    mean, deviation = statistics_of(statistics_ptr, row)
    x_place = row.to(tl.int64)[:, None] * X_STRIDE
    add_place = x_place
    if add_ptr is not None:
        if add_rows is not None:
            row = row % add_rows
        add_place = row.to(tl.int64)[:, None] * ADD_STRIDE

    RAGGED_K: tl.constexpr = K % BLOCK_K != 0
    RAGGED_N: tl.constexpr = SPLIT % BLOCK_N != 0 or N % BLOCK_N != 0
    y = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in range(0, K, BLOCK_K):
        k = step + tl.arange(0, BLOCK_K)
        x = load_x(
            x_ptr,
            statistics_ptr,
            norm_weight_ptr,
            norm_bias_ptr,
            add_ptr,
            x_place,
            add_place,
            mean,
            deviation,
            k,
            K,
            RAGGED_K,
        )
        weight = load_columns(
            weight_ptr + k[:, None] * WEIGHT_STRIDE + n[None, :],
            (k < K)[:, None] & (n < end)[None, :],
            RAGGED_K or RAGGED_N,
        )
        y = tl.dot(x.to(weight.dtype), weight, y, input_precision="ieee")
    if bias_ptr is not None:
        y += tl.load(bias_ptr + n, mask=n < end, other=0.0)[None, :]
    if second_ptr is not None and behind:
        store_second(y, second_ptr, rows, m, n, SPLIT, N, SECOND_STRIDE)
    else:
        store_first(
            y,
            table_ptr,
            residual_ptr,
            residual_statistics_ptr,
            residual_norm_weight_ptr,
            residual_norm_bias_ptr,
            out_ptr,
            rows,
            table_rows,
            residual_rows,
            m,
            n,
            end,
            TABLE_STRIDE,
            RESIDUAL_STRIDE,
            OUT_STRIDE,
            ACTIVATION,
        )


def linear(
    run: Runner,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    norm: RowNorm | None = None,
    add: Array | None = None,
    activation: str = "",
    residual: Array | None = None,
    residual_norm: RowNorm | None = None,
    table: Array | None = None,
    split: int | None = None,
    dtype: str,
    out: Array | None = None,
    second_out: Array | None = None,
    few: bool = False,
) -> Array | tuple[Array, Array]:
    """`activation((norm(x) + add) @ weight + bias + table) + norm(residual)`, summed in fp32.

    Rows of `add`, `table` and `residual` are repeated where they have fewer rows than x, a number
    that divides them: position codes, or what all objects of an image share.

    Args:
        run: carries it out.
        x: [..., K], fp32, fp16 or bf16; rows equally far apart. It is converted to the weight's
            type after normalising and adding.
        weight: [K, N], fp32, fp16 or bf16; may be some columns of a wider one.
        bias: fp32 [N].
        norm: x is normalised with it while it is loaded.
        add: [..., K], any of the three types.
        activation: "", "gelu" (the exact one) or "relu".
        residual: [..., N], any of the three types; may be `out` itself.
        residual_norm: the residual is normalised with it.
        table: fp32 [..., N].
        split: columns from here on are a second output, `gelu(sum + bias)` in the weight's type;
            table, activation and residual concern the first output alone and have its width.
        dtype: of the (first) output.
        out: where it is written to, [..., N or split]; may be some columns of a wider array.
        second_out: the same for the second output, [..., N - split].
        few: there are few rows, such as tokens of a decoder: small tiles.

    Returns:
        The output, with x's leading sizes; (first, second) with a split.

    Raises:
        DeviceError: an array does not fit.
    """
    check(weight, "linear", "weight", (None, None), *FLOATS)
    inner, columns = (fixed(size, "linear: a side of the weight") for size in weight.shape)
    options = Options(
        bias, norm, add, activation, residual, residual_norm, table, split, dtype, out, second_out
    )
    parts = prepared("linear", run, x, inner, columns, weight.dtype, options)
    tile = tile_for("linear", weight.dtype, run.arch, parts.rows * columns, few)
    blocks = blocks_of(tile, inner, columns, 16)
    programs = tiles_in_all(parts.rows, columns, parts.constants["SPLIT"], blocks)
    weight_stride = rows_of(weight, "linear", "weight")[1]
    run.launch(
        Launch(
            linear_kernel,
            (programs, 1, 1),
            {"weight_ptr": weight, **parts.arguments},
            {"WEIGHT_STRIDE": weight_stride, **parts.constants, **blocks},
            parts.outputs,
            tile,
            flops=product(parts.rows, 2 * inner * columns),
            label=f"{inner} to {columns}",
        )
    )
    return parts.first if parts.second is None else (parts.first, parts.second)
