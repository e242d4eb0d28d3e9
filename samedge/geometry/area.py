"""OpenCV's `resize(interpolation=INTER_AREA)` of 8-bit images as coefficients of both axes.

OpenCV does three things under this name, and which of them is decided by both axes together:

* shrinking by whole factors: the mean of a block, from the sum of its grey levels;
* other shrinking: each output sample is a cell of the axis, and every sample counts with the part
  of it that the cell covers, in float32;
* enlarging: bilinear interpolation in fixed point, with positions of its own.

The second one rounds after every product and sum, so its last bit depends on their order. Hence
nothing here is a matrix product: the taps of a sample are added one after the other, first along
the rows of the image, then down its columns (docs/geometry.md, "OpenCV's area resize").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError

AREA_TAPS = 24  # the most of one sample: 4096 x 23 px become 256 x 1 px
FIXED_TAPS = 2  # of a sample in fixed point

# In fixed point: the sum across is cut off to this many steps of a grey level's 2048, ...
ACROSS = 16.0
# ... each product of the sum down to multiples of 2^16, for which it is taken in two parts, ...
PART, DOWN = 128.0, 512.0  # PART * DOWN = 2^16
# ... and what is left has 4 steps per grey level.
STEPS = 4.0

_ONE = 2048  # coefficients of the fixed-point interpolation have 11 bits
_NEARLY = 1e-3  # OpenCV leaves out what covers less of a sample
_EPSILON = np.finfo(np.float64).eps

Floats = NDArray[np.float32]
Size = tuple[int, int]  # height, width


def area_planes(size: Size, out: Size) -> tuple[Floats, Floats]:
    """Coefficients of both axes.

    Args:
        size: (height, width) of the image, in px.
        out: the same after the resize.

    Returns:
        float32 rows [2, out height, height] and cols [2, out width, width]. The first plane has the
        coefficients of each sample's taps, which stand side by side; the second has one number per
        sample, where its first tap is: what the finished sum is multiplied by (of `rows`; 1 of
        `cols`). Coefficients of `cols` are greater than 1 in fixed point, and only there.

    Raises:
        FrameError: a sample has more than 24 taps (only of networks smaller than 256 px).
    """
    inverse = out[0] / size[0], out[1] / size[1]
    scale = 1.0 / inverse[0], 1.0 / inverse[1]
    factors = round(scale[0]), round(scale[1])
    factor = 1.0
    if min(scale) < 1.0:
        axes = [_linear(*axis) for axis in zip(out, size, inverse, scale, strict=True)]
    elif all(abs(s - f) < _EPSILON for s, f in zip(scale, factors, strict=True)):
        # Four px: (sum + 2) >> 2, which is what fixed point ends with. Others: to even on a tie.
        four = factors == (2, 2)
        one = (PART * DOWN, ACROSS) if four else (1.0, 1.0)
        factor = 1.0 if four else 1.0 / (factors[0] * factors[1])
        axes = [_blocks(*axis) for axis in zip(out, factors, one, strict=True)]
    else:
        axes = [_cells(*axis) for axis in zip(out, size, scale, strict=True)]
    for (matrix, _), name in zip(axes, ("high", "wide"), strict=True):
        taps = int(np.count_nonzero(matrix, axis=1).max())
        if taps > AREA_TAPS:
            raise FrameError(
                f"{size[1]} x {size[0]} px cannot be resized to {out[1]} x {out[0]} px: a pixel of "
                f"the network would be {taps} px {name}, and at most {AREA_TAPS} can be added up; "
                "crop the frame or make it smaller first"
            )
    rows, cols = (_planes(*axes[0], factor), _planes(*axes[1], 1.0))
    return rows, cols


def taps_of(planes: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The taps of every sample, in their order.

    Args:
        planes: [2, S, n], as from `area_planes`; rows may be zero.

    Returns:
        index int64 [T, S] of samples of the axis, and coefficients float32 [T, S], 0 behind the
        last tap of a sample; what finished sums are multiplied by, float32 [S].
    """
    coefficients, firsts = planes
    rows, length = np.arange(len(firsts)), firsts.shape[1]
    first = firsts.argmax(axis=1)
    last = length - (coefficients[:, ::-1] != 0).argmax(axis=1)  # of a row of zeros: `length`
    seen = coefficients.any(axis=1)
    count = int((last - first)[seen].max(initial=1))
    place = first + np.arange(count)[:, None]
    index = np.minimum(place, length - 1)
    weights = np.where(place < length, coefficients[rows, index], np.float32(0))
    return index, weights.astype(np.float32), firsts[rows, first]


def resize_area(planar: Floats, rows: Floats, cols: Floats) -> Floats:
    """[K, H, W] -> [K, S, S], OpenCV's area resize: whole grey levels, 0 on padding.

    Args:
        planar: whole grey levels.
        rows, cols: [2, S, H] and [2, S, W], as from `area_planes`.
    """
    fixed = bool(cols[0].max() > 1)
    index, weights, _ = taps_of(cols)
    across = planar[..., index[0]] * weights[0]
    for at, weight in zip(index[1:], weights[1:], strict=True):
        across = across + planar[..., at] * weight
    if fixed:
        across = np.floor(across / np.float32(ACROSS))
    index, weights, factor = taps_of(rows)
    down = None
    for at, weight in zip(index, weights, strict=True):
        level, weight = across[..., at, :], weight[:, None]
        if fixed:
            high = np.floor(level / np.float32(PART))
            low = np.floor(weight * (level - np.float32(PART) * high) / np.float32(PART))
            term = np.floor((weight * high + low) / np.float32(DOWN))
        else:
            term = level * weight
        down = term if down is None else down + term
    assert down is not None
    if fixed:
        levels = np.floor((down + np.float32(2)) / np.float32(STEPS))
    else:
        levels = np.rint(down * factor[:, None])
    return np.asarray(levels, dtype=np.float32)


def _planes(matrix: Floats, first: NDArray[np.int64], factor: float) -> Floats:
    planes = np.zeros((2, *matrix.shape), np.float32)
    planes[0] = matrix
    planes[1, np.arange(len(first)), first] = np.float32(factor)
    return planes


def _blocks(out: int, factor: int, one: float) -> tuple[Floats, NDArray[np.int64]]:
    """Sums of `factor` samples."""
    matrix = np.eye(out, dtype=np.float32).repeat(factor, axis=1) * np.float32(one)
    return matrix, np.arange(out) * factor


def _cells(out: int, size: int, scale: float) -> tuple[Floats, NDArray[np.int64]]:
    """What each cell covers of every sample."""
    row = np.arange(out)
    start = row * scale
    stop = start + scale
    cell = np.minimum(scale, size - start)
    last = np.minimum(np.floor(stop).astype(np.int64), size - 1)
    first = np.minimum(np.ceil(start).astype(np.int64), last)
    place = np.arange(size)
    whole = (place >= first[:, None]) & (place < last[:, None])
    matrix = np.where(whole, (1.0 / cell)[:, None], 0.0)
    head = first - start > _NEARLY
    matrix[row[head], first[head] - 1] = ((first - start) / cell)[head]
    tail = stop - last > _NEARLY
    matrix[row[tail], last[tail]] = (np.minimum(np.minimum(stop - last, 1.0), cell) / cell)[tail]
    return matrix.astype(np.float32), first - head


def _linear(out: int, size: int, inverse: float, scale: float) -> tuple[Floats, NDArray[np.int64]]:
    """Bilinear interpolation with coefficients of 11 bits. A sample of the output that lies within
    one of the axis is that one."""
    row: NDArray[Any] = np.arange(out)
    first = np.floor(row * scale).astype(np.int64)
    offset = ((row + 1) - (first + 1) * inverse).astype(np.float32)
    offset = np.where(offset <= 0, np.float32(0), offset - np.floor(offset))
    offset = np.where(first >= size - 1, np.float32(0), offset).astype(np.float32)
    first = np.minimum(first, size - 1)
    matrix = np.zeros((out, size), np.float32)
    second = np.rint(offset * np.float32(_ONE))
    matrix[row, np.minimum(first + 1, size - 1)] = second
    matrix[row, first] = np.rint((np.float32(1) - offset) * np.float32(_ONE))
    return matrix, first
