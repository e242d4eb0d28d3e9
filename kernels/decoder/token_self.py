"""The first half of a decoder layer's tokens: their self-attention, and queries to the image."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.decoder.prompt_tokens import check_capacity
from samedge.kernels.decoder.token_join import Reader, Sum, token_join
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, product

LOG2_E = tl.constexpr(1.4426950408889634)
CODES = ("none", "scores", "tokens")


@dataclass(frozen=True)
class SelfWeights:
    """Weights of `samedge.fold.decoder_layers.DecoderLayer` up to the queries to the image.

    Matrices are in one of fp32, fp16 and bf16, [in, out]; biases and norms fp32.

    Attributes:
        qk: weight [P, 2 I] and bias [2 I] of the self-attention's queries and keys.
        v: weight [P, I]; it has no bias.
        proj: weight [I, P] and bias [P].
        norm: norm1's weight and bias, [P].
        eps: of the norm.
        q: weight [P, h*d] and bias of the queries to the image.
    """

    qk: tuple[Array, Array]
    v: Array
    proj: tuple[Array, Array]
    norm: tuple[Array, Array]
    eps: float
    q: tuple[Array, Array | None]


@triton.jit
def token_heads_kernel(
    x_ptr,
    code_ptr,
    qk_ptr,
    qk_bias_ptr,
    v_ptr,
    proj_ptr,
    part_ptr,
    tokens,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    CODE_IN_SCORES: tl.constexpr,
    CODE_IN_TOKENS: tl.constexpr,
    CAPACITY: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIM_POW2: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """part = what one head of the self-attention adds to the projection, without its bias.

    x and code fp32 [N, CAPACITY, WIDTH], of which the first `tokens` rows count, part fp32
    [N, HEADS, CAPACITY, WIDTH]. grid = (HEADS, N)
    """
    INNER: tl.constexpr = HEADS * DIM
    dtype = proj_ptr.dtype.element_ty
    head, n = tl.program_id(0), tl.program_id(1)
    t, d, c = tl.arange(0, CAPACITY), tl.arange(0, DIM_POW2), tl.arange(0, WIDTH_POW2)
    k = tl.arange(0, BLOCK_K)
    real, deep = (t < tokens)[:, None], (d < DIM)[None, :]
    column = (head * DIM + d)[None, :]
    queries = tl.zeros((CAPACITY, DIM_POW2), tl.float32)
    keys = tl.zeros((CAPACITY, DIM_POW2), tl.float32)
    values = tl.zeros((CAPACITY, DIM_POW2), tl.float32)
    for start in tl.range(0, WIDTH, BLOCK_K):
        row = start + k
        inside = real & (row < WIDTH)[None, :]
        place = (n * CAPACITY + t)[:, None] * WIDTH + row[None, :]
        x = tl.load(x_ptr + place, mask=inside, other=0.0)
        if CODE_IN_TOKENS:
            x += tl.load(code_ptr + place, mask=inside, other=0.0)
        both = x
        if CODE_IN_SCORES:
            both += tl.load(code_ptr + place, mask=inside, other=0.0)
        both, x = both.to(dtype), x.to(dtype)
        inside = (row < WIDTH)[:, None] & deep
        wq = tl.load(qk_ptr + row[:, None] * (2 * INNER) + column, mask=inside, other=0.0)
        wk = tl.load(qk_ptr + row[:, None] * (2 * INNER) + INNER + column, mask=inside, other=0.0)
        wv = tl.load(v_ptr + row[:, None] * INNER + column, mask=inside, other=0.0)
        queries = tl.dot(both, wq, queries, input_precision="ieee")
        keys = tl.dot(both, wk, keys, input_precision="ieee")
        values = tl.dot(x, wv, values, input_precision="ieee")
    queries += tl.load(qk_bias_ptr + column, mask=deep, other=0.0)
    keys += tl.load(qk_bias_ptr + INNER + column, mask=deep, other=0.0)
    scores = tl.dot(
        queries.to(dtype), tl.trans(keys.to(dtype)), input_precision="ieee", out_dtype=tl.float32
    )
    scores = tl.where((t < tokens)[None, :], scores * LOG2_E, -float("inf"))
    weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
    weights /= tl.sum(weights, 1)[:, None]
    seen = tl.dot(weights.to(dtype), values.to(dtype), input_precision="ieee", out_dtype=tl.float32)
    proj = tl.load(
        proj_ptr + (head * DIM + d)[:, None] * WIDTH + c[None, :],
        mask=(d < DIM)[:, None] & (c < WIDTH)[None, :],
        other=0.0,
    )
    part = tl.dot(seen.to(dtype), proj, input_precision="ieee", out_dtype=tl.float32)
    place = ((n * HEADS + head) * CAPACITY + t)[:, None] * WIDTH + c[None, :]
    tl.store(part_ptr + place, part, mask=real & (c < WIDTH)[None, :])


def token_self(
    run: Runner,
    x: Array,
    code: Array,
    tokens: Size,
    heads: int,
    weights: SelfWeights,
    *,
    code_mode: str,
    residual: bool,
) -> tuple[Array, Array]:
    """The tokens after their self-attention, and their queries to the image; in two launches.

    Each head is a block of its own, so that its weights come through a multiprocessor of its own;
    the second launch joins the heads' shares of the projection.

    Args:
        run: carries it out.
        x: fp32 [N, capacity, P]; in the first layer `code`.
        code: fp32 [N, capacity, P], of `prompt_tokens`.
        tokens: rows that count, 1 to capacity. Others are not read; they are undefined in what
            comes back.
        heads: of the self-attention.
        weights: of the folded model.
        code_mode: where the self-attention sees the code, "none", "scores" or "tokens"; see
            `samedge.fold.decoder_layers.DecoderLayer`.
        residual: the attention is added to the tokens instead of replacing them.

    Returns:
        x' = norm1((x + ) self_attn(x)), fp32 [N, capacity, P], and to_image_q(x' + code),
        [N, capacity, h*d] in the weights' type.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name, dtype = "token_self", weights.qk[0].dtype
    objects, capacity, width = x.shape
    width, capacity = fixed(width, "P"), fixed(capacity, "the capacity")
    inner = fixed(weights.v.shape[1], "the width of the attention")
    if code_mode not in CODES or inner % heads:
        raise DeviceError(f"{name}: code_mode '{code_mode}', {heads} heads of {inner} channels")
    check(weights.qk[0], name, "qk", (width, 2 * inner), *FLOATS)
    check(weights.qk[1], name, "the bias of qk", (2 * inner,), "fp32")
    check(weights.v, name, "v", (width, inner), dtype)
    check(weights.proj[0], name, "proj", (inner, width), dtype)
    check(x, name, "x", (objects, capacity, width), "fp32")
    check(code, name, "code", (objects, capacity, width), "fp32")
    if not (x.contiguous and code.contiguous):
        raise DeviceError(f"{name}: x and code have to be contiguous")
    check_capacity(name, capacity, tokens)
    tile = tile_of(name, dtype, run.arch)
    parts = run.empty((objects, heads, capacity, width), "fp32", "heads of the tokens")
    dim = inner // heads
    per_token = 2 * width * 4 * inner + product(4 * inner, tokens)
    run.launch(
        Launch(
            token_heads_kernel,
            (heads, objects, 1),
            {
                "x_ptr": x,
                "code_ptr": code,
                "qk_ptr": weights.qk[0],
                "qk_bias_ptr": weights.qk[1],
                "v_ptr": weights.v,
                "proj_ptr": weights.proj[0],
                "part_ptr": parts,
                "tokens": tokens,
            },
            {
                "HEADS": heads,
                "DIM": dim,
                "WIDTH": width,
                "CODE_IN_SCORES": code_mode == "scores",
                "CODE_IN_TOKENS": code_mode == "tokens",
                "CAPACITY": capacity,
                "BLOCK_K": min(tile["BLOCK_K"], next_power(width, 16)),
                "DIM_POW2": next_power(dim, 16),
                "WIDTH_POW2": next_power(width, 16),
            },
            ("part_ptr",),
            tile,
            flops=product(objects, tokens, per_token),
        )
    )
    lasting = code_mode == "tokens"
    sums = Sum(parts, weights.proj[1], x if residual else None, lasting, weights.norm, weights.eps)
    out, q = token_join(run, sums, code, tokens, Reader(*weights.q))
    return out, q
