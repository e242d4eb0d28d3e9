"""Resampling along one axis as matrices [out, size]: PIL, scikit-image, scipy and torch, in numpy.

Filters are computed in float64 and know nothing of families, crops or padding;
`samedge.geometry.frame_geometry` picks them. Those whose result is cut off to whole grey levels are
then split into two float32 planes, with which a resize by matrix products gives the same grey
levels in every engine (docs/geometry.md has the proofs).

Nothing is used but the operations that IEEE 754 rounds, in a stated order: no power, exponential or
sum whose last bit is a library's choice. So every machine has the same matrices, and libsamedge,
which has this module once more in C++ (`samedge/capi/src/geometry/filters.cpp`), too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError

PIL_BITS = 22  # fractional bits of PIL's 8-bit resize coefficients
PLANE_BITS = 11  # of which this many go to the low plane
PLANE = float(2**PLANE_BITS)
EXACT_LIMIT = 2**24  # float32 holds every integer up to here

CUBIC_BITS = 15  # fractional bits of the high plane of cubic coefficients
CUBIC_PART = float(2**9)  # steps per grey level that high coefficients may be multiplied with
CUBIC_CENTRE = 128.0  # taken off the grey levels: the smaller they are, the more bits are exact
CUBIC_SLACK = 2.0**-23  # above the rounding that occurs: what is whole is not cut off to one less

POLE = np.sqrt(3.0) - 2.0  # of the inverse of the cubic B-spline's filter
REACH = 30  # samples, beyond which that inverse is below 1e-17
TRUNCATE = 4.0  # scipy's Gaussian filter ends at this many standard deviations

# Fractional bits of the two parts of a factor, whose products have exact sums in float64.
HIGH_BITS, LOW_BITS = 24, 43
BLOCK = 64  # rows of a product that are computed together: most of a matrix is 0

Matrix = NDArray[np.float64]


def pil_coefficients(
    out: int, size: int, box: tuple[float, float] | None = None
) -> NDArray[np.int64]:
    """PIL's 8-bit bilinear resize along one axis, `Image.resize(..., BILINEAR, box)`.

    Follows Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`: a triangle filter, widened by
    the scale on shrinking, centred on `(i + 0.5) * scale`, normalised in float64 in this order of
    summation, and rounded to 22 fractional bits.

    Args:
        out: samples after the resize.
        size: samples before it.
        box: (start, stop) of the source interval in px; the whole axis if None. As in PIL, the
            filter may reach beyond the box, but not beyond the axis.

    Returns:
        int64 [out, size]; rows sum to 2**22 up to rounding.
    """
    weights, first = _triangle(out, size, box)
    fixed = (weights * 2**PIL_BITS + 0.5).astype(np.int64)
    result = np.zeros((out, size), dtype=np.int64)
    tap_index, row = np.nonzero(fixed)
    result[row, first[row] + tap_index] = fixed[tap_index, row]
    return result


def split_planes(coefficients: NDArray[np.int64]) -> NDArray[np.float32]:
    """PIL's fixed-point coefficients [out, size] as two exact float32 planes.

    Returns:
        float32 [2, out, size], `coefficients == 2**11 * planes[0] + planes[1]`, with
        0 <= planes[0] <= 2**11 and |planes[1]| <= 2**10: 11 significant bits, so TF32 and float16
        hold them, too.

    Raises:
        FrameError: a row has so many coefficients that a sum over uint8 values, in some order of
            addition, could reach 2**24 (possible only when shrinking more than 31 times).
    """
    high = (coefficients + 2 ** (PLANE_BITS - 1)) >> PLANE_BITS
    planes = np.empty((2, *coefficients.shape), np.float32)
    planes[0], planes[1] = high, coefficients - (high << PLANE_BITS)
    # The extreme of all partial sums: all terms of one sign at full brightness, none of the other.
    total, absolute = planes[1].sum(axis=1), np.abs(planes[1]).sum(axis=1)
    if 255 * float((absolute + np.abs(total)).max()) / 2 >= EXACT_LIMIT:
        raise FrameError(
            f"{coefficients.shape[1]} px cannot be resized to {coefficients.shape[0]} px exactly: "
            "that shrinks too far; crop the frame or make it smaller first"
        )
    return planes


def cubic_matrix(out: int, size: int) -> Matrix:
    """scikit-image's `resize(order=3, anti_aliasing=True)` (0.26) along one axis.

    That is `scipy.ndimage.gaussian_filter` with standard deviation `(size / out - 1) / 2` when
    shrinking, then `scipy.ndimage.zoom(order=3, grid_mode=True)` with its spline prefilter; both
    mirror the axis at the centres of its outermost samples. On an endless mirrored axis all three
    filters are convolutions, so they are joined there and the axis is folded up at the end.

    Returns:
        float64 [out, size]; rows sum to 1.
    """
    if out == size:
        return np.eye(size)
    scale = size / out
    taps, first = _spline((np.arange(out, dtype=np.float64) + 0.5) * scale - 0.5)
    sigma = max(0.0, (scale - 1) / 2)
    if sigma > 0:
        radius = int(TRUNCATE * sigma + 0.5)
        at = np.arange(-radius, radius + 1.0)
        gauss = _decay(0.5 / (sigma * sigma) * (at * at))
        taps, first = _convolved(taps, gauss / np.cumsum(gauss)[-1]), first - radius
    return _folded(taps, first, size)


def split_cubic(matrix: Matrix) -> NDArray[np.float32]:
    """Coefficients [out, size] as multiples of 2**-15 and the float32 rest.

    Returns:
        float32 [2, out, size]; the sum of both is `matrix`, up to 2**-25 of the rest.
    """
    high = np.rint(matrix * 2.0**CUBIC_BITS)
    high *= 2.0**-CUBIC_BITS
    planes = np.empty((2, *matrix.shape), np.float32)
    planes[0] = high
    np.subtract(matrix, high, out=planes[1], casting="same_kind")
    return planes


def zoom_matrix(out: int, size: int) -> Matrix:
    """`scipy.ndimage.zoom(order=3)` (1.17) along one axis, with its defaults.

    Its last source position, `(out - 1) * ((size - 1) / (out - 1))`, may exceed `size - 1` by
    rounding; scipy then takes it to be outside, and the last sample becomes 0. So does this row.

    Returns:
        float64 [out, size]; rows sum to 1, or the last one is zero. The identity for equal sizes.
    """
    if out == size:
        return np.eye(size)
    at = _zoom_positions(out, size)
    matrix = _folded(*_spline(at), size)
    matrix[at > size - 1] = 0.0
    return matrix


def spline_product(left: Matrix, right: Matrix) -> Matrix:
    """`left @ right` for matrices of `zoom_matrix`: the same bits in whatever order BLAS adds.

    Each factor is split into a multiple of 2**-24 and one of 2**-43. The absolute sum of a spline's
    row is below 1.56, so sums of products of two high parts, or of a high and a low one, are exact
    (for up to 1024 columns of `left`). The product of the low parts is left out; all that is lost
    is below 1e-11.

    Returns:
        float64 [len(left), right.shape[1]].
    """
    high, low = _parts(right)
    result = np.zeros((len(left), right.shape[1]))
    for start in range(0, len(left), BLOCK):
        rows = left[start : start + BLOCK]
        used = np.flatnonzero(rows.any(axis=0))
        if used.size:
            band = slice(used[0], used[-1] + 1)
            large, small = _parts(rows[:, band])
            result[start : start + BLOCK] = large @ high[band] + (
                large @ low[band] + small @ high[band]
            )
    return result


def nearest_matrix(out: int, size: int) -> Matrix:
    """`scipy.ndimage.zoom(order=0)` (1.17) along one axis, with its defaults.

    Returns:
        float64 [out, size]; a single 1 per row, or a zero last row as in `zoom_matrix`.
    """
    at = _zoom_positions(out, size)
    index = np.minimum(np.floor(at + 0.5).astype(np.int64), size - 1)
    matrix = np.zeros((out, size))
    matrix[np.arange(out), index] = at <= size - 1
    return matrix


def antialias_matrix(out: int, size: int) -> Matrix:
    """torch's `interpolate(mode="bilinear", antialias=True, align_corners=False)` along one axis.

    PIL's filter without its rounding.

    Returns:
        float64 [out, size]; rows sum to 1.
    """
    weights, first = _triangle(out, size, None)
    matrix = np.zeros((out, size))
    tap_index, row = np.nonzero(weights)
    matrix[row, first[row] + tap_index] = weights[tap_index, row]
    return matrix


def bilinear_matrix(out: int, size: int) -> Matrix:
    """torch's `interpolate(mode="bilinear", align_corners=False)` along one axis.

    Returns:
        float64 [out, size]; at most two entries per row, which sum to 1. No antialiasing.
    """
    return interpolated(np.eye(size), out)


def interpolated(rows: Matrix, out: int) -> Matrix:
    """`bilinear_matrix(out, len(rows)) @ rows`, without the zeros."""
    size = len(rows)
    source = np.maximum((np.arange(out) + 0.5) * (size / out) - 0.5, 0.0)
    left = np.minimum(source.astype(np.int64), size - 1)
    right = np.minimum(left + 1, size - 1)
    weight = (source - left)[:, None]
    result: Matrix = (1.0 - weight) * rows[left] + weight * rows[right]
    return result


def _triangle(
    out: int, size: int, box: tuple[float, float] | None
) -> tuple[Matrix, NDArray[np.int64]]:
    """Normalised weights [taps, out] of the samples first + tap; see `pil_coefficients`."""
    start, stop = np.float32(box[0] if box else 0), np.float32(box[1] if box else size)
    scale = float(stop - start) / out
    support = max(scale, 1.0)
    centre = float(start) + (np.arange(out) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), size)
    taps = int((last - first).max())
    weights = np.zeros((taps, out))
    total = np.zeros(out)
    for tap in range(taps):  # in PIL's order: float64 sums depend on it
        offset = (tap + first - centre + 0.5) * (1.0 / support)
        inside = tap < last - first
        weights[tap] = np.where(inside, np.maximum(1.0 - np.abs(offset), 0.0), 0.0)
        total += weights[tap]
    return weights / total, first


def _zoom_positions(out: int, size: int) -> NDArray[np.float64]:
    """Source positions of `scipy.ndimage.zoom`, rounded as there: end samples meet end samples."""
    step = (size - 1) / (out - 1) if out > 1 else 1.0
    return np.arange(out, dtype=np.float64) * step


def _spline(at: NDArray[np.float64]) -> tuple[Matrix, NDArray[np.int64]]:
    """Interpolation by a cubic spline at positions `at` of an endless axis.

    The four B-spline weights around a position, convolved with the inverse of the B-spline's own
    filter (`sqrt(3) * POLE**abs(k)`; Unser, "Splines: a perfect fit", 1999).

    Returns:
        Weights [taps, out] of the samples first + tap, and first [out].
    """
    base = np.floor(at)
    f = at - base
    g = 1 - f
    spline = np.stack(
        [
            g * g * g / 6,
            2 / 3 - f * f * (2 - f) / 2,
            2 / 3 - g * g * (1 + f) / 2,
            f * f * f / 6,
        ]
    )
    powers = np.cumprod(np.full(REACH, POLE))
    inverse = np.sqrt(3.0) * np.concatenate([powers[::-1], [1.0], powers])
    return _convolved(spline, inverse), base.astype(np.int64) - 1 - REACH


def _decay(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """`exp(-x)` for 0 <= x <= 32 to 1e-13 of it: the series for x / 256, squared eight times."""
    part, series = x / 256, np.ones_like(x)
    for n in range(9, 0, -1):
        series = 1 - part / n * series
    for _ in range(8):
        series = series * series
    return series


def _parts(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """A matrix as multiples of 2**-HIGH_BITS and the rest as multiples of 2**-LOW_BITS."""
    high = np.rint(matrix * 2.0**HIGH_BITS) * 2.0**-HIGH_BITS
    return high, np.rint((matrix - high) * 2.0**LOW_BITS) * 2.0**-LOW_BITS


def _convolved(taps: Matrix, kernel: NDArray[np.float64]) -> Matrix:
    """Full convolution of [taps, out] with a kernel along the first axis."""
    result = np.zeros((len(taps) + len(kernel) - 1, taps.shape[1]))
    for shift, weight in enumerate(kernel):
        result[shift : shift + len(taps)] += weight * taps
    return result


def _folded(taps: Matrix, first: NDArray[np.int64], size: int) -> Matrix:
    """Weights on an endless axis -> [out, size], for an axis mirrored at its end samples."""
    period, rows = max(2 * (size - 1), 1), np.arange(taps.shape[1])
    matrix = np.zeros((len(rows), size))
    for tap, weights in enumerate(taps):
        index = np.abs((first + tap + size - 1) % period - (size - 1))
        matrix[rows, index] += weights
    return matrix
