"""Image tokens -> low-res logits: both upscalings and the hypernetworks' product in one launch."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.layers.gelu import gelu
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import cdiv, product


@dataclass(frozen=True)
class UpscalingWeights:
    """Weights of the upscaling in `samedge.fold.decoder_layers.MaskHead`.

    Attributes:
        up1, bias1: [P, 4 C] in one of fp32, fp16 and bf16, and fp32 [4 C]; columns (a, b, channel).
        norm: weight and bias, fp32 [C].
        eps: of the norm.
        up2, bias2: [C, 4 E] in the type of up1, and fp32 [4 E]; columns (c, d, channel).
    """

    up1: Array
    bias1: Array
    norm: tuple[Array, Array]
    eps: float
    up2: Array
    bias2: Array


@triton.jit
def mask_head_kernel(
    keys_ptr,
    up1_ptr,
    bias1_ptr,
    weight_ptr,
    shift_ptr,
    up2_ptr,
    bias2_ptr,
    hyper_ptr,
    out_ptr,
    masks,
    GRID: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    E: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    C_POW2: tl.constexpr,
    E_POW2: tl.constexpr,
):
    """keys [N, GRID^2, WIDTH], hyper fp32 [N, masks, E] -> out fp32 [N, masks, 4 GRID, 4 GRID].

    A token's 4 x 4 logits stand at row 4 y + 2 a + c, column 4 x + 2 b + d; a program makes those
    of one a. grid = (cdiv(GRID^2, BLOCK_M), 2, N)
    """
    TOKENS: tl.constexpr = GRID * GRID
    dtype = up1_ptr.dtype.element_ty
    a, n = tl.program_id(1), tl.program_id(2).to(tl.int64)
    t = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    k = tl.arange(0, BLOCK_K)

    # First upscaling: columns (b, channel) of this a lie side by side.
    column = tl.arange(0, 2 * C_POW2)
    channel = column % C_POW2
    place1 = (2 * a + column // C_POW2) * C + channel
    keys_ptr += n * (TOKENS * WIDTH) + t[:, None] * WIDTH
    x = tl.zeros((BLOCK_M, 2 * C_POW2), tl.float32)
    for start in tl.range(0, WIDTH, BLOCK_K):
        deep = start + k < WIDTH
        key = tl.load(
            keys_ptr + (start + k)[None, :], mask=(t < TOKENS)[:, None] & deep[None, :], other=0.0
        )
        up1 = tl.load(
            up1_ptr + (start + k)[:, None] * (4 * C) + place1[None, :],
            mask=deep[:, None] & (channel < C)[None, :],
            other=0.0,
        )
        x = tl.dot(key.to(dtype), up1, x, input_precision="ieee")
    x += tl.load(bias1_ptr + place1, mask=channel < C, other=0.0)[None, :]

    # Rows are (token, b) from here on, so that a row's norm is over all of its columns.
    x = tl.reshape(x, (2 * BLOCK_M, C_POW2))
    j = tl.arange(0, C_POW2)
    mean = tl.sum(x, 1, keep_dims=True) / C
    distance = tl.where((j < C)[None, :], x - mean, 0.0)
    deviation = tl.rsqrt(tl.sum(distance * distance, 1, keep_dims=True) / C + EPS)
    weight = tl.load(weight_ptr + j, mask=j < C, other=0.0)[None, :]
    shift = tl.load(shift_ptr + j, mask=j < C, other=0.0)[None, :]
    x = gelu(distance * deviation * weight + shift).to(dtype)

    # Second upscaling, columns (c, d, channel).
    column = tl.arange(0, 4 * E_POW2)
    channel = column % E_POW2
    place2 = (column // E_POW2) * E + channel
    up2 = tl.load(
        up2_ptr + j[:, None] * (4 * E) + place2[None, :],
        mask=(j < C)[:, None] & (channel < E)[None, :],
        other=0.0,
    )
    y = tl.dot(x, up2, input_precision="ieee", out_dtype=tl.float32)
    y += tl.load(bias2_ptr + place2, mask=channel < E, other=0.0)[None, :]
    y = gelu(y)

    # Rows (b, d) of a token and of its neighbours in the grid lie side by side in the logits.
    e = tl.arange(0, E_POW2)
    q = tl.arange(0, 4 * BLOCK_M)
    token = tl.program_id(0) * BLOCK_M + q // 4
    row = 4 * (token // GRID) + 2 * a
    place = row * (4 * GRID) + 4 * (token % GRID) + q % 4
    place = place[None, :] + (tl.arange(0, 2) * (4 * GRID))[:, None]
    inside = (token < TOKENS)[None, :] & (tl.arange(0, 2) < 2)[:, None]
    y = tl.reshape(y, (2 * BLOCK_M, 4, E_POW2))
    for mask in tl.range(masks):
        m = n * masks + mask
        hyper = tl.load(hyper_ptr + m * E + e, mask=e < E, other=0.0)
        logits = tl.reshape(tl.sum(y * hyper[None, None, :], 2), (2 * BLOCK_M, 2, 2))
        logits = tl.reshape(tl.permute(logits, (1, 0, 2)), (2, 4 * BLOCK_M))
        tl.store(out_ptr + m * (16 * TOKENS) + place, logits, mask=inside)


def mask_head(
    run: Runner, keys: Array, weights: UpscalingWeights, hyper: Array, out: Array
) -> None:
    """Low-res logits of every mask; the upscaled image never goes to memory.

    Args:
        run: carries it out.
        keys: [N, g*g, P] in the weights' type, of the last layer.
        weights: of the folded model.
        hyper: fp32 [N, K, E], of `final_tokens`.
        out: fp32 [N, K, 4g, 4g], contiguous; gets the logits of `MaskHead`.

    Raises:
        DeviceError: arrays do not fit.
    """
    name, dtype = "mask_head", weights.up1.dtype
    objects, masks, e = hyper.shape
    width, c = fixed(weights.up1.shape[0], "P"), fixed(weights.up2.shape[0], "the channels")
    e, side = fixed(e, "the width of hyper"), fixed(out.shape[-1], "the side of the logits")
    grid = side // 4
    check(weights.up1, name, "up1", (width, 4 * c), *FLOATS)
    check(weights.up2, name, "up2", (c, 4 * e), dtype)
    check(weights.bias1, name, "bias1", (4 * c,), "fp32")
    check(weights.bias2, name, "bias2", (4 * e,), "fp32")
    for array in weights.norm:
        check(array, name, "norm", (c,), "fp32")
    check(keys, name, "keys", (objects, grid * grid, width), dtype)
    check(hyper, name, "hyper", (objects, masks, e), "fp32")
    check(out, name, "out", (objects, masks, 4 * grid, 4 * grid), "fp32")
    if not (keys.contiguous and hyper.contiguous and out.contiguous):
        raise DeviceError(f"{name}: keys, hyper and out have to be contiguous")
    tile = tile_of(name, dtype, run.arch)
    tokens = grid * grid
    upscaling = product(objects, tokens, 2 * (width * 4 * c + 4 * c * 4 * e))
    run.launch(
        Launch(
            mask_head_kernel,
            (cdiv(tokens, tile["BLOCK_M"]), 2, objects),
            {
                "keys_ptr": keys,
                "up1_ptr": weights.up1,
                "bias1_ptr": weights.bias1,
                "weight_ptr": weights.norm[0],
                "shift_ptr": weights.norm[1],
                "up2_ptr": weights.up2,
                "bias2_ptr": weights.bias2,
                "hyper_ptr": hyper,
                "out_ptr": out,
                "masks": masks,
            },
            {
                "GRID": grid,
                "WIDTH": width,
                "C": c,
                "E": e,
                "EPS": weights.eps,
                "BLOCK_M": tile["BLOCK_M"],
                "BLOCK_K": min(tile["BLOCK_K"], next_power(width, 16)),
                "C_POW2": next_power(c, 16),
                "E_POW2": next_power(e, 4),
            },
            ("out_ptr",),
            tile,
            flops=upscaling + product(objects, masks, tokens * 16 * e * 2),
        )
    )
