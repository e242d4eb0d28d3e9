"""A number in the pixels of a frame, to be read again behind encoders, sockets and screens.

A strip of 24 blocks along the bottom: one white and one black block to measure by, 18 bits of the
number, most significant first, and 4 bits of a CRC. White is 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError

BLOCKS = 24
BITS = 18
LARGEST = (1 << BITS) - 1
_CHECK_BITS = 4
_CRC = 0b10011  # x^4 + x + 1: finds every run of wrong bits up to 4 long
_SHARE = 30  # the strip's height is this part of the frame's
_SMALLEST = (64, 4 * BLOCKS)  # height and width, px
_CONTRAST = 60  # grey levels between white and black, at least
_UNSURE = 0.2  # of the contrast: how near to the middle a block may not be


def strip_height(height: int) -> int:
    """px that the strip takes of a frame."""
    return max(round(height / _SHARE), 4)


def draw_counter(pixels: NDArray[np.uint8], number: int) -> None:
    """Draw a number over the bottom of a frame, in place.

    Args:
        pixels: `[H, W]` or `[H, W, C]`, at least 64 x 96 px.
        number: 0 or more; what exceeds `LARGEST` starts again at 0.

    Raises:
        FrameError: the frame is too small, or the number negative.
    """
    height, width = pixels.shape[:2]
    if height < _SMALLEST[0] or width < _SMALLEST[1]:
        raise FrameError(
            f"a frame of {width} x {height} px is too small for a counter; expected "
            f"{_SMALLEST[1]} x {_SMALLEST[0]} or more"
        )
    if number < 0:
        raise FrameError(f"the counter is {number}; expected 0 or more")
    strip = pixels[height - strip_height(height) :]
    edges = _edges(width)
    for block, bit in enumerate(_blocks(number & LARGEST)):
        strip[:, edges[block] : edges[block + 1]] = 255 * bit


def read_counter(pixels: NDArray[np.uint8]) -> int | None:
    """The number in a frame that may have been scaled, compressed or tinted since.

    Args:
        pixels: uint8 `[H, W]` or `[H, W, C]`, the whole frame without borders.

    Returns:
        0 to `LARGEST`; None if there is none, or if it cannot be read without doubt.
    """
    height, width = pixels.shape[:2]
    if height < 16 or width < BLOCKS:
        return None
    tall = height / _SHARE
    # The inner half of every block: its borders may be blurred.
    rows = pixels[round(height - 0.75 * tall) : max(round(height - 0.25 * tall), 1)]
    if not len(rows):
        rows = pixels[height - 1 :]
    line = np.asarray(rows, np.float32).reshape(len(rows), width, -1).mean(axis=(0, 2))
    places = (np.arange(BLOCKS) + 0.5) * width / BLOCKS
    reach = max(width / BLOCKS / 4, 0.5)
    levels = np.asarray([line[round(x - reach) : max(round(x + reach), 1)].mean() for x in places])
    white, black = levels[:2]
    if white - black < _CONTRAST:
        return None
    shares = (levels - black) / (white - black)
    if (np.abs(shares - 0.5) < _UNSURE).any():
        return None
    bits = [int(share > 0.5) for share in shares]
    number = int("".join(map(str, bits[2 : 2 + BITS])), 2)
    return number if bits == _blocks(number) else None


def _edges(width: int) -> list[int]:
    return [round(block * width / BLOCKS) for block in range(BLOCKS + 1)]


def _blocks(number: int) -> list[int]:
    """All 24 blocks of a number, 1 for white."""
    word = number << _CHECK_BITS
    for place in range(BITS + _CHECK_BITS - 1, _CHECK_BITS - 1, -1):
        if word >> place & 1:
            word ^= _CRC << (place - _CHECK_BITS)
    whole = (number << _CHECK_BITS) | word
    total = BITS + _CHECK_BITS
    return [1, 0, *(whole >> place & 1 for place in range(total - 1, -1, -1))]
