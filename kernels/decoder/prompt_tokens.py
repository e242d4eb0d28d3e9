"""The decoder's tokens in front of its first layer: learned tokens, then encoded points."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.launch import Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, cdiv, product

# pi / 2 in three parts. The first two have 11 bits each, so that their products with a whole number
# below 2^13 are exact in fp32.
HALF_PI = tl.constexpr((1.5703125, 4.837512969970703e-04, 7.549789948768648e-08))
TWO_OVER_PI = tl.constexpr(0.6366197723675814)


@triton.jit
def sine(x, quarters):
    """sin(x + quarters * pi / 2) to 2e-7, for |x| below 1e4; x fp32, quarters i32.

    `tl.sin` may become the hardware's approximation, whose error grows with x: 1e-4 at 1e3.
    """
    turns = tl.floor(x * TWO_OVER_PI + 0.5)
    r = ((x - turns * HALF_PI[0]) - turns * HALF_PI[1]) - turns * HALF_PI[2]
    quarters += turns.to(tl.int32)
    # Polynomials in r^2 on -pi/4 .. pi/4, fitted for the smallest error.
    r2 = r * r
    odd = r + r * r2 * (-0.1666665067 + r2 * (8.331978650e-03 - 1.949563500e-04 * r2))
    tail = 0.04166646687 + r2 * (-1.388736751e-03 + 2.443845052e-05 * r2)
    even = 1.0 - 0.5 * r2 + r2 * r2 * tail
    value = tl.where(quarters & 1 == 1, even, odd)
    return tl.where(quarters & 2 == 2, -value, value)


@triton.jit
def prompt_tokens_kernel(
    coords_ptr,
    labels_ptr,
    tokens_ptr,
    phase_weight_ptr,
    phase_bias_ptr,
    label_table_ptr,
    out_ptr,
    points,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    CAPACITY: tl.constexpr,
    BLOCK_T: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """coords fp32 [N, points, 2], labels i32 [N, points] -> out fp32 [N, CAPACITY, WIDTH].

    grid = (cdiv(CAPACITY, BLOCK_T), N)
    """
    HALF: tl.constexpr = WIDTH // 2
    n = tl.program_id(1)
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    c = tl.arange(0, WIDTH_POW2)
    wide = (c < WIDTH)[None, :]
    learned = tl.load(
        tokens_ptr + t[:, None] * WIDTH + c[None, :], mask=(t < TOKENS)[:, None] & wide, other=0.0
    )
    is_point = (t >= TOKENS) & (t < TOKENS + points)
    place = n * points + t - TOKENS
    x = tl.load(coords_ptr + place * 2, mask=is_point, other=0.0)[:, None]
    y = tl.load(coords_ptr + place * 2 + 1, mask=is_point, other=0.0)[:, None]
    label = tl.load(labels_ptr + place, mask=is_point, other=-1)
    # Sines in the first half of the columns, cosines of the same phases in the second.
    quarters = (c >= HALF).to(tl.int32)
    frequency = c - HALF * quarters
    wx = tl.load(phase_weight_ptr + frequency, mask=c < WIDTH, other=0.0)[None, :]
    wy = tl.load(phase_weight_ptr + HALF + frequency, mask=c < WIDTH, other=0.0)[None, :]
    offset = tl.load(phase_bias_ptr + frequency, mask=c < WIDTH, other=0.0)[None, :]
    code = sine(x * wx + y * wy + offset, quarters[None, :])
    point = tl.load(
        label_table_ptr + (label + 1)[:, None] * WIDTH + c[None, :],
        mask=is_point[:, None] & wide,
        other=0.0,
    )
    point += tl.where((label >= 0)[:, None], code, 0.0)
    out = tl.where(is_point[:, None], point, learned)
    place = (n * CAPACITY + t)[:, None] * WIDTH + c[None, :]
    tl.store(out_ptr + place, out, mask=(t < CAPACITY)[:, None] & wide)


def prompt_tokens(
    run: Runner,
    coords: Array,
    labels: Array,
    tokens: Array,
    phase_weight: Array,
    phase_bias: Array,
    label_table: Array,
    capacity: int,
) -> Array:
    """The decoder's tokens: IoU token, mask tokens, points and box corners.

    Args:
        run: carries it out.
        coords: fp32 [N, points, 2], px of the network input; N and points at least 1.
        labels: i32 [N, points]: -1 padding, 0 and 1 points, 2 and 3 box corners. Others are the
            caller's to refuse.
        tokens: fp32 [1, 1 + masks, P], IoU token first.
        phase_weight, phase_bias: fp32 [2, P/2] and [P/2]: px -> phases, below 1e4.
        label_table: fp32 [5, P], row = label + 1.
        capacity: rows per object of the result, a power of two of at least 16.

    Returns:
        fp32 [N, capacity, P]: `code` of `FoldedDecoder.forward`; rows behind the last point are
        zero.

    Raises:
        DeviceError: arrays do not fit each other or the capacity. Points that are known only when
            a plan runs are limited by the plan.
    """
    name, width, count = "prompt_tokens", fixed(tokens.shape[-1], "P"), tokens.shape[1]
    objects, points = labels.shape
    check(labels, name, "labels", (None, None), "i32")
    check(coords, name, "coords", (objects, points, 2), "fp32")
    check(tokens, name, "tokens", (1, None, width), "fp32")
    check(phase_weight, name, "phase_weight", (2, width // 2), "fp32")
    check(phase_bias, name, "phase_bias", (width // 2,), "fp32")
    check(label_table, name, "label_table", (5, width), "fp32")
    check_capacity(name, capacity, fixed(count, "the number of tokens") + points)
    tile = tile_of(name, "fp32", run.arch)
    out = run.empty((objects, capacity, width), "fp32", "tokens")
    run.launch(
        Launch(
            prompt_tokens_kernel,
            (cdiv(capacity, tile["BLOCK_T"]), objects, 1),
            {
                "coords_ptr": coords,
                "labels_ptr": labels,
                "tokens_ptr": tokens,
                "phase_weight_ptr": phase_weight,
                "phase_bias_ptr": phase_bias,
                "label_table_ptr": label_table,
                "out_ptr": out,
                "points": points,
            },
            {
                "TOKENS": count,
                "WIDTH": width,
                "CAPACITY": capacity,
                "BLOCK_T": tile["BLOCK_T"],
                "WIDTH_POW2": next_power(width),
            },
            ("out_ptr",),
            tile,
            flops=product(objects, points, width, 24),
        )
    )
    return out


def check_capacity(kernel: str, capacity: int, tokens: Size) -> None:
    """Refuse a number of rows that kernels of few tokens cannot take.

    Raises:
        DeviceError: it is no power of two from 16 on, or too small for `tokens`.
    """
    if capacity < 16 or capacity & (capacity - 1):
        raise DeviceError(
            f"{kernel}: the capacity came as {capacity}, expected a power of two of at least 16"
        )
    if isinstance(tokens, int) and not 0 < tokens <= capacity:
        raise DeviceError(
            f"{kernel}: {tokens} tokens came, expected 1 to {capacity}: take a larger capacity"
        )


@triton.jit
def found_tokens_kernel(
    found_ptr,
    tokens_ptr,
    out_ptr,
    FOUND: tl.constexpr,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    CAPACITY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """found fp32 [N, FOUND, WIDTH] -> out fp32 [N, CAPACITY, WIDTH]; grid = (blocks, N)."""
    n = tl.program_id(1)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    learned = tl.load(tokens_ptr + i, mask=i < TOKENS * WIDTH, other=0.0)
    j = i - TOKENS * WIDTH
    is_found = (j >= 0) & (j < FOUND * WIDTH)
    found = tl.load(found_ptr + n * (FOUND * WIDTH) + j, mask=is_found, other=0.0)
    out = tl.where(is_found, found, learned)
    tl.store(out_ptr + n * (CAPACITY * WIDTH) + i, out, mask=i < CAPACITY * WIDTH)


def found_tokens(run: Runner, found: Array, tokens: Array, capacity: int) -> Array:
    """The decoder's tokens where a network finds the prompt itself.

    Args:
        run: carries it out.
        found: fp32 [N, F, P], of the prompt generator.
        tokens: fp32 [1, 1 + masks, P], IoU token first.
        capacity: rows per object of the result, a power of two of at least 16.

    Returns:
        fp32 [N, capacity, P]: learned tokens, then found ones, then zeros.

    Raises:
        DeviceError: arrays do not fit each other or the capacity.
    """
    name, width = "found_tokens", fixed(tokens.shape[-1], "P")
    count, more = fixed(tokens.shape[1], "the tokens"), fixed(found.shape[1], "the found ones")
    check(tokens, name, "tokens", (1, count, width), "fp32")
    check(found, name, "found", (None, more, width), "fp32")
    check_capacity(name, capacity, count + more)
    tile = tile_of(name, "fp32", run.arch)
    out = run.empty((found.shape[0], capacity, width), "fp32", "tokens")
    run.launch(
        Launch(
            found_tokens_kernel,
            (cdiv(capacity * width, tile["BLOCK"]), found.shape[0], 1),
            {"found_ptr": found, "tokens_ptr": tokens, "out_ptr": out},
            {
                "FOUND": more,
                "TOKENS": count,
                "WIDTH": width,
                "CAPACITY": capacity,
                "BLOCK": tile["BLOCK"],
            },
            ("out_ptr",),
            tile,
        )
    )
    return out
