"""OpenCV's area resize of a tile, in the order of `samedge.geometry.area.resize_area`."""

from __future__ import annotations

import triton
import triton.language as tl

from samedge.geometry.area import ACROSS, DOWN, PART, STEPS
from samedge.kernels.frames.frame_pixels import levels_at

_ACROSS = tl.constexpr(ACROSS)
_PART = tl.constexpr(PART)
_DOWN = tl.constexpr(DOWN)
_STEPS = tl.constexpr(STEPS)
_WHOLE = tl.constexpr(2.0**23)  # from here on float32 has whole numbers only


@triton.jit
def rounded_product(a, b):
    """`a * b` of what is not negative. The maximum changes nothing, but keeps the compiler from
    making one operation of this and a sum behind it, which would not round in between."""
    return tl.maximum(a * b, 0.0)


@triton.jit
def area_levels(
    frame_ptr,
    rows_ptr,
    cols_ptr,
    y,
    x,
    top,
    bottom,
    left,
    right,
    height,
    width,
    frame_channels,
    share_0,
    share_1,
    share_2,
    SIDE: tl.constexpr,
):
    """Grey levels [BLOCK_Y, BLOCK_X] of outputs y and x, whose taps are the frame's rows from `top`
    to `bottom` and its columns from `left` to `right`, each [BLOCK_Y] or [BLOCK_X]."""
    taps = tl.max(right - left, 0)
    largest = tl.zeros((x.shape[0],), tl.float32)
    for tap in range(taps):
        w = left + tap
        largest = tl.maximum(largest, tl.load(cols_ptr + x * width + w, mask=w < right, other=0.0))
    mean = tl.zeros((y.shape[0], x.shape[0]), tl.float32)
    steps = tl.zeros((y.shape[0], x.shape[0]), tl.float32)
    for line in range(tl.max(bottom - top, 0)):
        h = top + line
        across = tl.zeros((y.shape[0], x.shape[0]), tl.float32)
        for tap in range(taps):
            w = left + tap
            inside = (h < bottom)[:, None] & (w < right)[None, :]
            pixel = h[:, None] * width + w[None, :]
            level = levels_at(frame_ptr, pixel, inside, frame_channels, share_0, share_1, share_2)
            part = tl.load(cols_ptr + x * width + w, mask=w < right, other=0.0)
            across += rounded_product(level, part[None, :])
        part = tl.load(rows_ptr + y * height + h, mask=h < bottom, other=0.0)[:, None]
        mean += rounded_product(across, part)
        cut = tl.floor(across / _ACROSS)
        high = tl.floor(cut / _PART)
        carry = tl.floor(part * (cut - high * _PART) / _PART)
        steps += tl.floor((part * high + carry) / _DOWN)
    place = rows_ptr + SIDE * height + y * height + top
    factor = tl.load(place, mask=top < bottom, other=0.0)[:, None]
    even = (rounded_product(mean, factor) + _WHOLE) - _WHOLE
    return tl.where((largest > 1.0)[None, :], tl.floor((steps + 2.0) / _STEPS), even)
