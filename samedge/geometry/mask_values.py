"""What the decoder graph makes of low-res logits, in numpy: values at frame size and decisions.

The counterpart of `samedge.geometry.network_input`, and the oracle of every engine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samedge.families import Family
from samedge.geometry.frame_geometry import FrameGeometry

CLASS_AXIS = -3  # of [..., K, H, W]


def mask_values(
    low_res: NDArray[np.float32], geometry: FrameGeometry, family: Family
) -> NDArray[np.float32]:
    """What decides on every pixel of the frame: logits, or probabilities where the family says so.

    Args:
        low_res: float32 [..., L, L], low-res logits.
        geometry: of the frame.
        family: of the geometry.

    Returns:
        float32 [..., H, W]; zero outside the crop.
    """
    values = np.asarray(low_res, dtype=np.float32)
    if family.mask_values == "probability":
        values = sigmoid(values)
    return np.asarray(geometry.mask_rows @ values @ geometry.mask_cols.T, dtype=np.float32)


def decide(values: NDArray[np.float32], family: Family) -> NDArray[np.uint8]:
    """Masks of `mask_values`.

    Args:
        values: float32 [..., H, W]; [..., K, H, W], one per class, for an exclusive family.
        family: has the threshold, or says that a pixel belongs to one class.

    Returns:
        uint8 of the same shape, 0 or 1. Outside the crop an exclusive family has the background.
    """
    if family.exclusive:
        classes = np.arange(values.shape[CLASS_AXIS])[:, None, None]
        return np.asarray(np.expand_dims(class_map(values), CLASS_AXIS) == classes, dtype=np.uint8)
    return np.asarray(values > np.float32(family.threshold), dtype=np.uint8)


def class_map(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Index of the largest of K classes, the first of equals.

    Args:
        values: float32 [..., K, H, W].

    Returns:
        uint8 [..., H, W]; outside the crop 0, the background.
    """
    return np.asarray(values.argmax(axis=CLASS_AXIS), dtype=np.uint8)


def decision_distance(values: NDArray[np.float32], family: Family) -> NDArray[np.float32]:
    """How far each pixel's decision is from changing, in units of a logit.

    For logits that is the distance to the threshold; for probabilities the same, by the slope of
    the sigmoid there (4 logits for a whole probability at 0.5); for an exclusive family the gap
    between the two largest classes, the same for all classes of a pixel.

    Args:
        values: as for `decide`.
        family: of the values.

    Returns:
        float32 of the same shape.
    """
    if family.exclusive:
        ordered = np.moveaxis(np.partition(values, -2, axis=CLASS_AXIS), CLASS_AXIS, 0)
        gap = np.expand_dims(ordered[-1] - ordered[-2], CLASS_AXIS)
        return np.broadcast_to(gap, values.shape)
    distance = np.abs(values - np.float32(family.threshold))
    if family.mask_values == "probability":
        distance = distance / np.float32(family.threshold * (1.0 - family.threshold))
    return np.asarray(distance, dtype=np.float32)


def dice(mask: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Overlap of two masks, 0 to 1: `2 |A and B| / (|A| + |B|)`; 1 if both are empty.

    Args:
        mask, other: of the same shape, 0 or 1.
    """
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(other))
    return 2.0 * int(np.count_nonzero(mask & other)) / total if total else 1.0


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """`1 / (1 + exp(-x))` without overflow."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits < 0, small, np.float32(1)) / (1 + small), dtype=np.float32)
