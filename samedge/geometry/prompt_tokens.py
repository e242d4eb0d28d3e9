"""What the decoder graph takes for prompts: points, padding, box corners. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.families import Family
from samedge.geometry.frame_geometry import FrameGeometry

NOT_A_POINT, BACKGROUND, FOREGROUND, BOX_FIRST, BOX_SECOND = -1, 0, 1, 2, 3


def prompt_tokens(
    family: Family,
    geometry: FrameGeometry,
    points: NDArray[Any],
    labels: NDArray[Any],
    boxes: NDArray[Any] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Points, then padding where the family has it, then box corners.

    Args:
        family: says when a not-a-point token is appended.
        geometry: of the frame that the prompts are given in.
        points: [n, P, 2], (x, y) in frame px; P may be 0.
        labels: [n, P]; 1 inside the object, 0 outside.
        boxes: [n, 4], (x0, y0, x1, y1) in frame px, or None.

    Returns:
        coordinates float32 [n, T, 2] in network px, and labels int32 [n, T]: -1 padding, 0 and 1
        points, 2 and 3 box corners.
    """
    count = len(points)
    coords = [geometry.to_network(points)]
    tokens = [np.asarray(labels, np.int32)]
    if family.pad_point == "always" or (boxes is None and points.shape[1]):
        coords.append(np.zeros((count, 1, 2), np.float32))
        tokens.append(np.full((count, 1), NOT_A_POINT, np.int32))
    if boxes is not None:
        coords.append(geometry.boxes_to_network(boxes))
        tokens.append(np.tile(np.array([[BOX_FIRST, BOX_SECOND]], np.int32), (count, 1)))
    return np.concatenate(coords, axis=1), np.concatenate(tokens, axis=1)
