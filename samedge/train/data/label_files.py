"""Label images, as they are stored: class numbers, masks, and pictures of masks.

A label is no picture: palettes are read as their indices, grey levels are never stretched, and what
a viewer would show differently from what is stored is refused.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import SourceError
from samedge.sources.frame import Warn, check_size
from samedge.sources.image_header import WHITE_IS_ZERO, ImageHeader
from samedge.sources.images import decoded, upright
from samedge.train.data.reading import read_image_bytes

Label = NDArray[np.uint8]
CLASS_NUMBERS = 32  # integers below are numbers of classes, not grey levels of a mask
_SHOWN = 6  # values that a note lists
_FULL = (255, 65535)  # white with 8 and with 16 bits


@dataclass
class StoredLabel:
    """What a label file holds.

    Attributes:
        values: `[H, W]`, integers or floats.
        name: for messages ("the label of Breast-BUSI/benign0001").
        lossy: JPEG, which changes values near borders.
        notes: what was decided while it was read.
    """

    values: NDArray[Any]
    name: str
    lossy: bool = False
    notes: list[str] = field(default_factory=list)


def read_label(path: Path, name: str, classes: int | None, warn: Warn) -> Label:
    """Read a label.

    Args:
        path: of the file.
        name: for messages: what it is, the set and the file ("label of Breast-BUSI/benign0001").
        classes: how many there are, with the background; None: it is a mask.
        warn: told what had to be decided.

    Returns:
        uint8 `[H, W]`, class numbers; 0 and 1 for a mask.

    Raises:
        SourceError: as `read_image_bytes`; values or colours that are no label; a class that is out
            of range.
    """
    stored = read_stored(path, name)
    label = mask_of(stored) if classes is None else _numbers(stored, classes)
    for note in stored.notes:
        warn(note)
    return label


def read_stored(path: Path, name: str) -> StoredLabel:
    """The values of a label file, whatever they mean; errors as `read_label`."""
    data, kind, header = read_image_bytes(path, name)
    stored = StoredLabel(np.empty(0), f"the {name}", kind == "JPEG")
    if header.pages > 1:
        what = "pictures (an animation)" if kind == "PNG" else "pages"
        stored.notes.append(f"{stored.name} has {header.pages} {what}; only the first one is used")
    raw, has_alpha = _raw(data, kind, header, stored.name)
    values = _one_channel(raw, has_alpha, stored)
    if values.dtype.kind not in "uifb" or not np.isfinite(values).all() or values.min() < 0:
        raise SourceError(
            f"{stored.name} has {_type(values)} pixels from {values.min()} to {values.max()}; "
            "expected class numbers or a mask, 0 (background) and above"
        )
    check_size(stored.name, values.shape[0], values.shape[1])
    stored.values = values
    return stored


def mask_of(stored: StoredLabel) -> Label:
    """The object of a mask: 1, and 0 around it.

    Masks of two values are taken as they are. Of more values, the object is what is above half of
    the range (JPEG, interpolated and anti-aliased masks), or all that is not 0 where they are
    numbers of classes. Everything but two values, 0 among them, adds a note.

    Raises:
        SourceError: a JPEG that is too dark for a mask.
    """
    values, name = stored.values, stored.name
    found = np.unique(values)
    top = found[-1]
    if top == 0:
        return np.zeros(values.shape, np.uint8)
    if stored.lossy and top < 128:
        raise SourceError(
            f"{name} is a JPEG whose largest value is {top}: JPEG keeps pictures of masks (0 and "
            "255), not class numbers; save it as PNG"
        )
    if len(found) == 1:
        stored.notes.append(f"{name} has the value {top} everywhere: all of it is the object")
        return np.ones(values.shape, np.uint8)
    if len(found) == 2:
        if found[0] != 0:
            stored.notes.append(f"{name} has the values {found[0]} and {top}: {top} is the object")
        return np.asarray(values == top, np.uint8)
    listed = ", ".join(f"{value:g}" for value in found[:_SHOWN])
    if len(found) > _SHOWN:
        listed = f"{listed}, ..., {top:g}"
    said = f"{name} has {len(found)} values instead of two ({listed})"
    if not stored.lossy and top < CLASS_NUMBERS and _whole(values):
        stored.notes.append(
            f"{said}: they are class numbers, and all above 0 are the object; name the classes to "
            "keep them apart"
        )
        return np.asarray(values > 0, np.uint8)
    half = next((full for full in _FULL if full / 2 < top <= full), top) / 2
    stored.notes.append(f"{said}: what is above half of the range ({half:g}) is the object")
    return np.asarray(values > half, np.uint8)


def _numbers(stored: StoredLabel, classes: int) -> Label:
    """Class numbers, as they are.

    Raises:
        SourceError: fractions, or numbers out of range.
    """
    if not _whole(stored.values):
        raise SourceError(
            f"{stored.name} has {_type(stored.values)} pixels with fractions; expected class "
            f"numbers, 0 to {classes - 1}. It was interpolated: resize labels with nearest "
            "neighbours"
        )
    _check_classes(stored.values, classes, stored.name)
    if stored.lossy and stored.values.any():
        stored.notes.append(
            f"{stored.name} is a JPEG, which changes class numbers along borders; PNG keeps them"
        )
    return stored.values.astype(np.uint8)


def _check_classes(values: NDArray[Any], classes: int, name: str) -> None:
    largest = int(values.max())
    if largest >= classes:
        count = int(np.count_nonzero(values >= classes))
        raise SourceError(
            f"{name.removeprefix('the label of ')}: the label has class {largest} ({count} px are "
            f"out of range); expected 0 (background) to {classes - 1}. If it is a picture of the "
            "mask (0 and 255), its set has 2 classes"
        )


def _raw(data: bytes, kind: str, header: ImageHeader, name: str) -> tuple[NDArray[Any], bool]:
    """Stored values `[H, W]` or `[H, W, C]`, upright, and whether the last channel is alpha."""
    mode, photometric, raw = _by_pillow(data)
    if kind == "TIFF" and photometric == WHITE_IS_ZERO:
        raise SourceError(
            f"{name} stores white as 0 (TIFF, WhiteIsZero), so that what is stored and what is "
            "shown are opposites; save it with black as 0"
        )
    if raw is None:
        raw = decoded(data)
    if raw is None:
        what = f" (mode {mode})" if mode else ""
        raise SourceError(f"{name} is a {kind} file{what} whose pixels cannot be decoded")
    if kind == "PNG" and raw.ndim == 2 and mode == "L" and data[24] < 8:
        raw = raw // (255 // (2 ** data[24] - 1))  # decoders spread 2 and 4 bits over 0..255
    alpha = raw.ndim == 3 and raw.shape[2] in (2, 4)
    if alpha and mode in ("CMYK", "LAB"):
        raise SourceError(f"{name} has {mode} colours; expected class numbers or a grey mask")
    turned: NDArray[Any] = upright(raw, header.orientation if kind != "TIFF" else 1)
    return turned, alpha


def _by_pillow(data: bytes) -> tuple[str, int | None, NDArray[Any] | None]:
    """Pillow's mode, TIFF's photometric interpretation, and the pixels of those kinds of file whose
    stored values cv2 does not give: palettes, single bits, TIFF and grey with alpha."""
    image_module = require("PIL.Image", extra="train", what="reading label images")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with image_module.open(io.BytesIO(data)) as image:
                mode = str(image.mode)
                photometric = image.tag_v2.get(262) if image.format == "TIFF" else None
                by_itself = mode in ("P", "1", "LA") or (mode == "RGBA" and image.format == "TIFF")
                return mode, photometric, np.asarray(image) if by_itself else None
        except Exception:  # whatever foreign bytes make Pillow raise: cv2 decides
            return "", None, None


def _one_channel(raw: NDArray[Any], has_alpha: bool, stored: StoredLabel) -> NDArray[Any]:
    """`[H, W]` of a label with colours or alpha, where they have a plain meaning.

    Raises:
        SourceError: the alpha channel and the colours say different things.
    """
    if raw.ndim == 2:
        return raw.astype(np.uint8) if raw.dtype == np.bool_ else raw
    if raw.dtype not in (np.uint8, np.uint16):
        raise SourceError(
            f"{stored.name} has {raw.dtype} pixels of {raw.shape[2]} channels; expected class "
            "numbers or a grey mask"
        )
    colours = raw[..., :-1] if has_alpha else raw
    values: NDArray[Any] = colours.max(axis=2)
    if (colours != colours[..., :1]).any():
        stored.notes.append(
            f"{stored.name} has colours; of each pixel the brightest channel counts"
        )
    if not has_alpha:
        return values
    alpha = raw[..., -1]
    white = np.iinfo(raw.dtype).max
    if (alpha == white).all():
        return values
    if values.min() == values.max():
        stored.notes.append(f"{stored.name} has one colour and an alpha channel, which is the mask")
        return alpha
    if values[alpha != white].any():
        raise SourceError(
            f"{stored.name} has an alpha channel, and colours where it is transparent: either "
            "could be the mask; save it without alpha"
        )
    return values  # transparent where it is 0 anyway


def _whole(values: NDArray[Any]) -> bool:
    """Whether all are whole numbers."""
    return values.dtype.kind != "f" or bool((values == np.floor(values)).all())


def _type(values: NDArray[Any]) -> str:
    return str(values.dtype)
