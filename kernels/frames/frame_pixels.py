"""Pixels of a frame in the network's colours, and the horizontal pass of its resize."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def share_of(colour_ptr, c, channel, frame_channels, CHANNELS: tl.constexpr):
    """How much of the frame's channel c is in a channel of the network; 0 if it has none.

    Also how many of the network's channels take another share of it.
    """
    there = c < frame_channels
    share = tl.load(colour_ptr + c * CHANNELS + channel, mask=there, other=0.0)
    others = 0
    for other in tl.static_range(CHANNELS):
        taken = tl.load(colour_ptr + c * CHANNELS + other, mask=there, other=0.0)
        others += (taken != share).to(tl.int32)
    return share, others


@triton.jit
def read(share, pixel):
    """For which pixels a channel has to be read: all if it has a share. (The interpreter makes no
    block of a truth, hence the comparison of numbers.)"""
    return pixel < tl.where(share != 0, 0x7FFFFFFF, 0)


@triton.jit
def levels_at(frame_ptr, pixel, inside, frame_channels, share_0, share_1, share_2):
    """Grey levels at pixels: `floor(channels @ shares + 1/2)`. Channels without a share, or which
    the frame does not have, are not read."""
    place = frame_ptr + pixel * frame_channels
    a = tl.load(place, mask=inside & read(share_0, pixel), other=0).to(tl.float32)
    b = tl.load(place + 1, mask=inside & read(share_1, pixel), other=0).to(tl.float32)
    c = tl.load(place + 2, mask=inside & read(share_2, pixel), other=0).to(tl.float32)
    return tl.floor(a * share_0 + b * share_1 + c * share_2 + 0.5)


@triton.jit
def banded_rows(
    frame_ptr,
    cols_ptr,
    h,
    x,
    first,
    last,
    height,
    width,
    frame_channels,
    share_0,
    share_1,
    share_2,
    SIDE: tl.constexpr,
    PLANES: tl.constexpr,
    CENTRE: tl.constexpr,
):
    """Rows h of the frame times the columns' matrix, [BLOCK_H, BLOCK_X] of its one or two planes.

    For narrow bands: every output collects its own pixels, one at a time.
    """
    high = tl.zeros((h.shape[0], x.shape[0]), tl.float32)
    low = tl.zeros((h.shape[0], x.shape[0]), tl.float32)
    for tap in range(tl.max(last - first, 0)):
        w = first + tap
        used = w < last
        inside = (h < height)[:, None] & used[None, :]
        pixel = h[:, None] * width + w[None, :]
        level = levels_at(frame_ptr, pixel, inside, frame_channels, share_0, share_1, share_2)
        level -= CENTRE
        place = cols_ptr + x * width + w
        high += level * tl.load(place, mask=used, other=0.0)[None, :]
        if PLANES == 2:
            low += level * tl.load(place + SIDE * width, mask=used, other=0.0)[None, :]
    return high, low


@triton.jit
def dense_rows(
    frame_ptr,
    cols_ptr,
    h,
    x,
    left,
    right,
    height,
    width,
    frame_channels,
    share_0,
    share_1,
    share_2,
    SIDE: tl.constexpr,
    PLANES: tl.constexpr,
    CENTRE: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """As `banded_rows`, for wide bands: a product with all coefficients of the tile's outputs, in
    which neighbouring outputs share the pixels that were read."""
    high = tl.zeros((h.shape[0], x.shape[0]), tl.float32)
    low = tl.zeros((h.shape[0], x.shape[0]), tl.float32)
    for start in range(left, right, BLOCK_W):
        w = start + tl.arange(0, BLOCK_W)
        inside = (h < height)[:, None] & (w < right)[None, :]
        pixel = h[:, None] * width + w[None, :]
        level = levels_at(frame_ptr, pixel, inside, frame_channels, share_0, share_1, share_2)
        level -= CENTRE
        used = (w < right)[:, None] & (x < SIDE)[None, :]
        place = cols_ptr + x[None, :] * width + w[:, None]
        large = tl.load(place, mask=used, other=0.0)
        high = tl.dot(level, large, high, input_precision="ieee")
        if PLANES == 2:
            small = tl.load(place + SIDE * width, mask=used, other=0.0)
            low = tl.dot(level, small, low, input_precision="ieee")
    return high, low
