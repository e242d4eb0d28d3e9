"""Functional groups: where enhanced multi-frame DICOM keeps what single frames say at top level."""

from __future__ import annotations

from typing import Any

from samedge.errors import NotSupportedError
from samedge.sources.dicom.planes import Place
from samedge.sources.frame import Warn

# Sequence -> tags in it that are used here; PS3.3 C.7.6.16.2.
MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
MEANING = ("RescaleSlope", "RescaleIntercept")  # a wrong one would be wrong values


def lift(header: Any, name: str, warn: Warn) -> None:
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


def places(header: Any) -> list[Place]:
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
