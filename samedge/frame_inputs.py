"""What the encoder graph takes for one frame: pixels, colours, matrices. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError
from samedge.families import Family
from samedge.geometry import FrameGeometry

GREY_BITS = 15  # fractional bits of OpenCV's 8-bit RGB to grey
RGB_TO_GREY = (9798, 19235, 3735)


def colour_matrix(family: Family, channels: int) -> NDArray[np.float32]:
    """The map from a frame's channels to the network's: `floor(frame @ matrix + 0.5)`.

    RGB becomes grey exactly as in OpenCV's `COLOR_RGB2GRAY` for uint8 (fixed point with 15 bits);
    grey is repeated for networks that want RGB.

    Args:
        family: says how many channels the network sees.
        channels: of the frame, 1 or 3 (RGB).

    Returns:
        float32 [channels, family.channels].

    Raises:
        FrameError: the frame has another number of channels.
    """
    if channels not in (1, 3):
        raise FrameError(f"a frame has 1 (grey) or 3 (RGB) channels, not {channels}")
    if channels == family.channels:
        return np.eye(channels, dtype=np.float32)
    if channels == 1:
        return np.ones((1, family.channels), np.float32)
    return np.array(RGB_TO_GREY, np.float32)[:, None] / np.float32(2**GREY_BITS)


def encoder_inputs(
    family: Family, geometry: FrameGeometry, channels: int
) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Every input that an encoder graph may have, for frames of one size.

    A frame whose vertical pass comes first is handed over transposed, with its matrices swapped;
    the graph turns the result back (`rows_first`). Whoever fills the frame does not see this.

    Args:
        family: of the bundle.
        geometry: of the frames.
        channels: of the frames, 1 or 3 (RGB).

    Returns:
        Name -> fresh, writable array; and a uint8 [H, W, C] view of the input `frame`, to be filled
        with the pixels.
    """
    g = geometry
    rows, cols = (g.cols, g.rows) if g.rows_first else (g.rows, g.cols)
    pixels = np.zeros((rows.shape[2], cols.shape[2], channels), np.uint8)
    inputs: dict[str, NDArray[Any]] = {
        "frame": pixels,
        "colour": colour_matrix(family, channels),
        "rows": rows.copy(),
        "cols": cols.copy(),
        "rows_first": np.array([g.rows_first], np.uint8),
        "valid_rows": g.valid_rows.copy(),
        "valid_cols": g.valid_cols.copy(),
    }
    return inputs, pixels.transpose(1, 0, 2) if g.rows_first else pixels


def to_network_colours(frame: NDArray[np.uint8], family: Family) -> NDArray[np.uint8]:
    """A frame [H, W] or [H, W, C] in the network's colours, uint8 [H, W, K]."""
    image = frame[:, :, None] if frame.ndim == 2 else frame
    mapped = image.astype(np.float32) @ colour_matrix(family, image.shape[2])
    return np.asarray(np.floor(mapped + np.float32(0.5)), dtype=np.uint8)
