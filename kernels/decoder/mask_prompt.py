"""The image's tokens in front of the decoder: the embedding, and a mask prompt added to it."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.layers.gelu import gelu
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, cdiv, product


@dataclass(frozen=True)
class MaskWeights:
    """Weights of `samedge.fold.decoder_layers.MaskPrompt`.

    Attributes:
        lin1, lin2, lin3: [4, C], [4 C, D] and [D, P], one of fp32, fp16 and bf16; D is 4 C in SAM.
        bias1, bias2, bias3: fp32 [C], [D] and [P].
        norm1, norm2: weight and bias, fp32 [C] and [D].
        eps: of both norms.
    """

    lin1: Array
    bias1: Array
    norm1: tuple[Array, Array]
    lin2: Array
    bias2: Array
    norm2: tuple[Array, Array]
    lin3: Array
    bias3: Array
    eps: float


@triton.jit
def _normalised(x, inside, weight, bias, WIDTH: tl.constexpr, EPS: tl.constexpr):
    """LayerNorm over the last of three axes; columns that are not `inside` become zero."""
    mean = tl.sum(x, 2, keep_dims=True) / WIDTH
    distance = tl.where(inside, x - mean, 0.0)
    deviation = tl.rsqrt(tl.sum(distance * distance, 2, keep_dims=True) / WIDTH + EPS)
    return distance * deviation * weight + bias


@triton.jit
def _vector3(ptr, place, inside):
    """A vector along the last of three axes."""
    return tl.load(ptr + place, mask=inside, other=0.0)[None, None, :]


@triton.jit
def _hidden(
    mask_ptr,
    lin1_ptr,
    bias1_ptr,
    weight1_ptr,
    shift1_ptr,
    lin2_ptr,
    bias2_ptr,
    weight2_ptr,
    shift2_ptr,
    t,
    GRID: tl.constexpr,
    C: tl.constexpr,
    D: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    C_POW2: tl.constexpr,
    D_POW2: tl.constexpr,
):
    """What lin3 multiplies, [BLOCK_M, D_POW2] in the weights' type, of the tokens t."""
    # A token's 4 x 4 logits stand at row 4 y + 2 a + c, column 4 x + 2 b + d.
    ab = tl.arange(0, 4)
    row = 4 * (t // GRID)[:, None] + 2 * (ab // 2)[None, :]
    col = 4 * (t % GRID)[:, None] + 2 * (ab % 2)[None, :]
    real = (t < GRID * GRID)[:, None] & (ab < 4)[None, :]
    j = tl.arange(0, C_POW2)
    x = _vector3(bias1_ptr, j, j < C)
    for cd in tl.static_range(4):
        place = (row + cd // 2) * (4 * GRID) + col + cd % 2
        logit = tl.load(mask_ptr + place, mask=real, other=0.0)
        x += logit[:, :, None] * _vector3(lin1_ptr + cd * C, j, j < C).to(tl.float32)
    weight, shift = _vector3(weight1_ptr, j, j < C), _vector3(shift1_ptr, j, j < C)
    x = gelu(_normalised(x, (j < C)[None, None, :], weight, shift, C, EPS))
    x = tl.reshape(x.to(lin2_ptr.dtype.element_ty), (BLOCK_M, 4 * C_POW2))

    k, n = tl.arange(0, 4 * C_POW2), tl.arange(0, D_POW2)
    lin2 = tl.load(
        lin2_ptr + ((k // C_POW2) * C + k % C_POW2)[:, None] * D + n[None, :],
        mask=(k % C_POW2 < C)[:, None] & (n < D)[None, :],
        other=0.0,
    )
    y = tl.dot(x, lin2, input_precision="ieee", out_dtype=tl.float32)
    y = tl.reshape(y, (BLOCK_M, 1, D_POW2)) + _vector3(bias2_ptr, n, n < D)
    weight, shift = _vector3(weight2_ptr, n, n < D), _vector3(shift2_ptr, n, n < D)
    y = gelu(_normalised(y, (n < D)[None, None, :], weight, shift, D, EPS))
    return tl.reshape(y, (BLOCK_M, D_POW2)).to(lin2_ptr.dtype.element_ty)


@triton.jit
def mask_prompt_kernel(
    embedding_ptr,
    mask_ptr,
    has_mask_ptr,
    lin1_ptr,
    bias1_ptr,
    weight1_ptr,
    shift1_ptr,
    lin2_ptr,
    bias2_ptr,
    weight2_ptr,
    shift2_ptr,
    lin3_ptr,
    bias3_ptr,
    out_ptr,
    GRID: tl.constexpr,
    WIDTH: tl.constexpr,
    C: tl.constexpr,
    D: tl.constexpr,
    EPS: tl.constexpr,
    MASKED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    C_POW2: tl.constexpr,
    D_POW2: tl.constexpr,
):
    """embedding fp32 [1, WIDTH, GRID^2] (B of them without MASKED), mask fp32 [B, (4 GRID)^2] ->
    out [B, GRID^2, WIDTH].

    grid = (cdiv(GRID^2, BLOCK_M), cdiv(WIDTH, BLOCK_N), B)
    """
    TOKENS: tl.constexpr = GRID * GRID
    b = tl.program_id(2).to(tl.int64)
    t = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (t < TOKENS)[:, None] & (n < WIDTH)[None, :]
    place = n[None, :] * TOKENS + t[:, None]
    if not MASKED:
        embedding_ptr += b * (TOKENS * WIDTH)
    x = tl.load(embedding_ptr + place, mask=inside, other=0.0)
    if MASKED:
        hidden = _hidden(
            mask_ptr + b * (16 * TOKENS),
            lin1_ptr,
            bias1_ptr,
            weight1_ptr,
            shift1_ptr,
            lin2_ptr,
            bias2_ptr,
            weight2_ptr,
            shift2_ptr,
            t,
            GRID,
            C,
            D,
            EPS,
            BLOCK_M,
            C_POW2,
            D_POW2,
        )
        k = tl.arange(0, D_POW2)
        lin3 = tl.load(
            lin3_ptr + k[:, None] * WIDTH + n[None, :],
            mask=(k < D)[:, None] & (n < WIDTH)[None, :],
            other=0.0,
        )
        bias = tl.load(bias3_ptr + n, mask=n < WIDTH, other=0.0)
        y = tl.dot(hidden, lin3, input_precision="ieee", out_dtype=tl.float32) + bias[None, :]
        x += y * tl.load(has_mask_ptr + b)
    place = b * (TOKENS * WIDTH) + t[:, None] * WIDTH + n[None, :]
    tl.store(out_ptr + place, x.to(out_ptr.dtype.element_ty), mask=inside)


def mask_prompt(
    run: Runner, embedding: Array, mask: Array, has_mask: Array, weights: MaskWeights
) -> Array:
    """The image's tokens with a mask prompt, in one launch.

    Args:
        run: carries it out.
        embedding: fp32 [1, P, g, g].
        mask: fp32 [M, 1, 4g, 4g], low-res logits.
        has_mask: fp32 [M], 0 or 1; the logits must be finite in any case.
        weights: of the folded model.

    Returns:
        [M, g*g, P] in the weights' type: `embedding.flatten(2).transpose(1, 2)
        + MaskPrompt(mask, has_mask)`.

    Raises:
        DeviceError: arrays do not fit.
    """
    name, dtype = "mask_prompt", weights.lin3.dtype
    width, grid = fixed(embedding.shape[1], "P"), fixed(embedding.shape[-1], "the grid")
    prompts, c = mask.shape[0], fixed(weights.lin1.shape[-1], "the width of lin1")
    d = fixed(weights.lin2.shape[-1], "the width of lin2")
    check(embedding, name, "embedding", (1, width, grid, grid), "fp32")
    check(mask, name, "mask", (prompts, 1, 4 * grid, 4 * grid), "fp32")
    check(has_mask, name, "has_mask", (prompts,), "fp32")
    check(weights.lin3, name, "lin3", (d, width), *FLOATS)
    check(weights.lin1, name, "lin1", (4, c), dtype)
    check(weights.lin2, name, "lin2", (4 * c, d), dtype)
    arguments = {
        "bias1": (weights.bias1, c),
        "weight1": (weights.norm1[0], c),
        "shift1": (weights.norm1[1], c),
        "bias2": (weights.bias2, d),
        "weight2": (weights.norm2[0], d),
        "shift2": (weights.norm2[1], d),
        "bias3": (weights.bias3, width),
    }
    for what, (array, size) in arguments.items():
        check(array, name, what, (size,), "fp32")
    pointers = {f"{what}_ptr": array for what, (array, _) in arguments.items()}
    pointers |= {"mask_ptr": mask, "has_mask_ptr": has_mask, "lin1_ptr": weights.lin1}
    pointers |= {"lin2_ptr": weights.lin2, "lin3_ptr": weights.lin3}
    products = 16 * c + 4 * c * d + d * width
    flops = product(prompts, grid * grid, 2 * products)
    return _launched(run, embedding, prompts, dtype, pointers, (c, d, weights.eps), flops)


def keys_of(run: Runner, embedding: Array, dtype: str) -> Array:
    """The image's tokens without a mask prompt.

    Args:
        run: carries it out.
        embedding: fp32 [B, P, g, g].
        dtype: of the result, "fp32", "fp16" or "bf16".

    Returns:
        [B, g*g, P].

    Raises:
        DeviceError: the embedding does not fit.
    """
    width, grid = fixed(embedding.shape[1], "P"), fixed(embedding.shape[-1], "the grid")
    count = embedding.shape[0]
    check(embedding, "keys_of", "embedding", (count, width, grid, grid), "fp32")
    return _launched(run, embedding, count, dtype, {}, None, 0)


_POINTERS = (
    "mask_ptr",
    "has_mask_ptr",
    "lin1_ptr",
    "bias1_ptr",
    "weight1_ptr",
    "shift1_ptr",
    "lin2_ptr",
    "bias2_ptr",
    "weight2_ptr",
    "shift2_ptr",
    "lin3_ptr",
    "bias3_ptr",
)


def _launched(
    run: Runner,
    embedding: Array,
    count: Size,
    dtype: str,
    pointers: dict[str, Array],
    sizes: tuple[int, int, float] | None,
    flops: Size,
) -> Array:
    """Start the kernel; `sizes` are C, D and eps of a mask prompt, None without one."""
    width, grid = fixed(embedding.shape[1], "P"), fixed(embedding.shape[-1], "the grid")
    c, d, eps = sizes or (4, 16, 0.0)
    tile = tile_of("mask_prompt" if sizes else "keys_of", dtype, run.arch)
    block_n = min(tile["BLOCK_N"], next_power(width, 16))
    out = run.empty((count, grid * grid, width), dtype, "keys")
    run.launch(
        Launch(
            mask_prompt_kernel,
            (cdiv(grid * grid, tile["BLOCK_M"]), cdiv(width, block_n), count),
            {"embedding_ptr": embedding, "out_ptr": out}
            | {name: pointers.get(name) for name in _POINTERS},
            {
                "GRID": grid,
                "WIDTH": width,
                "C": c,
                "D": d,
                "EPS": eps,
                "MASKED": sizes is not None,
                "BLOCK_M": tile["BLOCK_M"],
                "BLOCK_N": block_n,
                "C_POW2": next_power(c, 4),
                "D_POW2": next_power(d, 16),
            },
            ("out_ptr",),
            tile,
            flops=flops,
            label="" if sizes else "keys of the embedding",
        )
    )
    return out
