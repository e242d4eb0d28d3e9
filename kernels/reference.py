"""Torch references of the fused operations that a FoldedModel is made of.

They are the oracle of every faster version and what a FoldedModel runs on a CPU. Shapes:
T tokens on a g x g grid, D channels, h heads of d channels. Queries arrive already scaled by
1/sqrt(d), and the relative position tables divided by it, so that `q k^T + q R` needs no factor.

The padding of windows needs no constants: folding drops the key bias (softmax does not see it)
and moves the value bias behind the attention, after which a padding token's key and value are
zero. See docs/folding.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from samedge.geometry.area import ACROSS, DOWN, FIXED_TAPS, PART, STEPS
from samedge.geometry.filters import CUBIC_CENTRE, CUBIC_PART, CUBIC_SLACK, PLANE
from samedge.kernels.chunks import few_at_a_time


def layer_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axis; x [..., D]."""
    return F.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight + bias` over the last axis; x [..., D].

    What a LayerNorm becomes behind a linear map whose output already has mean zero.
    """
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight + bias


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`x @ weight + bias`; x [..., K], weight [K, N], bias [N]."""
    y = x @ weight
    return y if bias is None else y + bias


def mlp(
    x: torch.Tensor,
    w1: torch.Tensor,
    b1: torch.Tensor | None,
    w2: torch.Tensor,
    b2: torch.Tensor | None,
) -> torch.Tensor:
    """`gelu(x w1 + b1) w2 + b2` with the exact (erf) GELU; x [..., D], w1 [D, M], w2 [M, D]."""
    return linear(F.gelu(linear(x, w1, b1)), w2, b2)


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[B, T, h*d] -> [B, h, T, d]."""
    b, t, c = x.shape
    return x.reshape(b, t, heads, c // heads).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """[B, h, T, d] -> [B, T, h*d]."""
    b, h, t, d = x.shape
    return x.transpose(1, 2).reshape(b, t, h * d)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Plain attention; q [B, T, h*d], k [B, S, h*d], v [B, S, h*e] -> [B, T, h*e].

    A batch of 1 on either side is shared by all of the other.
    """
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    return merge_heads(torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v)


def one_more_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int
) -> torch.Tensor:
    """`attention` with one more in the softmax: `exp(s - max s) / (1 + sum exp(s - max s))`.

    Shapes as `attention`.
    """
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return merge_heads(weights @ v / (1 + weights.sum(-1, keepdim=True)))


def relative_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rel_h: torch.Tensor,
    rel_w: torch.Tensor,
    heads: int,
) -> torch.Tensor:
    """Attention with decomposed relative positions; the queries may be a corner of the keys' grid.

    Args:
        q: [B, m*n, h*d], a grid of m rows and n columns, at the keys' upper left corner.
        k, v: [B, u*w, h*d], a grid of u rows and w columns.
        rel_h: [m, d, u], entry [i, :, j] for query row i and key row j.
        rel_w: [n, d, w], the same for columns.

    Returns:
        [B, m*n, h*d].
    """
    m, n, keys = rel_h.shape[0], rel_w.shape[0], rel_h.shape[2] * rel_w.shape[2]
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    b, h, t, d = q.shape

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        grid = q.reshape(-1, m, n, d)
        bias_h = grid @ rel_h  # [N, y, x, key rows]
        bias_w = (grid.transpose(1, 2) @ rel_w).transpose(1, 2)
        scores = (bias_h[..., :, None] + bias_w[..., None, :]).reshape(-1, t, keys)
        scores += q @ k.transpose(-1, -2)
        return torch.softmax(scores, dim=-1) @ v

    y = few_at_a_time(attend, t * keys, *(x.flatten(0, 1) for x in (q, k, v)))
    return merge_heads(y.reshape(b, h, t, -1))


def biased_window_attention(
    qkv: torch.Tensor, bias: torch.Tensor, heads: int, grid: int
) -> torch.Tensor:
    """Attention in windows with a constant bias; windows that stick out are filled with zeros.

    Args:
        qkv: [B, g*g, 3*h*d].
        bias: [h, w*w, w*w] for a window of side w.
        heads: h.
        grid: g.

    Returns:
        [B, g*g, h*d].
    """
    window = int(bias.shape[-1] ** 0.5)
    count = -(-grid // window)
    side = (count, window)
    b, _, width = qkv.shape
    out = count * window - grid
    x = F.pad(qkv.reshape(b, grid, grid, width), (0, 0, 0, out, 0, out))
    q, k, v = (split_heads(part, heads) for part in windows(x, side, side).chunk(3, dim=-1))

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.softmax(q @ k.transpose(-1, -2) + bias, dim=-1) @ v

    y = merge_heads(few_at_a_time(attend, heads * window**4, q, k, v))
    y = unwindows(y, side, side)[:, :grid, :grid]
    return y.reshape(b, grid * grid, width // 3)


def window_parts(grid: int, window: int) -> list[tuple[int, int, int]]:
    """(first token, windows, tokens of each): the whole windows, then the one that sticks out."""
    whole, rest = divmod(grid, window)
    parts = [(0, whole, window)] if whole else []
    return parts + ([(whole * window, 1, rest)] if rest else [])


def windows(x: torch.Tensor, rows: tuple[int, int], cols: tuple[int, int]) -> torch.Tensor:
    """[B, ny*m, nx*n, C] -> [B*ny*nx, m*n, C], for rows = (ny, m) and cols = (nx, n)."""
    (ny, m), (nx, n) = rows, cols
    x = x.reshape(-1, ny, m, nx, n, x.shape[-1]).transpose(2, 3)
    return x.reshape(-1, m * n, x.shape[-1])


def unwindows(x: torch.Tensor, rows: tuple[int, int], cols: tuple[int, int]) -> torch.Tensor:
    """The way back of `windows`: [B*ny*nx, m*n, C] -> [B, ny*m, nx*n, C]."""
    (ny, m), (nx, n) = rows, cols
    x = x.reshape(-1, ny, nx, m, n, x.shape[-1]).transpose(2, 3)
    return x.reshape(-1, ny * m, nx * n, x.shape[-1])


def window_attention(
    qkv: torch.Tensor, rel_h: torch.Tensor, rel_w: torch.Tensor, heads: int, grid: int
) -> torch.Tensor:
    """`relative_attention` in w x w windows of a g x g grid.

    Padding keys and values are zero and attended; padding queries are not computed, so windows
    that stick out are handled apart from the whole ones.

    Args:
        qkv: [B, g*g, 3*h*d], real tokens only.
        rel_h, rel_w: [w, d, w].

    Returns:
        [B, g*g, h*d].
    """
    w = rel_h.shape[0]
    b, _, c = qkv.shape
    pad = -grid % w
    x = F.pad(qkv.reshape(b, grid, grid, c), (0, 0, 0, pad, 0, pad))
    bands = []
    for y0, ny, m in window_parts(grid, w):
        band = []
        for x0, nx, n in window_parts(grid, w):
            block = x[:, y0 : y0 + ny * w, x0 : x0 + nx * w]
            _, k, v = windows(block, (ny, w), (nx, w)).chunk(3, dim=-1)
            q = windows(block[:, : ny * m, : nx * n, : c // 3], (ny, m), (nx, n))
            y = relative_attention(q, k, v, rel_h[:m], rel_w[:n], heads)
            band.append(unwindows(y, (ny, m), (nx, n)))
        bands.append(torch.cat(band, 2))
    return torch.cat(bands, 1).reshape(b, grid * grid, c // 3)


def depth_attention(
    qkv: torch.Tensor,
    rel_h: torch.Tensor,
    rel_w: torch.Tensor,
    heads: int,
    grid: int,
    window: int,
    depth: int,
) -> torch.Tensor:
    """`relative_attention` along the batch axis, for every place in a window (or in the grid).

    The windows of all images stand behind each other, those of one image next to each other; every
    `depth` of them form a group, which is laid out as a small grid. Padding keys and values are
    zero and attended.

    Args:
        qkv: [B, g*g, 3*h*d], real tokens only.
        rel_h, rel_w: [m, d, m] and [n, d, n] with m*n = depth.
        window: side of a window, or the grid's where there are none.

    Returns:
        [B, g*g, h*d].
    """
    b, _, c = qkv.shape
    pad, count = -grid % window, -(-grid // window)
    side = (count, window)
    x = windows(F.pad(qkv.reshape(b, grid, grid, c), (0, 0, 0, pad, 0, pad)), side, side)
    places = window * window
    x = x.reshape(-1, depth, places, c).transpose(1, 2).reshape(-1, depth, c)
    q, k, v = x.chunk(3, dim=-1)
    y = relative_attention(q, k, v, rel_h, rel_w, heads)
    y = y.reshape(-1, places, depth, c // 3).transpose(1, 2).reshape(-1, places, c // 3)
    y = unwindows(y, side, side)[:, :grid, :grid]
    return y.reshape(b, grid * grid, c // 3)


def conv3x3(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """3x3 convolution with zero padding, channels last: x [B, y, x, I], weight [O, I, 3, 3]."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)


def resize_frame(
    frame: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor, interpolation: str
) -> torch.Tensor:
    """Crop, resize and pad by float32 matrix products; the grey levels of docs/geometry.md.

    Args:
        frame: float32 [..., K, H, W] with integer values.
        rows, cols: float32 [P, S, H] and [P, S, W] of a `FrameGeometry`.
        interpolation: of the family. "pil" gives PIL's 8-bit bilinear resize bit for bit, "cubic"
            scikit-image's cubic one cut off to uint8, "area" OpenCV's; any other plain products.

    Returns:
        float32 [..., K, S, S].
    """
    if interpolation == "pil":
        x = _pil_pass(frame[..., None, :, :] @ cols.transpose(-1, -2))  # [..., K, H, S]
        return _pil_pass(rows @ x[..., None, :, :])
    if interpolation == "cubic":
        return _resize_cubic(frame, rows, cols)
    if interpolation == "area":
        return _resize_area(frame, rows, cols)
    return rows[0] @ (frame @ cols[0].t())


def min_max(pixels: torch.Tensor) -> torch.Tensor:
    """Each image of [..., K, S, S] brought to 0..1 by its own extremes, of all channels together.

    A flat image becomes zero.
    """
    low, high = (f(pixels, dim=(-3, -2, -1), keepdim=True) for f in (torch.amin, torch.amax))
    return (pixels - low) / (high - low).clamp(min=1e-8)


def _pil_pass(planes: torch.Tensor) -> torch.Tensor:
    high, low = planes.unbind(-3)
    return ((high + (low / PLANE).floor() + PLANE / 2) / PLANE).floor()


def _resize_cubic(frame: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    planes = (frame - CUBIC_CENTRE)[..., None, :, :] @ cols.transpose(-1, -2)
    high, low = planes.unbind(-3)  # [..., K, H, S]
    value = high + low
    whole = (value + 0.5).floor()
    part = (((high - whole) + low) * CUBIC_PART + 0.5).floor() / CUBIC_PART
    rest = ((high - whole) - part) + low
    large, small = rows
    sums = large @ whole
    level = sums.floor()
    fraction = (sums - level) + large @ part
    tail = (large @ rest + small @ value) + CUBIC_SLACK
    level = level + (fraction + tail).floor() + CUBIC_CENTRE
    return _clip_to_crop(level, frame, rows, cols)


def _resize_area(frame: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    fixed = bool(cols[0].max() > 1)
    across = frame.new_zeros((*frame.shape[:-1], cols.shape[1]))
    for at, weight in _taps(cols):
        across = across + frame[..., at] * weight
    if fixed:
        across = (across / ACROSS).floor()
    down = frame.new_zeros((*frame.shape[:-2], rows.shape[1], cols.shape[1]))
    for at, weight in _taps(rows):
        level, weight = across[..., at, :], weight[:, None]
        if fixed:
            high = (level / PART).floor()
            carry = (weight * (level - PART * high) / PART).floor()
            down = down + ((weight * high + carry) / DOWN).floor()
        else:
            down = down + level * weight
    return ((down + 2) / STEPS).floor() if fixed else (down * rows[1].amax(dim=1)[:, None]).round()


def _taps(planes: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Place and coefficient of tap 0, 1, ... of every sample; see `geometry.area.taps_of`."""
    coefficients, firsts = planes
    length = planes.shape[-1]
    first = firsts.argmax(dim=1)
    for tap in range(int((coefficients != 0).sum(dim=1).max().clamp(min=FIXED_TAPS))):
        at = (first + tap).clamp(max=length - 1)
        weight = coefficients.gather(1, at[:, None])[:, 0] * (first + tap < length)
        yield at, weight


def _clip_to_crop(
    resized: torch.Tensor, frame: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor
) -> torch.Tensor:
    """Between the darkest and the brightest grey level where no matrix is zero, of all channels."""
    y, x = ((m != 0).any(dim=1).any(dim=0) for m in (rows, cols))
    inside = frame[..., y, :][..., x]
    low, high = (f(inside, dim=(-3, -2, -1), keepdim=True) for f in (torch.amin, torch.amax))
    return resized.clamp(low, high)
