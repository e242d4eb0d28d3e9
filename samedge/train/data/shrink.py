"""Pillow's bilinear resize in whole numbers: the bits of `geometry.network_input`, no matrices.

Data sets have images of many sizes, each in its turn: matrices would be made for one image, and a
matrix product in every DataLoader worker takes threads from all the others. numpy only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from samedge.geometry.filters import PIL_BITS, pil_coefficients
from samedge.geometry.frame_geometry import vertical_pass_first

Image = NDArray[np.uint8]
Taps = tuple[NDArray[np.int64], NDArray[np.int32]]
_HALF = 1 << (PIL_BITS - 1)


def pil_resize(image: Image, height: int, width: int) -> Image:
    """`PIL.Image.resize((width, height), BILINEAR)`, to the bit.

    Args:
        image: uint8 `[H, W]` or `[H, W, C]`.
        height, width: wanted, in px.

    Returns:
        uint8 `[height, width]` or `[height, width, C]`.
    """
    size = image.shape[:2]
    if vertical_pass_first((size[0], size[1]), (height, width)):
        return _columns(_rows(image, height), width)
    return _rows(_columns(image, width), height)


def _columns(image: Image, out: int) -> Image:
    return np.ascontiguousarray(_rows(np.ascontiguousarray(image.swapaxes(0, 1)), out)).swapaxes(
        0, 1
    )


def _rows(image: Image, out: int) -> Image:
    """One pass along the first axis, rounded to whole grey levels; nothing leaves 0..255."""
    if len(image) == out:
        return image
    places, weights = _taps(out, len(image))
    shape = (out, *(1,) * (image.ndim - 1))
    total = np.full((out, *image.shape[1:]), _HALF, np.int32)
    for place, weight in zip(places, weights, strict=True):
        total += image[place] * weight.reshape(shape)
    return np.asarray(total >> PIL_BITS, np.uint8)


@lru_cache(maxsize=128)
def _taps(out: int, size: int) -> Taps:
    """Samples and their weights, `[taps, out]` each; 255 times all weights fits 31 bits."""
    dense = pil_coefficients(out, size)
    used = dense != 0
    first = used.argmax(axis=1)
    count = int((size - used[:, ::-1].argmax(axis=1) - first).max())
    places = np.minimum(first + np.arange(count)[:, None], size - 1)
    weights = np.where(first + np.arange(count)[:, None] < size, dense[np.arange(out), places], 0)
    return places, weights.astype(np.int32)
