"""Where the ultrasound image lies in a DICOM frame, and how large its pixels are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from samedge.sources.frame import Box, Region, Spacing, Warn

CENTIMETRE = 3  # PS3.3 C.8.5.5.1.15, physical units
TWO_D, TISSUE = 1, 1
# Some writers give the first pixel outside, some scale the tag with the picture and round.
SLACK_PX = 2


@dataclass(frozen=True)
class Scales:
    """What a header says about the sizes of pixels.

    Attributes:
        region: (x0, y0, x1, y1) of the largest 2-D tissue image in px, or None.
        spacing_mm: (row, column) in that region, or in the whole frame where there is none.
        regions: all calibrated parts of the frame; empty if `spacing_mm` holds everywhere.
    """

    region: Box | None = None
    spacing_mm: Spacing | None = None
    regions: tuple[Region, ...] = ()

    @property
    def everywhere_mm(self) -> Spacing | None:
        """The spacing, if there is only one."""
        same = all(r.spacing_mm == self.spacing_mm for r in self.regions)
        return self.spacing_mm if same else None


def read_scales(dataset: Any, height: int, width: int, name: str, warn: Warn) -> Scales:
    """The region of the largest 2-D tissue image, clamped to the frame, and the pixel spacings.

    The tag stores the last pixel inclusively (PS3.3 C.8.5.5); here right and bottom are exclusive.
    Regions that exceed their frame were written for a larger picture that was scaled down later, so
    no spacing fits these pixels: it is left out rather than turned into wrong areas.

    Args:
        dataset: the DICOM header.
        height, width: of the frame, in px.
        name: file name for messages.
        warn: told when tags do not fit the frame.
    """
    regions = [r for r in dataset.get("SequenceOfUltrasoundRegions", None) or [] if _complete(r)]
    main = _largest(regions)
    if main is None:
        return Scales(None, _pixel_spacing(dataset))
    x0, y0, x1, y1 = _box(main)
    clamped = _clamped((x0, y0, x1, y1), height, width)
    if clamped is None:
        warn(f"{name}: the ultrasound region {(x0, y0, x1, y1)} misses the frame; it is ignored")
        return Scales()
    excess = _excess(main, height, width)
    scaled = any(_excess(r, height, width) > SLACK_PX for r in regions)
    if excess > 0 or scaled:
        message = f"{name}: the ultrasound regions exceed the frame of {width} x {height} px"
        if excess > 0:
            message = (
                f"{name}: the ultrasound region {(x0, y0, x1, y1)} exceeds the frame of "
                f"{width} x {height} px; it was cut to {clamped}"
            )
        if scaled:
            message += ", and its pixel spacing is not used: it was written for a larger picture"
        warn(message)
        if scaled:
            return Scales(clamped)
    spacing = _region_spacing(main)
    boxed = [(_clamped(_box(r), height, width), _region_spacing(r)) for r in regions]
    return Scales(clamped, spacing, tuple(Region(b, s) for b, s in boxed if b and s))


def _box(region: Any) -> Box:
    x0, y0, x1, y1 = (int(region.get(tag, -1)) for tag in _CORNERS)
    return x0, y0, x1 + 1, y1 + 1


def _clamped(box: Box, height: int, width: int) -> Box | None:
    """The part inside the frame; None: there is none."""
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _excess(region: Any, height: int, width: int) -> int:
    x0, y0, x1, y1 = _box(region)
    return max(x1 - width, y1 - height, -x0, -y0)


_CORNERS = (
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
)


def _largest(regions: Sequence[Any]) -> Any:
    """The largest 2-D tissue region; any 2-D one, then any at all, if there is none."""
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
