"""Crop, resize, pad and the way back as small matrices; the only place that knows resize rules.

Every step between a frame and the network is a separable linear map, `out = R X C^T`, and so is
every step from the low-res logits back to the frame. A `FrameGeometry` holds these matrices for
one frame size, one crop and one family; the graphs of a bundle take them as inputs, so one engine
serves all frame sizes.

Families trained through PIL need PIL's bilinear resize bit for bit. It is integer arithmetic: with
coefficients `K = round(k * 2**22)`, each of its two passes (horizontal first) computes
`(sum(K x) + 2**21) >> 22` per pixel. With `K = 2**11 hi + lo` and two float32 products

    out = floor((S_hi + floor(S_lo / 2**11) + 2**10) / 2**11),    S_hi = hi x,  S_lo = lo x

is the same number, because no sum reaches 2**24. `docs/geometry.md` has the proof, and says which
frames Pillow 13 resizes in the other order of passes.

Family records whose resize is not rounded need one plane of plain float coefficients instead of
the two; the leading axis of `rows` and `cols` is there for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samedge.errors import FrameError, NotSupportedError
from samedge.families import Family

MIN_SIDE = 16
MAX_SIDE = 4096
LOW_RES_PER_TOKEN = 4  # the mask decoder enlarges the token grid twice by 2

PIL_BITS = 22  # fractional bits of PIL's 8-bit resize coefficients
PLANE_BITS = 11  # of which this many go to the low plane
PLANE = float(2**PLANE_BITS)
EXACT_LIMIT = 2**24  # float32 holds every integer up to here

Crop = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class FrameGeometry:
    """All matrices and coordinate maps between one kind of frame and the network.

    S is the side of the network input, L that of the low-res logits. All arrays are read-only.

    Attributes:
        height, width: size of the frame, in px.
        crop: (x0, y0, x1, y1), the part of the frame that the network sees, in px.
        valid: (height, width) of the network input that is image and not padding, in px.
        rows_first: the vertical pass comes before the horizontal one (Pillow 13, tall frames).
        rows: float32 [P, S, H], vertical resize; P planes (2 for "pil"). Zero rows on padding.
        cols: float32 [P, S, W], horizontal resize. Zero columns outside the crop.
        valid_rows, valid_cols: float32 [S], 1 inside the valid area and 0 on padding; a mean is
            subtracted as `x - mean * outer(valid_rows, valid_cols)`.
        mask_rows: float32 [H, L]; mask_cols: float32 [W, L]. Logits at frame size are
            `mask_rows @ low_res @ mask_cols.T`; zero outside the crop.
    """

    height: int
    width: int
    crop: Crop
    valid: tuple[int, int]
    rows_first: bool
    rows: NDArray[np.float32]
    cols: NDArray[np.float32]
    valid_rows: NDArray[np.float32]
    valid_cols: NDArray[np.float32]
    mask_rows: NDArray[np.float32]
    mask_cols: NDArray[np.float32]

    @property
    def input_size(self) -> int:
        """Side of the square network input, in px."""
        return int(self.rows.shape[1])

    @property
    def low_res(self) -> int:
        """Side of the square low-res logits."""
        return int(self.mask_rows.shape[1])

    def _scale(self) -> NDArray[np.float64]:
        """Network px per frame px, (x, y). Rounded sizes, as segment_anything's predictor."""
        x0, y0, x1, y1 = self.crop
        return np.array([self.valid[1] / (x1 - x0), self.valid[0] / (y1 - y0)])

    def to_network(self, xy: ArrayLike) -> NDArray[np.float32]:
        """Frame coordinates to network coordinates.

        Args:
            xy: [..., 2] (x, y) in frame px; a box is its two corners, [..., 2, 2].

        Returns:
            float32 [..., 2] in network px, computed in float64 (as the reference does).
        """
        points = np.asarray(xy, dtype=np.float64) - np.array(self.crop[:2], dtype=np.float64)
        return np.asarray(points * self._scale(), dtype=np.float32)

    def to_frame(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Network coordinates [..., 2] back to frame px, float64; inverse of `to_network`."""
        points = np.asarray(xy, dtype=np.float64) / self._scale()
        return np.asarray(points + np.array(self.crop[:2], dtype=np.float64))


def frame_geometry(
    family: Family,
    height: int,
    width: int,
    crop: tuple[int, int, int, int] | None = None,
    input_size: int | None = None,
    low_res: int | None = None,
) -> FrameGeometry:
    """The geometry of frames of one size. The last few are remembered; building takes a few ms.

    Args:
        family: names the resize rule and the network's sizes.
        height, width: of the frame, in px, 16 to 4096 each.
        crop: (x0, y0, x1, y1) in whole frame px, x1 and y1 exclusive; the whole frame if None.
            The crop is cut out first, so nothing outside it bleeds into the resize.
        input_size: side of the network input, if not the family's (small models).
        low_res: side of the low-res logits; 4 samples per token of the family if None.

    Raises:
        FrameError: the size or the crop cannot be served; the message says why.
    """
    height, width = _side(height, "height"), _side(width, "width")
    size = family.input_size if input_size is None else input_size
    logits = size // family.stride * LOW_RES_PER_TOKEN if low_res is None else low_res
    return _build(family, height, width, _checked_crop(crop, height, width), size, logits)


@lru_cache(maxsize=4)
def _build(
    family: Family, height: int, width: int, crop: Crop, size: int, low_res: int
) -> FrameGeometry:
    x0, y0, x1, y1 = crop
    valid_h, valid_w = _valid_size(family, y1 - y0, x1 - x0, size)
    # The square that logits are enlarged to keeps its ratio to the network input.
    square = family.upscale_size * size // family.input_size
    return FrameGeometry(
        height=height,
        width=width,
        crop=crop,
        valid=(valid_h, valid_w),
        rows_first=vertical_pass_first((y1 - y0, x1 - x0), (valid_h, valid_w)),
        rows=_resize_planes(family, (valid_h, size), (y0, y1, height)),
        cols=_resize_planes(family, (valid_w, size), (x0, x1, width)),
        valid_rows=_frozen(np.arange(size) < valid_h),
        valid_cols=_frozen(np.arange(size) < valid_w),
        mask_rows=_mask_matrix(low_res, square, valid_h * square // size, (y0, y1, height)),
        mask_cols=_mask_matrix(low_res, square, valid_w * square // size, (x0, x1, width)),
    )


def vertical_pass_first(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether Pillow (13.0 and later) starts with the vertical pass; both sizes are (H, W).

    It does so where that saves work. Earlier versions always start with the horizontal pass, which
    can differ by one grey level, because each pass rounds.
    """
    saved = size[0] - target[0]
    return saved > 0 and saved > 2 * (size[1] - target[1])


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
    fixed = (weights / total * 2**PIL_BITS + 0.5).astype(np.int64)
    result = np.zeros((out, size), dtype=np.int64)
    tap_index, row = np.nonzero(fixed)
    result[row, first[row] + tap_index] = fixed[tap_index, row]
    return result


def split_planes(coefficients: NDArray[np.int64]) -> NDArray[np.float32]:
    """Fixed-point coefficients [out, size] as two exact float32 planes.

    Returns:
        float32 [2, out, size], `coefficients == 2**11 * planes[0] + planes[1]`, with
        0 <= planes[0] <= 2**11 and |planes[1]| <= 2**10: 11 significant bits, so TF32 and float16
        hold them, too.

    Raises:
        FrameError: a row has so many coefficients that a sum over uint8 values, in some order of
            addition, could reach 2**24 (possible only when shrinking more than 31 times).
    """
    high = (coefficients + 2 ** (PLANE_BITS - 1)) >> PLANE_BITS
    low = coefficients - (high << PLANE_BITS)
    # The extremes of all partial sums: all terms of one sign at full brightness, none of the other.
    above = 255 * int(np.maximum(low, 0).sum(axis=1).max())
    below = 255 * int(np.maximum(-low, 0).sum(axis=1).max())
    if max(above, below) >= EXACT_LIMIT:
        raise FrameError(
            f"{coefficients.shape[1]} px cannot be resized to {coefficients.shape[0]} px exactly: "
            "that shrinks too far; crop the frame or make it smaller first"
        )
    return np.stack([high, low]).astype(np.float32)


def bilinear_matrix(out: int, size: int) -> NDArray[np.float64]:
    """`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` along one axis.

    Returns:
        float64 [out, size]; at most two entries per row, which sum to 1. No antialiasing.
    """
    return _interpolate(np.eye(size), out)


def _interpolate(rows: NDArray[np.float64], out: int) -> NDArray[np.float64]:
    """`bilinear_matrix(out, len(rows)) @ rows`, without the zeros."""
    size = len(rows)
    source = np.maximum((np.arange(out) + 0.5) * (size / out) - 0.5, 0.0)
    left = np.minimum(source.astype(np.int64), size - 1)
    right = np.minimum(left + 1, size - 1)
    weight = (source - left)[:, None]
    result: NDArray[np.float64] = (1.0 - weight) * rows[left] + weight * rows[right]
    return result


def resize_exact(frame: NDArray[np.uint8], geometry: FrameGeometry) -> NDArray[np.uint8]:
    """Crop, resize and pad a frame; the oracle of what the encoder graph computes first.

    Args:
        frame: uint8 [H, W] or [H, W, C].
        geometry: of a family with "pil" rounding.

    Returns:
        uint8 [S, S] or [S, S, C]: exactly what PIL makes of the crop, zero on padding.

    Raises:
        FrameError: the frame is not of the geometry's size.
    """
    if frame.shape[:2] != (geometry.height, geometry.width) or frame.dtype != np.uint8:
        raise FrameError(
            f"a {frame.dtype} frame of shape {list(frame.shape)} does not fit the geometry for "
            f"uint8 [{geometry.height}, {geometry.width}]; make a geometry for this frame size"
        )
    planar = np.moveaxis(np.atleast_3d(frame), 2, 0).astype(np.float32)
    rows, cols = geometry.rows[:, None], geometry.cols.transpose(0, 2, 1)[:, None]
    if geometry.rows_first:
        small = _recombine(_recombine(rows @ planar) @ cols)
    else:
        small = _recombine(rows @ _recombine(planar @ cols))
    result = np.ascontiguousarray(np.moveaxis(small, 0, 2).astype(np.uint8))
    return result.reshape(result.shape[:2] + frame.shape[2:])


def mask_logits(low_res: NDArray[np.float32], geometry: FrameGeometry) -> NDArray[np.float32]:
    """Low-res logits at frame size; the oracle of what the decoder graph computes last.

    Args:
        low_res: float32 [..., L, L].

    Returns:
        float32 [..., H, W]; zero outside the crop. A mask is where this is above the threshold.
    """
    result = geometry.mask_rows @ low_res @ geometry.mask_cols.T
    return np.asarray(result, dtype=np.float32)


def _recombine(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    """One rounded pass from its two partial products [2, ...]; see the module's formula.

    Nothing is clipped: bilinear rows are not negative and sum to 2**22 up to rounding, so the
    result is within 0..255.
    """
    carry = np.floor(sums[1] / PLANE)
    half = PLANE / 2
    return np.asarray(np.floor((sums[0] + carry + half) / PLANE), dtype=np.float32)


def _resize_planes(
    family: Family, target: tuple[int, int], span: tuple[int, int, int]
) -> NDArray[np.float32]:
    """[planes, S, side]: samples start..stop of an axis onto the first `valid` of S samples."""
    valid, size = target
    start, stop, side = span
    if family.interpolation != "pil":
        raise NotSupportedError(
            f"family '{family.name}' wants the interpolation '{family.interpolation}', which this "
            "version of samedge does not have; use a newer one"
        )
    planes = split_planes(pil_coefficients(valid, stop - start))
    result = np.zeros((planes.shape[0], size, side), dtype=np.float32)
    result[:, :valid, start:stop] = planes
    return _frozen(result)


def _mask_matrix(
    low_res: int, square: int, valid: int, span: tuple[int, int, int]
) -> NDArray[np.float32]:
    """[side, L]: L -> square, its first `valid` samples -> start..stop of the frame's axis."""
    start, stop, side = span
    result = np.zeros((side, low_res))
    enlarged = bilinear_matrix(square, low_res)[:valid]
    result[start:stop] = _interpolate(enlarged, stop - start)
    return _frozen(result)


def _valid_size(family: Family, height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of the resized crop inside the square network input."""
    if family.resize == "stretch":
        return size, size
    scale = size * 1.0 / max(height, width)  # segment_anything: ResizeLongestSide
    valid = int(height * scale + 0.5), int(width * scale + 0.5)
    if min(valid) < 1:
        raise FrameError(
            f"{width} x {height} px is too long and narrow for a {size} px network: its short "
            "side would vanish; give a crop that is closer to a square"
        )
    return valid


def _side(value: Any, name: str) -> int:
    """A frame side as int, checked."""
    try:
        side = index(value)
    except TypeError:
        raise FrameError(f"frame {name} must be a whole number of px, not {value!r}") from None
    if not MIN_SIDE <= side <= MAX_SIDE:
        remedy = "enlarge" if side < MIN_SIDE else "shrink or cut"
        raise FrameError(
            f"frame {name} is {side} px; frames from {MIN_SIDE} x {MIN_SIDE} to "
            f"{MAX_SIDE} x {MAX_SIDE} px are supported: {remedy} it first"
        )
    return side


def _checked_crop(crop: Any, height: int, width: int) -> Crop:
    """A crop as four ints inside the frame; the whole frame for None."""
    if crop is None:
        return 0, 0, width, height
    try:
        x0, y0, x1, y1 = (index(v) for v in crop)
    except (TypeError, ValueError):
        raise FrameError(
            f"a crop is (x0, y0, x1, y1) in whole px of the frame, not {crop!r}"
        ) from None
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise FrameError(
            f"the crop x {x0}..{x1}, y {y0}..{y1} is empty or not inside the frame of "
            f"{width} x {height} px"
        )
    if x1 - x0 < MIN_SIDE or y1 - y0 < MIN_SIDE:
        raise FrameError(
            f"the crop is {x1 - x0} x {y1 - y0} px; at least {MIN_SIDE} x {MIN_SIDE} px are needed"
        )
    return x0, y0, x1, y1


def _frozen(array: NDArray[Any]) -> NDArray[np.float32]:
    """A read-only float32 copy: geometries are shared between sessions."""
    result = np.ascontiguousarray(array, dtype=np.float32)
    result.setflags(write=False)
    return result
