"""How sure the network is of each pixel of a live frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samedge.families import Family
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.mask_values import mask_values, sigmoid
from samedge.stream.live.item import LiveFrame, Status


def probability_map(
    item: LiveFrame, family: Family, input_size: int | None, doubtful: bool = False
) -> NDArray[np.uint8]:
    """Probability that a pixel belongs to an object, the largest of all objects.

    It is the sigmoid of the logits that masks are cut from, so 127.5 is where a mask of threshold 0
    ends; 0 outside the crop, and where there is no mask to be shown.

    Args:
        item: the frame.
        family, input_size: of the model (`About`).
        doubtful: objects that did not pass the gate as well.

    Returns:
        uint8 `[H, W]`, 255 times the probability.
    """
    frame = item.frame
    found = np.zeros((frame.height, frame.width), np.float32)
    for one in item.objects:
        if one.mask is None or one.logits is None or not (doubtful or one.status is Status.FOUND):
            continue
        low_res = one.logits.shape[-1]
        geometry = frame_geometry(family, frame.height, frame.width, item.crop, input_size, low_res)
        values = mask_values(one.logits, geometry, family)
        if family.mask_values != "probability":
            values = sigmoid(values)
        x0, y0, x1, y1 = geometry.crop
        part = found[y0:y1, x0:x1]
        np.maximum(part, values[y0:y1, x0:x1], out=part)
    return np.asarray(np.round(found * 255), np.uint8)
