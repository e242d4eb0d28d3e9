"""Where the slices of a DICOM volume lie, and in which order.

Single frames say it at the top of their header, enhanced multi-frame files in functional groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import NotSupportedError, SourceError
from samedge.sources.frame import Warn

SAME_DIRECTION = 1e-3  # largest difference of direction cosines
SAME_PLACE = 1e-3  # mm
EVEN = 0.1  # largest deviation from the median distance, as a share of it
# Sequence -> tags in it that are used here; PS3.3 C.7.6.16.2.
MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
MEANING = ("RescaleSlope", "RescaleIntercept")  # a wrong one would be wrong values

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """What a header says about one slice.

    Attributes:
        position: (x, y, z) of its first pixel in mm, or None.
        orientation: direction cosines of its rows and columns, or None.
        number: InstanceNumber, or None.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    number: int | None = None

    @classmethod
    def of(cls, dataset: Any) -> Place:
        """The place that a header, or an item of functional groups, tells."""
        number = dataset.get("InstanceNumber", None)
        return cls(
            _numbers(dataset.get("ImagePositionPatient", None), 3),
            _numbers(dataset.get("ImageOrientationPatient", None), 6),
            int(number) if isinstance(number, int) else None,
        )


def heights(places: Sequence[Place], name: str) -> Floats | None:
    """Distance of each slice along the normal that they share, in mm.

    Returns:
        float64 `[D]`; None if some slices do not say where they are.

    Raises:
        SourceError: the slices are not parallel.
    """
    directions = np.array([p.orientation or (math.nan,) * 6 for p in places], np.float64)
    positions = np.array([p.position or (math.nan,) * 3 for p in places], np.float64)
    normal = np.cross(directions[0, :3], directions[0, 3:])
    length = float(np.linalg.norm(normal))
    if not (np.isfinite(directions).all() and np.isfinite(positions).all()) or length < 0.5:
        return None
    turned = int((np.abs(directions - directions[0]).max(axis=1) > SAME_DIRECTION).sum())
    if turned:
        raise SourceError(
            f"{name}: {turned} of {len(places)} slices lie in another direction than the first (a "
            "localiser, or several scans in one); keep those of one volume"
        )
    return np.asarray(positions @ (normal / length), np.float64)


def in_order(places: Sequence[Place], name: str, warn: Warn) -> tuple[list[int], float | None]:
    """The order of the slices: along their normal, else by InstanceNumber, else as given.

    Args:
        places: of all slices.
        name: for messages.
        warn: told when slices seem to be missing, or the order is a guess.

    Returns:
        The places' numbers in order, and the distance of neighbours in mm (None if unknown).

    Raises:
        SourceError: not parallel, or several slices in one place.
    """
    along = heights(places, name)
    if along is not None:
        order = [int(i) for i in np.argsort(along, kind="stable")]
        return order, distance(along[order], name, warn)
    numbers = [p.number for p in places]
    known = [n for n in numbers if n is not None]
    if len(known) < len(numbers) or len(set(known)) < len(known):
        warn(
            f"{name}: the slices say neither where they are nor which number they have; they were "
            "taken in the order of their file names"
        )
        return list(range(len(places))), None
    missing = max(known) - min(known) + 1 - len(known)
    if missing:
        warn(f"{name}: {missing} numbers are missing among the slices; some may not be there")
    return [int(i) for i in np.argsort(known, kind="stable")], None


def distance(along: Floats, name: str, warn: Warn) -> float | None:
    """Distance of neighbouring slices in mm, from heights in order; None if it is not even.

    Raises:
        SourceError: several slices in one place.
    """
    gaps = np.abs(np.diff(along))
    if not len(gaps):
        return None
    double = int((gaps < SAME_PLACE).sum())
    if double:
        raise SourceError(
            f"{name}: {double} slices lie where another one lies already (phases, echoes or "
            "repeats of one scan); keep those of one volume"
        )
    middle = float(np.median(gaps))
    if float(np.abs(gaps - middle).max()) > EVEN * middle:
        warn(
            f"{name}: the distance between slices runs from {gaps.min():.3g} to {gaps.max():.3g} "
            "mm; slices may be missing, so no volumes in mm3 are given"
        )
        return None
    return middle


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers of a multi-valued tag."""
    if value is None or isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        return None
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def lift_shared_tags(header: Any, name: str, warn: Warn) -> None:
    """Copy what is the same for all frames to the top level of `header`, where readers look.

    Raises:
        NotSupportedError: the frames have rescale tags of their own.
    """
    for sequence, tags in MACROS.items():
        for tag in tags:
            if tag not in header and (values := _values(header, sequence, tag)):
                if any(v != values[0] for v in values[1:]):
                    _differ(tag, name, warn)
                setattr(header, tag, values[0])


def _differ(tag: str, name: str, warn: Warn) -> None:
    if tag in MEANING:
        raise NotSupportedError(
            f"{name}: each frame has rescale values of its own; convert the file to single frames "
            "(for instance with dcm4che's emf2sf)"
        )
    warn(f"{name}: the frames differ in {tag}; that of the first is used for all")


def frame_places(header: Any) -> list[Place]:
    """Where each frame lies; empty if the file does not say."""
    positions = _values(header, "PlanePositionSequence", "ImagePositionPatient")
    directions = _values(header, "PlaneOrientationSequence", "ImageOrientationPatient")
    if not directions or len(positions) < 2:
        return []
    directions = directions * len(positions) if len(directions) == 1 else directions
    found = []
    for position, direction in zip(positions, directions, strict=False):
        found.append(
            Place.of({"ImagePositionPatient": position, "ImageOrientationPatient": direction})
        )
    return found


def _values(header: Any, sequence: str, tag: str) -> list[Any]:
    """One value if the frames share it, else one of each frame; empty if there is none."""
    shared = _item(header, "SharedFunctionalGroupsSequence")
    item = None if shared is None else _item(shared, sequence)
    if item is not None and tag in item:
        return [item.get(tag)]
    frames = header.get("PerFrameFunctionalGroupsSequence", None) or []
    items = [_item(frame, sequence) for frame in frames]
    return [i.get(tag) for i in items if i is not None and tag in i]


def _item(dataset: Any, sequence: str) -> Any:
    """The only item of a sequence, or None."""
    items = dataset.get(sequence, None)
    return items[0] if items else None
