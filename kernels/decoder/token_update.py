"""The second half of a decoder layer's tokens: what they saw in the image, and the MLP."""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.decoder.prompt_tokens import check_capacity
from samedge.kernels.decoder.token_join import Reader, Sum, normalised, token_join
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, product


@dataclass(frozen=True)
class UpdateWeights:
    """Weights of `samedge.fold.decoder_layers.DecoderLayer` from its second norm to its third.

    Matrices are in one of fp32, fp16 and bf16, [in, out]; biases and norms fp32.

    Attributes:
        proj: of what the tokens saw in the image: weight [h*d, P] and bias.
        norm2, norm3: weight and bias, [P] each.
        eps: of both norms.
        lin1, lin2: weight [P, M], bias [M]; weight [M, P], bias [P].
        k: weight [P, h*d] and bias, or None: keys for the image, of tokens with their code.
        v: the same of values, of the tokens alone.
    """

    proj: tuple[Array, Array]
    norm2: tuple[Array, Array]
    norm3: tuple[Array, Array]
    eps: float
    lin1: tuple[Array, Array]
    lin2: tuple[Array, Array]
    k: tuple[Array, Array | None]
    v: tuple[Array, Array | None]


@triton.jit
def token_hidden_kernel(
    x_ptr,
    y_ptr,
    proj_ptr,
    proj_bias_ptr,
    weight_ptr,
    shift_ptr,
    lin1_ptr,
    bias1_ptr,
    lin2_ptr,
    mid_ptr,
    part_ptr,
    tokens,
    y_rows,
    WIDTH: tl.constexpr,
    INNER: tl.constexpr,
    HIDDEN: tl.constexpr,
    EPS: tl.constexpr,
    CAPACITY: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """mid = norm(x + y proj + bias); part = relu(mid lin1 + bias1) lin2 for SPLIT hidden columns.

    x and mid fp32 [N, CAPACITY, WIDTH], y [N, y_rows, INNER], part fp32
    [N, parts, CAPACITY, WIDTH]; the first `tokens` rows count. grid = (cdiv(HIDDEN, SPLIT), N)
    """
    dtype = lin1_ptr.dtype.element_ty
    part, n = tl.program_id(0), tl.program_id(1)
    t, c = tl.arange(0, CAPACITY), tl.arange(0, WIDTH_POW2)
    real, wide = (t < tokens)[:, None], (c < WIDTH)[None, :]
    mid = tl.zeros((CAPACITY, WIDTH_POW2), tl.float32)
    k = tl.arange(0, BLOCK_K)
    for start in tl.range(0, INNER, BLOCK_K):
        deep = start + k < INNER
        place = (n * y_rows + t)[:, None] * INNER + (start + k)[None, :]
        y = tl.load(y_ptr + place, mask=real & deep[None, :], other=0.0)
        proj = tl.load(
            proj_ptr + (start + k)[:, None] * WIDTH + c[None, :],
            mask=deep[:, None] & wide,
            other=0.0,
        )
        mid = tl.dot(y, proj, mid, input_precision="ieee")
    place = (n * CAPACITY + t)[:, None] * WIDTH + c[None, :]
    mid += tl.load(x_ptr + place, mask=real & wide, other=0.0)
    mid += tl.load(proj_bias_ptr + c, mask=c < WIDTH, other=0.0)[None, :]
    mid = normalised(mid, c, weight_ptr, shift_ptr, WIDTH, EPS)
    if part == 0:
        tl.store(mid_ptr + place, mid, mask=real & wide)

    mid = mid.to(dtype)
    out = tl.zeros((CAPACITY, WIDTH_POW2), tl.float32)
    for start in tl.range(0, SPLIT, BLOCK_H):
        h = part * SPLIT + start + tl.arange(0, BLOCK_H)
        real_h = (start + tl.arange(0, BLOCK_H) < SPLIT) & (h < HIDDEN)
        lin1 = tl.load(
            lin1_ptr + c[:, None] * HIDDEN + h[None, :],
            mask=(c < WIDTH)[:, None] & real_h[None, :],
            other=0.0,
        )
        lin2 = tl.load(
            lin2_ptr + h[:, None] * WIDTH + c[None, :], mask=real_h[:, None] & wide, other=0.0
        )
        hidden = tl.dot(mid, lin1, input_precision="ieee", out_dtype=tl.float32)
        hidden += tl.load(bias1_ptr + h, mask=real_h, other=0.0)[None, :]
        hidden = tl.maximum(hidden, 0.0).to(dtype)
        out = tl.dot(hidden, lin2, out, input_precision="ieee")
    place += (n * (tl.num_programs(0) - 1) + part) * (CAPACITY * WIDTH)
    tl.store(part_ptr + place, out, mask=real & wide)


def token_update(
    run: Runner, x: Array, y: Array, code: Array, tokens: Size, weights: UpdateWeights
) -> tuple[Array, Array, Array]:
    """The tokens after they looked at the image, and what they offer to it; in two launches.

    The MLP's weights are most of what a decoder reads. One block would wait for them alone, so its
    hidden columns are divided among blocks; the second launch joins their sums.

    Args:
        run: carries it out.
        x: fp32 [N, capacity, P], of `token_self`.
        y: [N, tokens or capacity, h*d] in the weights' type: what the tokens saw in the image.
        code: fp32 [N, capacity, P].
        tokens: rows that count, 1 to capacity. Others are not read; they are undefined in what
            comes back.
        weights: of the folded model.

    Returns:
        x = norm3(u + lin2(relu(lin1(u)))) with u = norm2(x + proj(y)), fp32 [N, capacity, P];
        from_image_k(x + code) and from_image_v(x), [N, capacity, h*d] in the weights' type.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name, dtype = "token_update", weights.lin1[0].dtype
    objects, capacity, width = x.shape
    width, capacity = fixed(width, "P"), fixed(capacity, "the capacity")
    inner, hidden = (fixed(a.shape[0], "a width") for a in (weights.proj[0], weights.lin2[0]))
    check(weights.lin1[0], name, "lin1", (width, hidden), *FLOATS)
    check(weights.lin2[0], name, "lin2", (hidden, width), dtype)
    check(weights.proj[0], name, "proj", (inner, width), dtype)
    check(weights.lin1[1], name, "the bias of lin1", (hidden,), "fp32")
    for what, array in (("bias", weights.proj[1]), *(("norm2", a) for a in weights.norm2)):
        check(array, name, what, (width,), "fp32")
    check(x, name, "x", (objects, capacity, width), "fp32")
    check(y, name, "y", (objects, None, inner), dtype)
    if not (x.contiguous and y.contiguous and code.contiguous):
        raise DeviceError(f"{name}: x, y and code have to be contiguous")
    check_capacity(name, capacity, tokens)
    mid, parts = _hidden(run, x, y, tokens, weights)
    sums = Sum(parts, weights.lin2[1], mid, False, weights.norm3, weights.eps)
    out, k, v = token_join(run, sums, code, tokens, Reader(*weights.k), Reader(*weights.v))
    return out, k, v


def _hidden(
    run: Runner, x: Array, y: Array, tokens: Size, weights: UpdateWeights
) -> tuple[Array, Array]:
    """The first launch: u of `token_update`, and the parts of lin2(relu(lin1(u)))."""
    objects, capacity, width = x.shape
    width = fixed(width, "P")
    inner, hidden = (fixed(a.shape[0], "a width") for a in (weights.proj[0], weights.lin2[0]))
    dtype = weights.lin1[0].dtype
    tile = tile_of("token_update", dtype, run.arch)
    parts = -(-hidden // tile["SPLIT"])
    mid = run.empty((objects, capacity, width), "fp32", "tokens")
    part = run.empty((objects, parts, capacity, width), "fp32", "parts of the tokens' MLP")
    run.launch(
        Launch(
            token_hidden_kernel,
            (parts, objects, 1),
            {
                "x_ptr": x,
                "y_ptr": y,
                "proj_ptr": weights.proj[0],
                "proj_bias_ptr": weights.proj[1],
                "weight_ptr": weights.norm2[0],
                "shift_ptr": weights.norm2[1],
                "lin1_ptr": weights.lin1[0],
                "bias1_ptr": weights.lin1[1],
                "lin2_ptr": weights.lin2[0],
                "mid_ptr": mid,
                "part_ptr": part,
                "tokens": tokens,
                "y_rows": y.shape[1],
            },
            {
                "WIDTH": width,
                "INNER": inner,
                "HIDDEN": hidden,
                "EPS": weights.eps,
                "CAPACITY": fixed(capacity, "the capacity"),
                "SPLIT": tile["SPLIT"],
                "BLOCK_K": min(tile["BLOCK_K"], next_power(inner, 16)),
                "BLOCK_H": tile["BLOCK_H"],
                "WIDTH_POW2": next_power(width, 16),
            },
            ("mid_ptr", "part_ptr"),
            tile,
            flops=product(objects, tokens, 2 * width * (inner + 2 * hidden)),
        )
    )
    return mid, part
