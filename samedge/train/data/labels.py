"""Label images at the network's sizes: nearest neighbours, by each family's own rule. numpy only.

SAMUS and Medical SAM Adapter shrink labels with Pillow, SAMed with `scipy.ndimage.zoom(order=0)`,
LiteMedSAM with OpenCV.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from samedge.families import Family
from samedge.geometry.filters import nearest_matrix

Label = NDArray[np.uint8]
OUTSIDE = -1  # scipy takes the last sample to lie outside, if rounding says so; it is background


def resize_label(label: Label, height: int, width: int, family: Family) -> Label:
    """A label of another size.

    Args:
        label: uint8 `[H, W]`, classes.
        height, width: wanted, in px.
        family: whose rule.

    Returns:
        uint8 `[height, width]`.
    """
    if label.shape == (height, width):
        return label
    rule = _RULES.get(family.interpolation, pil_places)
    rows, columns = rule(height, label.shape[0]), rule(width, label.shape[1])
    small = label[rows[:, None], columns]
    small[rows == OUTSIDE] = 0
    small[:, columns == OUTSIDE] = 0
    return small


def classes_in(label: Label) -> NDArray[np.int64]:
    """The classes of a label that any pixel has, in order, without the background."""
    return np.flatnonzero(np.bincount(label.ravel())[1:]) + 1


@lru_cache(maxsize=64)
def pil_places(out: int, size: int) -> NDArray[np.int64]:
    """Which sample each of `out` takes of `size`: Pillow's nearest neighbour, int64 `[out]`.

    Pillow adds up the step in float64 from sample to sample; where a position falls between two
    samples, the rounding of that sum decides.
    """
    step = size / out
    positions = np.add.accumulate(np.concatenate([[0.5 * step], np.full(out - 1, step)]))
    return np.minimum(positions.astype(np.int64), size - 1)


@lru_cache(maxsize=64)
def zoom_places(out: int, size: int) -> NDArray[np.int64]:
    """The same as `scipy.ndimage.zoom(order=0)` does it; `OUTSIDE` for a sample that is lost."""
    matrix = nearest_matrix(out, size)
    return np.where(matrix.any(axis=1), matrix.argmax(axis=1), OUTSIDE)


@lru_cache(maxsize=64)
def opencv_places(out: int, size: int) -> NDArray[np.int64]:
    """The same as OpenCV's `INTER_NEAREST` does it: the sample at each one's beginning."""
    step = 1 / (out / size)  # as it is computed there
    places = np.floor(np.arange(out) * step).astype(np.int64)
    return np.asarray(np.minimum(places, size - 1), np.int64)


_RULES = {"zoom": zoom_places, "area": opencv_places}
