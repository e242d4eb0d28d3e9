"""LayerNorm of whole rows, with what is added before and the activation behind it."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.layers.gelu import gelu
from samedge.kernels.layers.rows import repeated_rows, rows_of
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product

ACTIVATIONS = ("", "gelu", "relu")


@triton.jit
def layer_norm_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    rows,
    residual_rows,
    WIDTH: tl.constexpr,
    X_STRIDE: tl.constexpr,
    RESIDUAL_STRIDE: tl.constexpr,
    OUT_STRIDE: tl.constexpr,
    EPS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """x [rows, WIDTH] -> out = activation(norm(x + residual)); residual's rows may be repeated."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.arange(0, WIDTH_POW2)
    inside = (m < rows)[:, None] & (k < WIDTH)[None, :]
    row = m.to(tl.int64)[:, None]
    x = tl.load(x_ptr + row * X_STRIDE + k[None, :], mask=inside, other=0.0).to(tl.float32)
    if residual_ptr is not None:
        beside = row
        if residual_rows is not None:
            beside = (m % residual_rows).to(tl.int64)[:, None]
        place = beside * RESIDUAL_STRIDE + k[None, :]
        x += tl.load(residual_ptr + place, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, 1) / WIDTH
    # Two passes over registers: the mean of squares less the square of the mean would cancel.
    distance = tl.where(inside, x - mean[:, None], 0.0)
    deviation = tl.rsqrt(tl.sum(distance * distance, 1) / WIDTH + EPS)
    weight = tl.load(weight_ptr + k, mask=k < WIDTH, other=0.0)
    bias = tl.load(bias_ptr + k, mask=k < WIDTH, other=0.0)
    y = distance * deviation[:, None] * weight[None, :] + bias[None, :]
    if ACTIVATION == "gelu":
        y = gelu(y)
    if ACTIVATION == "relu":
        y = tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out_ptr + row * OUT_STRIDE + k[None, :], y.to(out_ptr.dtype.element_ty), mask=inside)


def layer_norm(
    run: Runner,
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    *,
    residual: Array | None = None,
    activation: str = "",
    dtype: str,
    out: Array | None = None,
) -> Array:
    """`activation((z - mean z) / sqrt(var z + eps) * weight + bias)` of z = x + residual.

    Args:
        run: carries it out.
        x: [..., D], fp32, fp16 or bf16; rows equally far apart.
        weight, bias: fp32 [D].
        eps: added to the variance.
        residual: [..., D], any of the three types; its rows are repeated where they are fewer.
        activation: "", "gelu" (the exact one) or "relu".
        dtype: of the output.
        out: where it is written to, of x's shape; may be x or the residual, and some columns of a
            wider array.

    Returns:
        The output, of x's shape; see `reference.layer_norm`.

    Raises:
        DeviceError: an argument does not fit.
    """
    name = "layer_norm"
    check(x, name, "x", (None,) * len(x.shape), *FLOATS)
    rows, x_stride = rows_of(x, name, "x")
    width = fixed(x.shape[-1], f"{name}: the width of x")
    check(weight, name, "weight", (width,), "fp32")
    check(bias, name, "bias", (width,), "fp32")
    for what, got, wanted in (("activation", activation, ACTIVATIONS), ("dtype", dtype, FLOATS)):
        if got not in wanted:
            raise DeviceError(f"{name}: {what} came as {got!r}, expected one of {wanted}")
    residual_rows, residual_stride = None, 0
    if residual is not None:
        residual_rows, residual_stride = repeated_rows(
            residual, name, "residual", width, rows, *FLOATS
        )
    out = run.empty(x.shape, dtype, name) if out is None else out
    check(out, name, "out", x.shape, dtype)
    tile = tile_of(name, x.dtype, run.arch)
    run.launch(
        Launch(
            layer_norm_kernel,
            (cdiv(rows, tile["BLOCK_M"]), 1, 1),
            {
                "x_ptr": x,
                "residual_ptr": residual,
                "weight_ptr": weight,
                "bias_ptr": bias,
                "out_ptr": out,
                "rows": rows,
                "residual_rows": residual_rows,
            },
            {
                "WIDTH": width,
                "X_STRIDE": x_stride,
                "RESIDUAL_STRIDE": residual_stride,
                "OUT_STRIDE": rows_of(out, name, "out")[1],
                "EPS": eps,
                "ACTIVATION": activation,
                "BLOCK_M": tile["BLOCK_M"],
                "WIDTH_POW2": next_power(width),
            },
            ("out_ptr",),
            tile,
            flops=product(rows, width, 7),
        )
    )
    return out
