"""Crop, resize, pad and the way back as small matrices; the only place that knows resize rules.

Every step between a frame and the network is a separable linear map, `out = R X C^T`, and so is
every step from the low-res logits back to the frame. A `FrameGeometry` holds these matrices for
one frame size, one crop and one family; the graphs of a bundle take them as inputs, so one engine
serves all frame sizes.

The filters are in `samedge.geometry.filters`. Families whose resized frames have whole grey levels
get two planes of coefficients per matrix, from which float32 arithmetic gives the very grey levels
of the library that the family was trained with; the others get one plane of plain coefficients. How
the planes are put together is written down in `samedge.geometry.network_input`, and why in
docs/geometry.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samedge.errors import FrameError, NotSupportedError
from samedge.families import Family
from samedge.files.limits import FRAME_SIDE
from samedge.geometry.area import area_planes
from samedge.geometry.filters import (
    Matrix,
    antialias_matrix,
    bilinear_matrix,
    cubic_matrix,
    interpolated,
    nearest_matrix,
    pil_coefficients,
    spline_product,
    split_cubic,
    split_planes,
    zoom_matrix,
)
from samedge.geometry.recent import Recent

MIN_SIDE = 16
MAX_SIDE = FRAME_SIDE.most
LOW_RES_PER_TOKEN = 4  # the mask decoder enlarges the token grid twice by 2

# Interpolation -> matrix along one axis, in float64. "pil" has integers instead.
FILTERS: dict[str, Callable[[int, int], Matrix]] = {
    "cubic": cubic_matrix,
    "zoom": zoom_matrix,
    "bilinear": antialias_matrix,
}

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
        rows: float32 [P, S, H], vertical resize; P = 2 planes for families whose frames are rounded
            ("pil", "cubic", "area"), else 1. Zero rows on padding.
        cols: float32 [P, S, W], horizontal resize. Zero columns outside the crop.
        valid_rows, valid_cols: float32 [S], 1 inside the valid area and 0 on padding; a mean is
            subtracted as `x - mean * outer(valid_rows, valid_cols)`.
        mask_rows: float32 [H, L]; mask_cols: float32 [W, L]. Logits at frame size are
            `mask_rows @ low_res @ mask_cols.T`; zero outside the crop.
        whole_boxes: box corners are cut off to whole px of the network input.
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
    whole_boxes: bool = False

    @property
    def nbytes(self) -> int:
        """Memory of the matrices, in bytes."""
        matrices = self.rows, self.cols, self.mask_rows, self.mask_cols
        return sum(matrix.nbytes for matrix in matrices)

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

    def boxes_to_network(self, boxes: ArrayLike) -> NDArray[np.float32]:
        """Boxes in frame px to their corners in network px.

        Args:
            boxes: [n, 4], (x0, y0, x1, y1) in frame px.

        Returns:
            float32 [n, 2, 2], two corners (x, y) per box.
        """
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, 2)
        if not self.whole_boxes:
            return self.to_network(corners)
        x0, y0, x1, y1 = self.crop
        scale = self.input_size / max(x1 - x0, y1 - y0)
        return np.trunc((corners - np.array([x0, y0], np.float64)) * scale).astype(np.float32)

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
    inside = checked_crop(crop, height, width)
    size = family.input_size if input_size is None else input_size
    logits = size // family.stride * LOW_RES_PER_TOKEN if low_res is None else low_res
    return geometry_of_crop(family, index(height), index(width), inside, size, logits)


# Shared by all sessions. The matrices of one frame of 4096 x 4096 px are 75 MB.
_REMEMBERED: Recent[FrameGeometry] = Recent(4, 128 << 20)


def geometry_of_crop(
    family: Family, height: int, width: int, crop: Crop, size: int, low_res: int
) -> FrameGeometry:
    """`frame_geometry` for a crop that `checked_crop` gave for these frames, and given sizes."""
    key = (family, height, width, crop, size, low_res)
    return _REMEMBERED.get(key, lambda: _geometry(*key))


def _geometry(
    family: Family, height: int, width: int, crop: Crop, size: int, low_res: int
) -> FrameGeometry:
    x0, y0, x1, y1 = crop
    valid_h, valid_w = valid_size(family, y1 - y0, x1 - x0, size)
    # Two squares that keep their ratio to the network input.
    square = family.upscale_size * size // family.input_size
    via = max(family.via * size // family.input_size, 1)
    tall = vertical_pass_first((y1 - y0, x1 - x0), (valid_h, valid_w))
    nearest = family.mask_interpolation == "nearest"
    enlarged = bilinear_matrix(square, low_res)
    rows, cols = _resize_planes(family, (valid_h, valid_w), via, (y1 - y0, x1 - x0))
    return FrameGeometry(
        height=height,
        width=width,
        crop=crop,
        valid=(valid_h, valid_w),
        rows_first=tall and family.interpolation == "pil",
        rows=_placed(rows, size, (y0, y1, height)),
        cols=_placed(cols, size, (x0, x1, width)),
        valid_rows=_frozen(np.arange(size) < valid_h),
        valid_cols=_frozen(np.arange(size) < valid_w),
        mask_rows=_mask_matrix(enlarged[: valid_h * square // size], nearest, (y0, y1, height)),
        mask_cols=_mask_matrix(enlarged[: valid_w * square // size], nearest, (x0, x1, width)),
        whole_boxes=family.whole_boxes,
    )


def vertical_pass_first(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether Pillow (13.0 and later) starts with the vertical pass; both sizes are (H, W).

    It does so where that saves work. Earlier versions always start with the horizontal pass, which
    can differ by one grey level, because each pass rounds.
    """
    saved = size[0] - target[0]
    return saved > 0 and saved > 2 * (size[1] - target[1])


def _resize_planes(
    family: Family, valid: tuple[int, int], via: int, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Planes of the rows and of the columns; (height, width) of a crop before and after the resize
    are `size` and `valid`."""
    if family.interpolation == "area" and not family.via:
        return area_planes(size, valid)
    rows, cols = (_planes(family, *axis) for axis in zip(valid, (via, via), size, strict=True))
    return rows, cols


def _placed(planes: NDArray[Any], size: int, span: tuple[int, int, int]) -> NDArray[np.float32]:
    """[planes, S, side]: samples start..stop of an axis onto the first of S samples."""
    start, stop, side = span
    result = np.zeros((planes.shape[0], size, side), dtype=np.float32)
    result[:, : planes.shape[1], start:stop] = planes
    return _frozen(result)


def _planes(family: Family, out: int, via: int, size: int) -> NDArray[Any]:
    """[planes, out, size] of the family's filter."""
    if family.interpolation == "pil" and not family.via:
        return split_planes(pil_coefficients(out, size))
    matrix_of = FILTERS.get(family.interpolation)
    if matrix_of is None or family.padded or (family.via and family.rounded):
        detour = f", via {family.via} px," if family.via else ""
        raise NotSupportedError(
            f"family '{family.name}' wants the resize rule '{family.resize}' with the "
            f"interpolation '{family.interpolation}'{detour} which this version of samedge does "
            "not have; use a newer one"
        )
    if family.via:
        return spline_product(matrix_of(out, via), matrix_of(via, size))[None]
    matrix = matrix_of(out, size)
    return split_cubic(matrix) if family.rounded else matrix[None]


def _mask_matrix(
    enlarged: Matrix, nearest: bool, span: tuple[int, int, int]
) -> NDArray[np.float32]:
    """[side, L]: enlarged logits [valid, L] -> start..stop of the frame's axis."""
    start, stop, side = span
    result = np.zeros((side, enlarged.shape[1]))
    if nearest:
        result[start:stop] = nearest_matrix(stop - start, len(enlarged)) @ enlarged
    else:
        result[start:stop] = interpolated(enlarged, stop - start)
    return _frozen(result)


def valid_size(family: Family, height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of a resized crop inside the square network input, all in px.

    Raises:
        FrameError: one side would vanish.
    """
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


def checked_crop(crop: Any, height: int, width: int) -> Crop:
    """A crop as four ints inside the frame; the whole frame for None.

    Args:
        crop: (x0, y0, x1, y1) in whole frame px, or None.
        height, width: of the frame, in px.

    Raises:
        FrameError: no frame of this size can be served, or it has no such crop.
    """
    height, width = _side(height, "height"), _side(width, "width")
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
