"""Masks over a frame in a matplotlib figure: for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.drawing.colours import colour_of
from samedge.drawing.overlay import draw_overlay
from samedge.errors import FrameError


def draw_figure(
    masks: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    size: tuple[int, ...],
    frame: NDArray[Any] | None,
    ax: Any,
) -> Any:
    """Draw masks, and a legend where there are several.

    Args:
        masks: uint8 `[H, W]`, not 0 inside.
        names: one per mask.
        size: (H, W), of the masks.
        frame: `[H, W, 1]` or `[H, W, 3]` RGB, uint8 or uint16; None: black.
        ax: matplotlib `Axes`; None: those of a new figure.

    Returns:
        the `Axes`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        FrameError: the frame has another size than the masks.
    """
    pyplot = require("matplotlib.pyplot", "plot", "Result.plot")
    from matplotlib.patches import Patch

    if frame is not None and frame.shape[:2] != size:
        raise FrameError(
            f"a frame of {frame.shape[1]} x {frame.shape[0]} px came for masks of {size[1]} x "
            f"{size[0]} px; give the frame that was segmented"
        )
    picture = draw_overlay(_eight_bits(frame, size), masks, scale=1)
    if ax is None:
        _, ax = pyplot.subplots()
    ax.imshow(picture, interpolation="nearest")
    ax.set_axis_off()
    if len(names) > 1:
        colours = ("#{:02x}{:02x}{:02x}".format(*colour_of(i)) for i in range(len(names)))
        patches = [Patch(color=c, label=name) for c, name in zip(colours, names, strict=True)]
        ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def _eight_bits(frame: NDArray[Any] | None, size: tuple[int, ...]) -> NDArray[np.uint8]:
    if frame is None:
        return np.zeros(size, np.uint8)
    pixels = frame[..., 0] if frame.shape[-1] == 1 else frame
    return np.asarray(np.round(pixels / 257) if pixels.dtype == np.uint16 else pixels, np.uint8)
