"""What the encoder graph takes for one frame, and what it makes of it before the network.

`encoder_inputs` prepares pixels, colours and matrices; `network_input` is, in numpy, the same
arithmetic as the graph's, the oracle of every engine. numpy only.

Every resize is `rows @ frame @ cols^T` in float32. Where a family has two planes of coefficients,
`_resize_pil`, `_resize_cubic` and `samedge.geometry.area.resize_area` say how they make whole grey
levels; docs/geometry.md proves that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError
from samedge.families import Family
from samedge.geometry.area import resize_area
from samedge.geometry.filters import CUBIC_CENTRE, CUBIC_PART, CUBIC_SLACK, PLANE
from samedge.geometry.frame_geometry import FrameGeometry

GREY_BITS = 15  # fractional bits of OpenCV's 8-bit RGB to grey
RGB_TO_GREY = (9798, 19235, 3735)
LEVELS_16 = 257  # steps of a 16-bit grey level in one of 8 bits: 65535 becomes 255

Floats = NDArray[np.float32]


def colour_matrix(family: Family, channels: int, depth: int = 8) -> Floats:
    """The map from a frame's channels to the network's: `floor(frame @ matrix + 0.5)`.

    RGB becomes grey exactly as in OpenCV's `COLOR_RGB2GRAY` for uint8 (fixed point with 15 bits);
    grey is repeated for networks that want RGB. The two bytes of a 16-bit grey level, the lower one
    first, count as two channels and become that level, 0..65535.

    Args:
        family: says how many channels the network sees.
        channels: of the frame, 1 or 3 (RGB).
        depth: bits of a grey level, 8 or 16.

    Returns:
        float32 [channels, family.channels]; [2, family.channels] for 16 bits.

    Raises:
        FrameError: the frame has another number of channels, or 16 bits that the family cannot
            take.
    """
    if channels not in (1, 3):
        raise FrameError(f"a frame has 1 (grey) or 3 (RGB) channels, not {channels}")
    if depth != 8:
        _check_deep(family, channels, depth)
        return np.array([[1], [256]], np.float32).repeat(family.channels, axis=1)
    if channels == family.channels:
        return np.eye(channels, dtype=np.float32)
    if channels == 1:
        return np.ones((1, family.channels), np.float32)
    return np.array(RGB_TO_GREY, np.float32)[:, None] / np.float32(2**GREY_BITS)


def encoder_inputs(
    family: Family, geometry: FrameGeometry, channels: int, depth: int = 8
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Every input that an encoder graph may have, for frames of one size.

    A frame whose vertical pass comes first is handed over transposed, with its matrices swapped;
    the graph turns the result back (`rows_first`). 16-bit grey levels are handed over as two bytes,
    and the matrices bring them to 0..255. Whoever fills the frame does not see this.

    Args:
        family: of the bundle.
        geometry: of the frames.
        channels: of the frames, 1 or 3 (RGB).
        depth: bits of a grey level, 8 or 16 (grey frames of families that do not round).

    Returns:
        Name -> fresh, writable array; and a view of the input `frame`, to be filled with the
        pixels: [H, W, C], or [slices, H, W, C] for a family of volumes; uint8, or uint16 for 16
        bits.

    Raises:
        FrameError: see `colour_matrix`.
    """
    g = geometry
    colour = colour_matrix(family, channels, depth)
    rows, cols = (g.cols, g.rows) if g.rows_first else (g.rows, g.cols)
    slices = (family.slices,) if family.slices > 1 else ()
    pixels = np.zeros((*slices, rows.shape[2], cols.shape[2], len(colour)), np.uint8)
    inputs: dict[str, NDArray[Any]] = {
        "frame": pixels,
        "colour": colour,
        "rows": rows.copy(),
        "cols": _scaled(cols, depth),
        "rows_first": np.array([g.rows_first], np.uint8),
        "valid_rows": g.valid_rows.copy(),
        "valid_cols": g.valid_cols.copy(),
    }
    view = pixels if depth == 8 else pixels.view("<u2")
    return inputs, view.swapaxes(-3, -2) if g.rows_first else view


def to_network_colours(frame: NDArray[Any], family: Family) -> NDArray[Any]:
    """A frame in the network's colours.

    Args:
        frame: uint8 or uint16, [H, W] or [H, W, C]; with a leading axis of slices for a family of
            volumes.
        family: says how many channels the network sees.

    Returns:
        uint8 or uint16, as it came: [H, W, K] or [slices, H, W, K].

    Raises:
        FrameError: another dtype or shape; a 16-bit frame that the family cannot take.
    """
    leading = ["slices"] if family.slices > 1 else []
    if frame.ndim not in (2 + len(leading), 3 + len(leading)) or (
        leading and len(frame) != family.slices
    ):
        expected = [*(str(family.slices) for _ in leading), "H", "W"]
        raise FrameError(
            f"a frame of shape {list(frame.shape)} does not fit {family.title}; expected "
            f"[{', '.join(expected)}] or [{', '.join(expected)}, C]"
        )
    image = frame[..., None] if frame.ndim == 2 + len(leading) else frame
    if image.dtype == np.uint16:
        _check_deep(family, image.shape[-1], 16)
        return image.repeat(family.channels, axis=-1)
    if image.dtype != np.uint8:
        raise FrameError(f"a frame of {image.dtype} is not an image; expected uint8 or uint16")
    mapped = image.astype(np.float32) @ colour_matrix(family, image.shape[-1])
    return np.asarray(np.floor(mapped + np.float32(0.5)), dtype=np.uint8)


def resize_frame(frame: NDArray[Any], geometry: FrameGeometry, family: Family) -> NDArray[Any]:
    """Crop, resize and pad one frame (or one slice of a volume); grey levels, not normalised.

    Args:
        frame: uint8 [H, W] or [H, W, C]; uint16 for a family that does not round.
        geometry: of the frame, for this family.
        family: of the geometry.

    Returns:
        [S, S] or [S, S, C], zero on padding: uint8 for a family that rounds, else float32 with grey
        levels of the 8-bit scale (cubic filters may leave 0..255).

    Raises:
        FrameError: the frame is not of the geometry's size, or of another dtype.
    """
    allowed = ("uint8",) if family.rounded else ("uint8", "uint16")
    if frame.shape[:2] != (geometry.height, geometry.width) or str(frame.dtype) not in allowed:
        raise FrameError(
            f"a {frame.dtype} frame of shape {list(frame.shape)} does not fit the geometry for "
            f"{' or '.join(allowed)} [{geometry.height}, {geometry.width}]; make a geometry for "
            "this frame size"
        )
    planar = np.moveaxis(np.atleast_3d(frame), 2, 0).astype(np.float32)
    if family.interpolation == "pil":
        small = _resize_pil(planar, geometry)
    elif family.interpolation == "cubic":
        small = _resize_cubic(planar, geometry)
    elif family.interpolation == "area":
        small = resize_area(planar, geometry.rows, geometry.cols)
    else:
        cols = _scaled(geometry.cols, 8 * frame.dtype.itemsize)
        small = geometry.rows[0] @ (planar @ cols[0].T)
    dtype = np.uint8 if family.rounded else np.float32
    result = np.ascontiguousarray(np.moveaxis(small, 0, 2).astype(dtype))
    return result.reshape(result.shape[:2] + frame.shape[2:])


def network_input(frame: NDArray[Any], geometry: FrameGeometry, family: Family) -> Floats:
    """The tensor `network_input` that the encoder graph makes of a frame.

    Grey levels of the resized frame; for a padded family less the mean inside the valid area (which
    leaves padding at zero); for "min_max" brought to 0..1, there, too, inside the valid area only.
    Everything else that normalises is part of a folded network's weights.

    Args:
        frame: as for `to_network_colours`.
        geometry: of the frame, for this family.
        family: of the geometry.

    Returns:
        float32 [slices, K, S, S]; [1, K, S, S] for images.

    Raises:
        FrameError: see `to_network_colours` and `resize_frame`.
    """
    images = to_network_colours(frame, family)
    slices = images if family.slices > 1 else images[None]
    resized = np.stack([resize_frame(image, geometry, family) for image in slices])
    pixels = np.ascontiguousarray(np.moveaxis(resized, 3, 1), dtype=np.float32)
    valid = np.outer(geometry.valid_rows, geometry.valid_cols)
    if family.normalisation == "min_max":
        image = pixels[..., : geometry.valid[0], : geometry.valid[1]]
        low = image.min(axis=(1, 2, 3), keepdims=True)
        high = image.max(axis=(1, 2, 3), keepdims=True)
        pixels = (pixels - low * valid) / np.maximum(high - low, np.float32(1e-8))
    elif family.padded:
        mean = np.array(family.mean, np.float32).reshape(-1, 1, 1) * np.float32(family.value_scale)
        pixels = pixels - valid * mean
    return np.asarray(pixels, dtype=np.float32)


def _resize_pil(planar: Floats, geometry: FrameGeometry) -> Floats:
    """[K, H, W] -> [K, S, S]: two passes, each rounded to whole grey levels."""
    rows, cols = geometry.rows[:, None], geometry.cols.transpose(0, 2, 1)[:, None]
    if geometry.rows_first:
        return _recombine(_recombine(rows @ planar) @ cols)
    return _recombine(rows @ _recombine(planar @ cols))


def _recombine(sums: Floats) -> Floats:
    """One rounded pass from its two partial products [2, ...]; see docs/geometry.md.

    Nothing is clipped: bilinear rows are not negative and sum to 2**22 up to rounding, so the
    result is within 0..255.
    """
    carry = np.floor(sums[1] / PLANE)
    half = PLANE / 2
    return np.asarray(np.floor((sums[0] + carry + half) / PLANE), dtype=np.float32)


def _resize_cubic(planar: Floats, geometry: FrameGeometry) -> Floats:
    """[K, H, W] -> [K, S, S]: both passes, cut off to whole grey levels, clipped to the crop's own.

    After the first pass a value is taken apart into a whole grey level, a multiple of 1/512 and the
    rest, so that all large products of the second pass are exact.
    """
    half, part_size = np.float32(0.5), np.float32(CUBIC_PART)
    high, low = (planar - np.float32(CUBIC_CENTRE)) @ geometry.cols.transpose(0, 2, 1)[:, None]
    value = high + low
    whole = np.floor(value + half)
    part = np.floor(((high - whole) + low) * part_size + half) / part_size
    rest = ((high - whole) - part) + low
    large, small = geometry.rows
    sums = large @ whole
    level = np.floor(sums)
    fraction = (sums - level) + large @ part
    tail = (large @ rest + small @ value) + np.float32(CUBIC_SLACK)
    level = level + np.floor(fraction + tail) + np.float32(CUBIC_CENTRE)
    return np.asarray(np.clip(level, *_extremes(planar, geometry)))


def _extremes(planar: Floats, geometry: FrameGeometry) -> tuple[np.float32, np.float32]:
    """Darkest and brightest grey level in the crop, which is where a matrix is not all zero."""
    y, x = (np.flatnonzero(m.any(axis=(0, 1))) for m in (geometry.rows, geometry.cols))
    inside = planar[:, y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    return inside.min(), inside.max()


def _scaled(cols: Floats, depth: int) -> Floats:
    """A copy of `cols` that brings grey levels of this depth to 0..255."""
    return cols / np.float32(LEVELS_16) if depth == 16 else cols.copy()


def _check_deep(family: Family, channels: int, depth: int) -> None:
    """Refuse what has more bits than the family can take."""
    if depth != 16:
        raise FrameError(f"a grey level has 8 or 16 bits, not {depth}")
    if channels != 1:
        raise FrameError(f"16-bit frames are grey; this one has {channels} channels: convert it")
    if family.rounded:
        raise FrameError(
            f"{family.title} was trained on 8-bit frames and rounds to them; window the 16-bit "
            "frame to 0..255 as you would for display, then convert it to uint8"
        )
