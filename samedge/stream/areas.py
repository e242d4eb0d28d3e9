"""How large a mask is in mm2: by the calibrated region that holds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samedge.sources.frame import Frame, Region, Spacing

# Share of a mask's pixels that may lie outside: the borders of regions are drawn roughly.
OUTSIDE = 0.01
SAME = 1e-3  # relative difference of spacings that mean the same


def mask_area_mm2(frame: Frame, mask: NDArray[np.uint8], area_px: int) -> float | None:
    """Area of a mask.

    Args:
        frame: where the mask was found.
        mask: `[H, W]`, 0 or 1.
        area_px: number of its pixels.

    Returns:
        mm2; None where no pixel spacing is known, or the mask lies outside all calibrated regions,
        or across some of unequal spacing.
    """
    spacing = mask_spacing_mm(frame, mask, area_px)
    return None if spacing is None else area_px * spacing[0] * spacing[1]


def mask_spacing_mm(frame: Frame, mask: NDArray[np.uint8], area_px: int) -> Spacing | None:
    """(row, column) distance of neighbouring pixels where a mask lies, in mm; arguments and what
    leaves it unknown as for `mask_area_mm2`."""
    if not frame.regions:
        return frame.spacing_mm
    return frame.regions[0].spacing_mm if not area_px else _spacing_at(frame, mask, area_px)


def _spacing_at(frame: Frame, mask: NDArray[np.uint8], area_px: int) -> Spacing | None:
    """The only spacing whose regions hold the mask."""
    fitting = []
    for group in _groups(frame.regions):
        inside = np.zeros(mask.shape, np.bool_)
        for region in group:
            x0, y0, x1, y1 = region.box
            inside[y0:y1, x0:x1] = True
        covered = int(np.count_nonzero(mask[inside]))
        if covered >= (1 - OUTSIDE) * area_px:
            fitting.append(group[0].spacing_mm)
    return fitting[0] if len(fitting) == 1 else None


def _groups(regions: tuple[Region, ...]) -> list[list[Region]]:
    """Regions of equal spacing together."""
    groups: list[list[Region]] = []
    for region in regions:
        same = (g for g in groups if np.allclose(g[0].spacing_mm, region.spacing_mm, rtol=SAME))
        group = next(same, None)
        if group is None:
            groups.append([region])
        else:
            group.append(region)
    return groups
