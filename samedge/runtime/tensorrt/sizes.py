"""The sizes an engine is built for: of every named dimension in a manifest, from, usual, to.

One engine serves all frame sizes, so the ranges are wide; the usual size is what the builder tunes
for.
"""

from __future__ import annotations

from collections.abc import Sequence

from samedge.bundle import Bundle
from samedge.bundle.manifest import TensorEntry
from samedge.errors import NotSupportedError
from samedge.geometry.frame_geometry import MAX_SIDE, MIN_SIDE

Range = tuple[int, int, int]
Shape = tuple[int, ...]

# Name of a dimension -> smallest, usual and largest size.
RANGES: dict[str, Range] = {
    "height": (MIN_SIDE, 480, MAX_SIDE),
    "width": (MIN_SIDE, 640, MAX_SIDE),
    "frame_channels": (1, 1, 3),
    "objects": (1, 1, 16),
    "mask_prompts": (1, 1, 16),
    "points": (1, 2, 64),
}
MAX_ELEMENTS = 2**31 - 1  # of one tensor, in TensorRT


def ranges_for(bundle: Bundle, max_side: int = MAX_SIDE) -> dict[str, Range]:
    """`RANGES` for one bundle: with as many masks as its family gives, and no more objects than
    keep the largest mask tensor within what TensorRT can count.

    Args:
        bundle: open.
        max_side: largest side of a frame, in px.

    Returns:
        name of a dimension -> (smallest, usual, largest).
    """
    family = bundle.family
    most = max(len(family.mask_tokens(False)), len(family.multi_masks), 1)
    usual = len(family.mask_tokens(False))
    objects = max(1, min(RANGES["objects"][2], MAX_ELEMENTS // (most * max_side**2)))
    sides = {
        name: (low, min(usual, max_side), max_side)
        for name, (low, usual, _) in RANGES.items()
        if name in ("height", "width")
    }
    return {
        **RANGES,
        **sides,
        "objects": (1, 1, objects),
        "mask_prompts": (1, 1, objects),
        "masks": (1, usual, most),
    }


def profile_shapes(
    inputs: Sequence[TensorEntry], ranges: dict[str, Range]
) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Smallest, usual and largest shape of every input that has a named dimension.

    Args:
        inputs: of the graph, from the manifest.
        ranges: see `ranges_for`.

    Raises:
        NotSupportedError: a dimension has a name that is not known here.
    """
    shapes = {}
    for tensor in inputs:
        shape = tensor.shape
        unknown = [side for side in shape if isinstance(side, str) and side not in ranges]
        if unknown:
            raise NotSupportedError(
                f"the input '{tensor.name}' has a size '{unknown[0]}' that this version of "
                f"samedge has no range for; it knows: {', '.join(ranges)}. Export the bundle again "
                "with this version"
            )
        if any(isinstance(side, str) for side in shape):
            low, usual, high = (
                tuple(ranges[side][at] if isinstance(side, str) else int(side) for side in shape)
                for at in range(3)
            )
            shapes[tensor.name] = (low, usual, high)
    return shapes
