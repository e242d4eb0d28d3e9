"""Where the ultrasound image lies in a DICOM frame, and how large its pixels are."""

from __future__ import annotations

import math
from typing import Any

from samedge.sources.frame import Box, Warn

CENTIMETRE = 3  # PS3.3 C.8.5.5.1.15, physical units
TWO_D, TISSUE = 1, 1
# Some writers give the first pixel outside, some scale the tag with the picture and round.
SLACK_PX = 2

Spacing = tuple[float, float]


def region_and_spacing(
    dataset: Any, height: int, width: int, name: str, warn: Warn
) -> tuple[Box | None, Spacing | None]:
    """The region of the largest 2-D tissue image, clamped to the frame, and the pixel spacing.

    The tag stores the last pixel inclusively (PS3.3 C.8.5.5); here right and bottom are exclusive.
    A region that exceeds its frame was written for a larger picture that was scaled down later, so
    its spacing does not fit these pixels: it is left out rather than turned into wrong areas.

    Args:
        dataset: the DICOM header.
        height, width: of the frame, in px.
        name: file name for messages.
        warn: told when tags do not fit the frame.

    Returns:
        (x0, y0, x1, y1) in px or None; (row, column) spacing in mm or None.
    """
    region = _largest_region(dataset)
    if region is None:
        return None, _pixel_spacing(dataset)
    corners = [int(region.get(tag, -1)) for tag in _CORNERS]
    x0, y0, x1, y1 = corners[0], corners[1], corners[2] + 1, corners[3] + 1
    clamped = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    if clamped[0] >= clamped[2] or clamped[1] >= clamped[3]:
        warn(f"{name}: the ultrasound region {(x0, y0, x1, y1)} misses the frame; it is ignored")
        return None, None
    excess = max(x1 - width, y1 - height, -x0, -y0)
    if excess > 0:
        message = (
            f"{name}: the ultrasound region {(x0, y0, x1, y1)} exceeds the frame of "
            f"{width} x {height} px; it was cut to {clamped}"
        )
        if excess > SLACK_PX:
            message += ", and its pixel spacing is not used: it was written for a larger picture"
            warn(message)
            return clamped, None
        warn(message)
    return clamped, _region_spacing(region)


_CORNERS = (
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
)


def _largest_region(dataset: Any) -> Any:
    """The largest 2-D tissue region; any 2-D one, then any at all, if there is none."""
    regions = [r for r in dataset.get("SequenceOfUltrasoundRegions", None) or [] if _complete(r)]
    two_d = [r for r in regions if r.get("RegionSpatialFormat") == TWO_D]
    tissue = [r for r in two_d if r.get("RegionDataType") == TISSUE]
    return max(tissue or two_d or regions, key=_area, default=None)


def _complete(region: Any) -> bool:
    return all(isinstance(region.get(tag), int) for tag in _CORNERS)


def _area(region: Any) -> int:
    x0, y0, x1, y1 = (int(region.get(tag)) for tag in _CORNERS)
    return max(x1 - x0, 0) * max(y1 - y0, 0)


def _region_spacing(region: Any) -> Spacing | None:
    units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
    if units != (CENTIMETRE, CENTIMETRE):
        return None
    return _positive(
        10 * abs(float(region.get("PhysicalDeltaY", 0) or 0)),
        10 * abs(float(region.get("PhysicalDeltaX", 0) or 0)),
    )


def _pixel_spacing(dataset: Any) -> Spacing | None:
    values = dataset.get("PixelSpacing", None)
    if values is None or isinstance(values, str) or len(values) != 2:
        return None
    return _positive(float(values[0]), float(values[1]))


def _positive(row: float, column: float) -> Spacing | None:
    return (row, column) if all(math.isfinite(v) and v > 0 for v in (row, column)) else None
