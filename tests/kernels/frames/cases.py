"""Frames through the kernels, and through numpy: what the tests of them share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from samedge.families import Family
from samedge.geometry.frame_geometry import Crop, FrameGeometry, frame_geometry
from samedge.geometry.network_input import encoder_inputs, network_input
from tests.geometry.frames import image
from tests.kernels.interpreted import Guarded

# What families that do not round may differ by: their float32 sums have another order.
PLAIN = 2e-4


def made(
    family: Family, geometry: FrameGeometry, pixels: np.ndarray, dtype: str, **changes: Any
) -> torch.Tensor:
    """What the kernels make of a frame; changes: of their inputs."""
    from samedge.kernels.frames.bands import bands, negligible
    from samedge.kernels.frames.frame import frame

    depth = 16 if pixels.dtype == np.uint16 else 8
    images = pixels[..., None] if pixels.ndim == 2 + (family.slices > 1) else pixels
    inputs, view = encoder_inputs(family, geometry, images.shape[-1], depth)
    view[:] = images
    inputs |= changes
    run = Guarded()
    given = {name: run.given(torch.from_numpy(array)) for name, array in inputs.items()}
    of = {name: bands(run, given[name], negligible(family)) for name in ("rows", "cols")}
    names = ("frame", "colour", "rows", "cols", "rows_first", "valid_rows", "valid_cols")
    out = frame(run, *(given[name] for name in names), of["rows"], of["cols"], family, dtype=dtype)
    return run.result(out)


def frame_of(family: Family, shape: tuple[int, int, int], pattern: str) -> np.ndarray:
    """uint8 [H, W], [H, W, C] or with slices in front."""
    if family.slices == 1:
        return image(pattern, *shape, seed=sum(shape))
    return np.stack([image(pattern, *shape, seed=i) for i in range(family.slices)])


def compared(
    family: Family,
    shape: tuple[int, int, int],
    crop: Crop | None,
    side: int,
    pattern: str = "noise",
    dtype: str = "fp32",
) -> tuple[torch.Tensor, torch.Tensor]:
    """The kernels' result, and numpy's."""
    geometry = frame_geometry(family, *shape[:2], crop, side)
    pixels = frame_of(family, shape, pattern)
    expected = torch.from_numpy(network_input(pixels, geometry, family))
    return made(family, geometry, pixels, dtype), expected
