"""Frames and crops that drive a resize to its extremes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

sides = st.integers(16, 700)
seeds = st.integers(0, 2**31)
# Dark, bright and alternating frames drive the sums to their extremes; noise finds the ties. Flat
# and ramp give values that are whole but for rounding.
patterns = st.sampled_from(["noise", "binary", "white", "flat", "blocks", "stripes", "ramp"])


@st.composite
def crops(draw: st.DrawFn, height: int, width: int) -> tuple[int, int, int, int] | None:
    """A crop of at least 16 x 16 px, or None."""
    if draw(st.booleans()):
        return None
    x0, y0 = draw(st.integers(0, width - 16)), draw(st.integers(0, height - 16))
    return x0, y0, draw(st.integers(x0 + 16, width)), draw(st.integers(y0 + 16, height))


def image(pattern: str, height: int, width: int, channels: int, seed: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, C]."""
    rng = np.random.default_rng(seed)
    shape = (height, width, channels) if channels > 1 else (height, width)
    if pattern in ("white", "flat"):
        level = 255 if pattern == "white" else rng.integers(0, 256, shape[2:])
        return np.broadcast_to(np.uint8(level), shape).copy()
    if pattern == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if pattern == "binary":
        return rng.integers(0, 2, shape, dtype=np.uint8) * np.uint8(255)
    if pattern == "blocks":
        coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), *shape[2:]))
        fine = coarse.repeat(16, axis=0).repeat(16, axis=1)
        return np.ascontiguousarray(fine[:height, :width].astype(np.uint8))
    y, x = np.indices((height, width))
    plane = 255 * ((x + y) % 2) if pattern == "stripes" else (3 * x + 5 * y) % 256
    plane = plane.astype(np.uint8)
    if channels == 1:
        return plane
    return np.stack([plane, 255 - plane, plane.T.copy().reshape(height, width)], axis=2)
