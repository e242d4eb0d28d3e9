"""Where a recorded frame was: its spacing, its ultrasound image, and what its sender said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.sources.frame import Box, Origin, Region, Spacing

_MOST_REGIONS = 100
_LONGEST_NAME = 100
_TICKS = 1 << 64


@dataclass(frozen=True)
class Place:
    """As the fields of `Frame` that have these names."""

    spacing_mm: Spacing | None = None
    region: Box | None = None
    regions: tuple[Region, ...] = ()
    origin: Origin | None = None


def place_of(row: Mapping[str, Any], height: int, width: int) -> Place:
    """What a line of a recording says.

    Args:
        row: a delivery of `stream.jsonl`.
        height, width: of its frame, in px.

    Raises:
        ValueError, TypeError, KeyError: it is no such line.
    """
    regions = row.get("regions") or []
    if len(regions) > _MOST_REGIONS:
        raise ValueError
    spacings = [(one, _spacing(one["spacing_mm"])) for one in regions]
    return Place(
        _spacing(row.get("spacing_mm")),
        None if row.get("region") is None else _box(row["region"], height, width),
        tuple(Region(_box(one["box"], height, width), s) for one, s in spacings if s is not None),
        None if row.get("origin") is None else _origin(row["origin"]),
    )


def _spacing(values: Any) -> Spacing | None:
    """None also where it was no number: JSON has no NaN."""
    if values is None or None in values:
        return None
    row, column = (float(value) for value in values)
    if not (math.isfinite(row) and math.isfinite(column)):
        raise ValueError
    return row, column


def _box(values: Any, height: int, width: int) -> Box:
    limits = (width, height, width, height)
    x0, y0, x1, y1 = (_whole(v, most) for v, most in zip(values, limits, strict=True))
    if not (x0 < x1 and y0 < y1):
        raise ValueError
    return x0, y0, x1, y1


def _origin(value: Mapping[str, Any]) -> Origin:
    ticks, transform = value["transform_ticks"], value["transform"]
    device = value["device"]
    if not isinstance(device, str) or len(device) > _LONGEST_NAME:
        raise ValueError
    return Origin(
        _whole(value["ticks"], _TICKS - 1),
        _matrix(value["matrix"]),
        None if transform is None else _matrix(transform),
        None if ticks is None else _whole(ticks, _TICKS - 1),
        value["transform_valid"] is True,
        device,
    )


def _whole(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError
    return value


def _matrix(rows: Any) -> NDArray[np.float32]:
    """What was no number is NaN again."""
    values = [[math.nan if value is None else float(value) for value in row] for row in rows]
    matrix = np.array(values, np.float32)
    if matrix.shape != (4, 4):
        raise ValueError
    return matrix
