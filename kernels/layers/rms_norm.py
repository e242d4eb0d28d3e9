"""RMS norm over channels with what follows it: GELU, max-pooling, a sum, another order of axes."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import (
    FLOATS,
    Array,
    Launch,
    Runner,
    check,
    check_contiguous,
    fixed,
    next_power,
)
from samedge.kernels.layers.gelu import gelu
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, cdiv, product

ACTIVATIONS = ("", "gelu")


@triton.jit
def normalised(
    x_ptr,
    weight,
    bias,
    row,
    inside,
    C: tl.constexpr,
    EPS: tl.constexpr,
    GELU: tl.constexpr,
    C_POW2: tl.constexpr,
):
    """Rows of x [.., C], normalised, scaled and shifted, [BLOCK_M, C_POW2] in fp32."""
    c = tl.arange(0, C_POW2)
    mask = inside[:, None] & (c < C)[None, :]
    x = tl.load(x_ptr + row.to(tl.int64)[:, None] * C + c[None, :], mask=mask, other=0.0)
    x = x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, 1) / C + EPS)
    y = x * scale[:, None] * weight[None, :] + bias[None, :]
    if GELU:
        y = gelu(y)
    return y


@triton.jit
def rms_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    add_ptr,
    out_ptr,
    rows,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    EPS: tl.constexpr,
    GELU: tl.constexpr,
    POOL: tl.constexpr,
    PLANES: tl.constexpr,
    ADD: tl.constexpr,
    FACTOR: tl.constexpr,
    BLOCK_M: tl.constexpr,
    C_POW2: tl.constexpr,
):
    """x [B, HEIGHT, WIDTH, C] -> out [rows, C], or [B, C, rows / B] with PLANES.

    rows: (image, y, x) of the output; with POOL the largest of the four rows below it.
    """
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.arange(0, C_POW2)
    weight = tl.load(weight_ptr + c, mask=c < C, other=0.0)
    bias = tl.load(bias_ptr + c, mask=c < C, other=0.0)
    inside = m < rows
    if POOL:
        x = m % (WIDTH // 2)
        y = m // (WIDTH // 2) % (HEIGHT // 2)
        image = m // ((WIDTH // 2) * (HEIGHT // 2))
        corner = (image * HEIGHT + 2 * y) * WIDTH + 2 * x
        value = normalised(x_ptr, weight, bias, corner, inside, C, EPS, GELU, C_POW2)
        for i in tl.static_range(1, 4):
            row = corner + i // 2 * WIDTH + i % 2
            other = normalised(x_ptr, weight, bias, row, inside, C, EPS, GELU, C_POW2)
            value = tl.maximum(value, other)
    else:
        value = normalised(x_ptr, weight, bias, m, inside, C, EPS, GELU, C_POW2)
    mask = inside[:, None] & (c < C)[None, :]
    row = m.to(tl.int64)
    if ADD:
        there = tl.load(add_ptr + row[:, None] * C + c[None, :], mask=mask, other=0.0)
        value = there.to(tl.float32) + FACTOR * value
    if PLANES:
        places: tl.constexpr = HEIGHT * WIDTH
        place = (row // places * C * places + row % places)[:, None] + c[None, :] * places
    else:
        place = row[:, None] * C + c[None, :]
    tl.store(out_ptr + place, value.to(out_ptr.dtype.element_ty), mask=mask)


def rms_norm(
    run: Runner,
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    *,
    activation: str = "",
    pool: bool = False,
    planes: bool = False,
    add: tuple[Array, float] | None = None,
    dtype: str,
    out: Array | None = None,
) -> Array:
    """`x / sqrt(mean(x^2) + eps) * weight + bias` over the last axis, and what follows.

    Args:
        run: carries it out.
        x: [B, y, x, C], contiguous, any float.
        weight, bias: fp32 [C].
        eps: added to the mean square.
        activation: "" or "gelu" (the exact one), behind the norm.
        pool: then the largest of each 2 x 2 places; an odd last row or column is left out.
        planes: the output is [B, C, y, x]; not with `pool` or `add`.
        add: (array, factor): the output is `array + factor * (all of the above)`; the array has the
            output's shape, contiguous, any float.
        dtype: of the output.
        out: memory to write to, contiguous; new memory if None.

    Returns:
        [B, y, x, C], [B, y // 2, x // 2, C] or [B, C, y, x]; see `reference.rms_norm`.

    Raises:
        DeviceError: an argument does not fit.
    """
    name = "rms_norm"
    check(x, name, "x", (None,) * 4, *FLOATS)
    check_contiguous(x, name, "x")
    batch, c = x.shape[0], fixed(x.shape[3], "the channels of x")
    height, width = (fixed(s, "the size of x") for s in x.shape[1:3])
    check(weight, name, "weight", (c,), "fp32")
    check(bias, name, "bias", (c,), "fp32")
    if activation not in ACTIVATIONS:
        raise DeviceError(f"{name}: activation '{activation}', expected '' or 'gelu'")
    if planes and (pool or add is not None):
        raise DeviceError(f"{name}: planes come with neither pool nor add")
    y, z = (height // 2, width // 2) if pool else (height, width)
    shape: tuple[Size, ...] = (batch, c, y, z) if planes else (batch, y, z, c)
    if add is not None:
        check(add[0], name, "add", shape, *FLOATS)
        check_contiguous(add[0], name, "add")
    if out is None:
        out = run.empty(shape, dtype, name)
    check(out, name, "out", shape, dtype)
    check_contiguous(out, name, "out")
    tile = tile_of("rms_norm.planes" if planes else "rms_norm", x.dtype, run.arch)
    rows = product(batch, y, z)
    run.launch(
        Launch(
            rms_norm_kernel,
            (cdiv(rows, tile["BLOCK_M"]), 1, 1),
            {
                "x_ptr": x,
                "weight_ptr": weight,
                "bias_ptr": bias,
                "add_ptr": add[0] if add else None,
                "out_ptr": out,
                "rows": rows,
            },
            {
                "HEIGHT": height,
                "WIDTH": width,
                "C": c,
                "EPS": eps,
                "GELU": activation == "gelu",
                "POOL": pool,
                "PLANES": planes,
                "ADD": add is not None,
                "FACTOR": float(add[1]) if add else 1.0,
                "BLOCK_M": tile["BLOCK_M"],
                "C_POW2": next_power(c),
            },
            ("out_ptr",),
            tile,
            flops=product(rows, c, (4 if pool else 1) * 5),
        )
    )
    return out
