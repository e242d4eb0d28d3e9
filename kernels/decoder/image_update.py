"""The image looks at the tokens: attention, projection, residual and norm in one launch."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.errors import DeviceError
from samedge.kernels.decoder.prompt_tokens import check_capacity
from samedge.kernels.launch import FLOATS, Array, Launch, Runner, check, fixed, next_power
from samedge.kernels.tiles import tile_of
from samedge.runtime.triton.sizes import Size, cdiv, product

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def image_update_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    keys_ptr,
    proj_ptr,
    bias_ptr,
    weight_ptr,
    shift_ptr,
    out_ptr,
    tokens,
    places,
    q_count,
    keys_count,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    Q_STRIDE: tl.constexpr,
    CAPACITY: tl.constexpr,
    WIDTH: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    DIM_POW2: tl.constexpr,
    WIDTH_POW2: tl.constexpr,
):
    """out = norm(keys + softmax(q k^T) v proj + bias) of BLOCK_M places of an image.

    q [q_count, places, HEADS * DIM] with rows Q_STRIDE apart, k and v [N, CAPACITY, HEADS * DIM],
    of which the first `tokens` rows count, keys [keys_count, places, WIDTH], out
    [N, places, WIDTH]. grid = (cdiv(places, BLOCK_M), N)
    """
    INNER: tl.constexpr = HEADS * DIM
    dtype = proj_ptr.dtype.element_ty
    n = tl.program_id(1)
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    t = tl.arange(0, CAPACITY)
    d = tl.arange(0, DIM_POW2)
    c = tl.arange(0, WIDTH_POW2)
    q_rows = (n % q_count).to(tl.int64) * places + m
    q_ptr += q_rows[:, None] * Q_STRIDE + d[None, :]
    k_ptr += (n * CAPACITY + t)[None, :] * INNER + d[:, None]
    v_ptr += (n * CAPACITY + t)[:, None] * INNER + d[None, :]
    proj_ptr += d[:, None] * WIDTH + c[None, :]
    real, wide = (t < tokens) & (t < CAPACITY), (c < WIDTH)[None, :]
    deep = (d < DIM)[None, :]
    y = tl.zeros((BLOCK_M, WIDTH_POW2), tl.float32)
    for head in tl.range(HEADS):
        place = head * DIM
        q = tl.load(q_ptr + place, mask=(m < places)[:, None] & deep, other=0.0)
        k = tl.load(k_ptr + place, mask=(d < DIM)[:, None] & real[None, :], other=0.0)
        v = tl.load(v_ptr + place, mask=real[:, None] & deep, other=0.0)
        proj = tl.load(proj_ptr + place * WIDTH, mask=(d < DIM)[:, None] & wide, other=0.0)
        scores = tl.dot(q, k, input_precision="ieee", out_dtype=tl.float32) * LOG2_E
        scores = tl.where(real[None, :], scores, -float("inf"))
        weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
        total = tl.sum(weights, 1)
        seen = tl.dot(weights.to(dtype), v, input_precision="ieee", out_dtype=tl.float32)
        seen = (seen / total[:, None]).to(dtype)
        y = tl.dot(seen, proj, y, input_precision="ieee")

    inside = (m < places)[:, None] & wide
    keys_rows = (n % keys_count).to(tl.int64) * places + m
    keys = tl.load(keys_ptr + keys_rows[:, None] * WIDTH + c[None, :], mask=inside, other=0.0)
    y += keys.to(tl.float32) + tl.load(bias_ptr + c, mask=c < WIDTH, other=0.0)[None, :]
    mean = tl.sum(y, 1, keep_dims=True) / WIDTH
    distance = tl.where(wide, y - mean, 0.0)
    deviation = tl.rsqrt(tl.sum(distance * distance, 1, keep_dims=True) / WIDTH + EPS)
    weight = tl.load(weight_ptr + c, mask=c < WIDTH, other=0.0)[None, :]
    shift = tl.load(shift_ptr + c, mask=c < WIDTH, other=0.0)[None, :]
    y = distance * deviation * weight + shift
    place = (n.to(tl.int64) * places + m)[:, None] * WIDTH + c[None, :]
    tl.store(out_ptr + place, y.to(out_ptr.dtype.element_ty), mask=inside)


def image_update(
    run: Runner,
    q: Array,
    k: Array,
    v: Array,
    keys: Array,
    tokens: Size,
    heads: int,
    proj: tuple[Array, Array],
    norm: tuple[Array, Array],
    eps: float,
) -> Array:
    """The image's tokens after they looked at the prompt's: the end of `DecoderLayer.forward`.

    Args:
        run: carries it out.
        q: [1 or N, T, h*d], scaled; may be columns of a wider array. T places of the image.
        k, v: [N, capacity, h*d], of `token_update`; rows from `tokens` on do not count.
        keys: [1 or N, T, P], contiguous.
        tokens: that count, 1 to capacity.
        heads: h.
        proj: weight [h*d, P] and bias fp32 [P].
        norm: weight and bias, fp32 [P].
        eps: of the norm.

    Returns:
        [N, T, P]: `norm(keys + proj(attention(q, k, v)))`, contiguous. All of q, k, v, keys, proj
        and it have one element type: fp32, fp16 or bf16.

    Raises:
        DeviceError: arrays do not fit together.
    """
    name, dtype = "image_update", proj[0].dtype
    objects, capacity = k.shape[0], fixed(k.shape[1], "the capacity")
    places, width = keys.shape[1], fixed(keys.shape[-1], "P")
    inner = fixed(q.shape[-1], "the width of q")
    check(proj[0], name, "proj", (inner, width), *FLOATS)
    check(q, name, "q", (None, places, inner), dtype)
    check(k, name, "k", (objects, capacity, inner), dtype)
    check(v, name, "v", (objects, capacity, inner), dtype)
    check(keys, name, "keys", (None, places, width), dtype)
    for what, array in (("bias", proj[1]), ("norm weight", norm[0]), ("norm bias", norm[1])):
        check(array, name, what, (width,), "fp32")
    check_capacity(name, capacity, tokens)
    stride = fixed(q.strides[1], "the distance of q's rows")
    if inner % heads or not (k.contiguous and v.contiguous and keys.contiguous):
        raise DeviceError(f"{name}: {heads} heads of {inner} channels; or k, v, keys in pieces")
    if q.strides[0] != places * stride:
        raise DeviceError(f"{name}: q's images are not {places} rows apart")
    tile = tile_of(name, dtype, run.arch)
    out = run.empty((objects, places, width), dtype, "keys")
    run.launch(
        Launch(
            image_update_kernel,
            (cdiv(places, tile["BLOCK_M"]), objects, 1),
            {
                "q_ptr": q,
                "k_ptr": k,
                "v_ptr": v,
                "keys_ptr": keys,
                "proj_ptr": proj[0],
                "bias_ptr": proj[1],
                "weight_ptr": norm[0],
                "shift_ptr": norm[1],
                "out_ptr": out,
                "tokens": tokens,
                "places": places,
                "q_count": q.shape[0],
                "keys_count": keys.shape[0],
            },
            {
                "HEADS": heads,
                "DIM": inner // heads,
                "Q_STRIDE": stride,
                "CAPACITY": capacity,
                "WIDTH": width,
                "EPS": eps,
                "BLOCK_M": tile["BLOCK_M"],
                "DIM_POW2": next_power(inner // heads, 16),
                "WIDTH_POW2": next_power(width, 16),
            },
            ("out_ptr",),
            tile,
            flops=product(objects, places, 2 * inner) * (product(2, tokens) + width),
        )
    )
    return out
