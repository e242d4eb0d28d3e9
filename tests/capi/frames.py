"""Frames of random bytes in every format of libsamedge, and what they are in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.capi import structs as s

COLOURS = ("rgb8", "bgr8", "rgba8", "bgra8")
FORMATS = ("grey8", "grey16", *COLOURS, "nv12")


@dataclass
class Given:
    """A frame for the library, and what it is in numpy.

    Attributes:
        struct: its samedge_frame.
        expected: uint8 or uint16 [H, W], or uint8 [H, W, 3].
        kept: what `struct` points to.
    """

    struct: s.Frame
    expected: NDArray[Any]
    kept: list[NDArray[Any]]


def random_frame(pixel_format: str, height: int, width: int, gap: int = 0, seed: int = 0) -> Given:
    """A frame of random bytes, with `gap` bytes behind every row."""
    random = np.random.default_rng(seed)
    channels = {"grey8": 1, "grey16": 2, "nv12": 1, "rgb8": 3, "bgr8": 3}.get(pixel_format, 4)
    rows = height * 3 // 2 if pixel_format == "nv12" else height
    stride = width * channels + gap
    memory = random.integers(0, 256, (rows, stride), dtype=np.uint8)
    struct = s.Frame(
        format=s.FORMATS[pixel_format],
        width=width,
        height=height,
        pixels=memory.ctypes.data,
        stride=stride if gap else 0,
    )
    seen = np.ascontiguousarray(memory[:, : width * channels])
    return Given(struct, _in_numpy(pixel_format, seen, width), [memory])


def _in_numpy(pixel_format: str, seen: NDArray[np.uint8], width: int) -> NDArray[Any]:
    if pixel_format == "grey8":
        return seen
    if pixel_format == "grey16":
        return seen.view(np.uint16)
    if pixel_format == "nv12":
        return cv2.cvtColor(seen, cv2.COLOR_YUV2RGB_NV12)
    pixels = seen.reshape(len(seen), width, -1)[..., :3]
    return np.ascontiguousarray(pixels[..., ::-1] if pixel_format.startswith("b") else pixels)
