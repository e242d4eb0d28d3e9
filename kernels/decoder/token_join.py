"""Parts of a sum over tokens joined, normalised, and multiplied by what reads them next."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, product


@triton.jit
def normalised(x, c, weight_ptr, shift_ptr, WIDTH: tl.constexpr, EPS: tl.constexpr):
    """LayerNorm of the rows of x [M, columns c], of which WIDTH count; others become zero."""
    wide = c < WIDTH
    mean = tl.sum(tl.where(wide[None, :], x, 0.0), 1, keep_dims=True) / WIDTH
    distance = tl.where(wide[None, :], x - mean, 0.0)
    deviation = tl.rsqrt(tl.sum(distance * distance, 1, keep_dims=True) / WIDTH + EPS)
    weight = tl.load(weight_ptr + c, mask=wide, other=0.0)[None, :]
    shift = tl.load(shift_ptr + c, mask=wide, other=0.0)[None, :]
    return distance * deviation * weight + shift


@triton.jit
def _columns(
    first_ptr,
    second_ptr,
    first_end,
    second_end,
    j,
    c,
    WIDTH: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
):
    """Columns j of the first matrix up to first_end, of the second up to second_end."""
    wide = (c < WIDTH)[:, None]
    matrix = tl.load(
        first_ptr + c[:, None] * FIRST + j[None, :],
        mask=wide & (j < first_end)[None, :],
        other=0.0,
    )
    if SECOND > 0:
        matrix = tl.load(
            second_ptr + c[:, None] * SECOND + j[None, :],
            mask=wide & (j < second_end)[None, :],
            other=matrix,
        )
    return matrix


@triton.jit
def token_join_kernel(
    x_ptr,
    part_ptr,
    code_ptr,
    bias_ptr,
    weight_ptr,
    shift_ptr,
    first_ptr,
    first_bias_ptr,
    second_ptr,
    second_bias_ptr,
    out_ptr,
    first_out_ptr,
    second_out_ptr,
    tokens,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    EPS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    LASTING: tl.constexpr,
    FIRST_BIAS: tl.constexpr,
    SECOND_BIAS: tl.constexpr,
    CAPACITY: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_J: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """out = norm(sum of parts + bias + x), first_out = (out + code) first, second_out = out second.

    x, code and out fp32 [N, CAPACITY, WIDTH], part fp32 [N, PARTS, CAPACITY, WIDTH], first_out
    [N, CAPACITY, FIRST], second_out [N, CAPACITY, SECOND]; the first `tokens` rows count. RESIDUAL:
    with x; LASTING: x has the code added. grid = (column blocks of first and second, N)
    """
    FIRST_BLOCKS: tl.constexpr = (FIRST + BLOCK_N - 1) // BLOCK_N
    dtype = first_ptr.dtype.element_ty
    block, n = tl.program_id(0), tl.program_id(1)
    t, c = tl.arange(0, CAPACITY), tl.arange(0, WIDTH_POW2)
    real, wide = (t < tokens)[:, None], (c < WIDTH)[None, :]
    first_end = tl.where(block < FIRST_BLOCKS, FIRST, 0)  # one of the two has no columns here
    second_end = tl.where(block < FIRST_BLOCKS, 0, SECOND)
    columns = (block % FIRST_BLOCKS) * BLOCK_N + tl.arange(0, BLOCK_J)
    if BLOCK_J == BLOCK_N:  # asked for before the sum: it takes longest to come
        matrix = _columns(
            first_ptr, second_ptr, first_end, second_end, columns, c, WIDTH, FIRST, SECOND
        )
    place = t[:, None] * WIDTH + c[None, :]
    here = n * (CAPACITY * WIDTH) + place
    code = tl.load(code_ptr + here, mask=real & wide, other=0.0)
    x = tl.zeros((CAPACITY, WIDTH_POW2), tl.float32)
    x += tl.load(bias_ptr + c, mask=c < WIDTH, other=0.0)[None, :]
    if RESIDUAL:
        x += tl.load(x_ptr + here, mask=real & wide, other=0.0)
        if LASTING:
            x += code
    for part in tl.static_range(PARTS):  # unrolled: all of them are asked for at once
        there = (n * PARTS + part) * (CAPACITY * WIDTH) + place
        x += tl.load(part_ptr + there, mask=real & wide, other=0.0)
    x = normalised(x, c, weight_ptr, shift_ptr, WIDTH, EPS)
    if block == 0:
        tl.store(out_ptr + here, x, mask=real & wide)
    x = tl.where(block < FIRST_BLOCKS, x + code, x).to(dtype)
    rows = (n * CAPACITY + t)[:, None]
    for start in tl.range(0, BLOCK_N, BLOCK_J):
        j = columns + start
        if BLOCK_J < BLOCK_N:
            matrix = _columns(
                first_ptr, second_ptr, first_end, second_end, j, c, WIDTH, FIRST, SECOND
            )
        y = tl.dot(x, matrix, input_precision="ieee", out_dtype=tl.float32)
        one, other = j < first_end, j < second_end
        if FIRST_BIAS:
            y += tl.load(first_bias_ptr + j, mask=one, other=0.0)[None, :]
        if SECOND_BIAS:
            y += tl.load(second_bias_ptr + j, mask=other, other=0.0)[None, :]
        y = y.to(dtype)
        tl.store(first_out_ptr + rows * FIRST + j[None, :], y, mask=real & one[None, :])
        if SECOND > 0:
            tl.store(second_out_ptr + rows * SECOND + j[None, :], y, mask=real & other[None, :])


@dataclass(frozen=True)
class Reader:
    """Reads the joined tokens: weight [P, A] and, where there is one, bias fp32 [A]."""

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True)
class Sum:
    """What is joined: `norm(x + parts + bias)`.

    Attributes:
        parts: fp32 [N, S, capacity, P].
        bias: fp32 [P].
        residual: fp32 [N, capacity, P], added; None: nothing is.
        lasting: the code is added to the residual as well.
        norm: weight and bias, fp32 [P].
        eps: of the norm.
    """

    parts: Array
    bias: Array
    residual: Array | None
    lasting: bool
    norm: tuple[Array, Array]
    eps: float


def token_join(
    run: Runner, sums: Sum, code: Array, tokens: Size, first: Reader, second: Reader | None = None
) -> tuple[Array, ...]:
    """The end of each half of a decoder layer; see `token_self` and `token_update`.

    Args:
        run: carries it out.
        sums: parts, residual and norm.
        code: fp32 [N, capacity, P].
        tokens: rows that count; others are neither read nor written.
        first: multiplies the joined tokens with their code.
        second: multiplies them without.

    Returns:
        The joined tokens, fp32 [N, capacity, P]; then what first and second make of them, in the
        type of their weights.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name, dtype = "token_join", first.weight.dtype
    objects, parts, capacity, width = sums.parts.shape
    width, capacity = fixed(width, "P"), fixed(capacity, "the capacity")
    second_weight = first.weight if second is None else second.weight
    columns = fixed(first.weight.shape[1], "the columns")
    more = 0 if second is None else fixed(second_weight.shape[1], "the columns")
    check(first.weight, name, "the first matrix", (width, columns), *FLOATS)
    check(second_weight, name, "the second matrix", (width, more or columns), dtype)
    check(code, name, "code", (objects, capacity, width), "fp32")
    for array in (sums.bias, *sums.norm):
        check(array, name, "a vector", (width,), "fp32")
    if sums.residual is not None:
        check(sums.residual, name, "x", (objects, capacity, width), "fp32")
    biases = (first.bias, None if second is None else second.bias)
    for bias, size in zip(biases, (columns, more), strict=True):
        if bias is not None:
            check(bias, name, "bias", (size,), "fp32")
    tile = tile_of(name, dtype, run.arch)
    out = run.empty((objects, capacity, width), "fp32", "tokens")
    outs = [run.empty((objects, capacity, columns), dtype, "first of the tokens")]
    if second is not None:
        outs.append(run.empty((objects, capacity, more), dtype, "second of the tokens"))
    blocks = -(-columns // tile["BLOCK_N"]) + -(-more // tile["BLOCK_N"])
    run.launch(
        Launch(
            token_join_kernel,
            (blocks, objects, 1),
            {
                "x_ptr": sums.residual,
                "part_ptr": sums.parts,
                "code_ptr": code,
                "bias_ptr": sums.bias,
                "weight_ptr": sums.norm[0],
                "shift_ptr": sums.norm[1],
                "first_ptr": first.weight,
                "first_bias_ptr": biases[0],
                "second_ptr": None if second is None else second.weight,
                "second_bias_ptr": biases[1],
                "out_ptr": out,
                "first_out_ptr": outs[0],
                "second_out_ptr": None if second is None else outs[1],
                "tokens": tokens,
            },
            {
                "PARTS": fixed(parts, "the parts of a sum"),
                "WIDTH": width,
                "FIRST": columns,
                "SECOND": more,
                "EPS": sums.eps,
                "RESIDUAL": sums.residual is not None,
                "LASTING": sums.lasting,
                "FIRST_BIAS": biases[0] is not None,
                "SECOND_BIAS": biases[1] is not None,
                "CAPACITY": capacity,
                "BLOCK_N": tile["BLOCK_N"],
                "BLOCK_J": tile["BLOCK_J"],
                "WIDTH_POW2": next_power(width, 16),
            },
            ("out_ptr", "first_out_ptr", *(["second_out_ptr"] if more else [])),
            tile,
            flops=product(objects, tokens, 2 * width * (columns + more)),
        )
    )
    return (out, *outs)
