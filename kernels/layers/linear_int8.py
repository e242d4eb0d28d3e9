"""INT8 linear layers: rows are quantised while they are loaded, sums are integers."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.kernels.launch import Array, Launch, Runner, check, fixed
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
from samedge.runtime.triton.sizes import product


@triton.jit
def quantised(x, per_step):
    """The nearest int8 numbers of x * per_step, halves to even, cut off at -128 and 127."""
    y = tl.minimum(tl.maximum(x.to(tl.float32) * per_step, -128.0), 127.0)
    # 1.5 * 2^23 leaves a float32 no bits for a fraction: the integer stands in its lowest ones.
    return (y + 12582912.0).to(tl.int32, bitcast=True).to(tl.int8)


@triton.jit
def linear_int8_kernel(
    x_ptr,
    weight_ptr,
    weight_scale_ptr,
    x_scale_ptr,
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
    WEIGHT_STRIDE_K: tl.constexpr,
    WEIGHT_STRIDE_N: tl.constexpr,
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
    """`linear_kernel` on int8: its product is (q @ weight) * x_scale * weight_scale.

    q are the nearest int8 numbers of (norm(x) + add) / x_scale; sums int32. weight int8 [K, N] in
    either order of its elements, weight_scale fp32 [N], x_scale fp32 [1].
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

    x_scale = tl.load(x_scale_ptr)
    per_step = tl.div_rn(1.0, x_scale)
    RAGGED_K: tl.constexpr = K % BLOCK_K != 0
    RAGGED_N: tl.constexpr = SPLIT % BLOCK_N != 0 or N % BLOCK_N != 0
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
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
            weight_ptr + k[:, None] * WEIGHT_STRIDE_K + n[None, :] * WEIGHT_STRIDE_N,
            (k < K)[:, None] & (n < end)[None, :],
            RAGGED_K or RAGGED_N,
        )
        sums = tl.dot(quantised(x, per_step), weight, sums, out_dtype=tl.int32)
    scale = tl.load(weight_scale_ptr + n, mask=n < end, other=0.0) * x_scale
    y = sums.to(tl.float32) * scale[None, :]
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


def linear_int8(
    run: Runner,
    x: Array,
    weight: Array,
    weight_scale: Array,
    x_scale: Array,
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
    """`linear` with an int8 weight: rows are quantised while they are loaded.

    What QuantizeLinear and DequantizeLinear say in a bundle's INT8 graphs: symmetric, one scale for
    all rows, one for each column of the weight. The quotient of x and its scale is a product with
    the scale's reciprocal in fp32.

    Args:
        run: carries it out.
        x: [..., K], fp32, fp16 or bf16.
        weight: int8 [K, N], one of its axes contiguous. Tensor cores read int8 along K, and
            nothing else turns it round quickly: store it as [N, K] and hand over its `transposed`.
        weight_scale: fp32 [N], what one step of each column is worth.
        x_scale: fp32 [1], what one step of a row is worth; a `QuantizeLinear` saturates at -128 and
            127 of them.
        bias, norm, add, activation, residual, residual_norm, table: as of `linear`.
        split, dtype, out, second_out, few: as of `linear`; the second output has the type of x.

    Returns:
        As `linear`.

    Raises:
        DeviceError: an array does not fit.
    """
    inner, columns, strides = _weight(weight)
    check(weight_scale, "linear_int8", "weight_scale", (columns,), "fp32")
    check(x_scale, "linear_int8", "x_scale", (1,), "fp32")
    options = Options(
        bias, norm, add, activation, residual, residual_norm, table, split, dtype, out, second_out
    )
    parts = prepared("linear_int8", run, x, inner, columns, x.dtype, options)
    tile = tile_for("linear_int8", x.dtype, run.arch, parts.rows * columns, few)
    blocks = blocks_of(tile, inner, columns, 32)
    programs = tiles_in_all(parts.rows, columns, parts.constants["SPLIT"], blocks)
    run.launch(
        Launch(
            linear_int8_kernel,
            (programs, 1, 1),
            {
                "weight_ptr": weight,
                "weight_scale_ptr": weight_scale,
                "x_scale_ptr": x_scale,
                **parts.arguments,
            },
            {**strides, **parts.constants, **blocks},
            parts.outputs,
            tile,
            flops=product(parts.rows, 2 * inner * columns),
            label=f"{inner} to {columns}",
        )
    )
    return parts.first if parts.second is None else (parts.first, parts.second)


def _weight(weight: Array) -> tuple[int, int, dict[str, int]]:
    """Its sides and strides."""
    along_k = weight.strides[:1] == (1,)
    check(weight.transposed() if along_k else weight, "linear_int8", "weight", (None, None), "i8")
    inner, columns = (fixed(size, "linear_int8: a side of the weight") for size in weight.shape)
    names = ("WEIGHT_STRIDE_K", "WEIGHT_STRIDE_N")
    what = "linear_int8: a stride of the weight"
    strides = {name: fixed(s, what) for name, s in zip(names, weight.strides, strict=True)}
    return inner, columns, strides
