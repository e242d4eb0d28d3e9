"""One image file of a data set, read as `samedge segment` reads it.

Messages name the set and the file, never the folder above it: paths may hold a patient's name.
"""

from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.sources.frame import Warn
from samedge.sources.image_header import ImageHeader
from samedge.sources.images import checked_header, decode_image

Image = NDArray[np.uint8]


def read_pixels(path: Path, name: str, warn: Warn) -> Image:
    """Decode an image file by the one reader of all commands, `samedge.sources.images`.

    Args:
        path: of the file.
        name: for messages: what it is, the set and the file ("image of Breast-BUSI/benign0001").
        warn: told when the pixels could not be taken as they are (16 bit, alpha, pages).

    Returns:
        uint8 `[H, W]`, or `[H, W, 3]` RGB.

    Raises:
        SourceError: as `read_image_bytes`, or of an unusual pixel type.
    """
    data, kind, header = read_image_bytes(path, name)
    return np.asarray(decode_image(data, kind, header, f"the {name}", warn), np.uint8)


def read_image_bytes(path: Path, name: str) -> tuple[bytes, str, ImageHeader]:
    """The bytes of an image file, its kind and its header.

    Raises:
        SourceError: missing, no image, damaged, or smaller or larger than any model takes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(f"the {name} is missing; expected {_place(path)}") from error
    except OSError as error:
        raise SourceError(f"cannot read the {name}: {error.strerror or error}") from error
    kind, header = checked_header(data, f"the {name}")
    return data, kind, header


def check_pair(image: Image, label: Image, name: str) -> None:
    """Image and label must be of one size.

    Raises:
        SourceError: they are not.
    """
    if image.shape[:2] != label.shape:
        raise SourceError(
            f"{name}: the image is {image.shape[1]} x {image.shape[0]} px, its label "
            f"{label.shape[1]} x {label.shape[0]} px; they must be of one size"
        )


def refuse_copy(image: Path, label: Path, name: str) -> None:
    """No image is its own label.

    Raises:
        SourceError: both are the same file, or copies of one.
    """
    try:
        same = image.stat().st_size == label.stat().st_size and filecmp.cmp(image, label, False)
    except OSError:
        return  # reading them says more
    if same:
        raise SourceError(
            f"{name}: image and label are the same picture; expected a label in {_place(label)}"
        )


def _place(path: Path) -> str:
    """`set/label/file.png`: enough to find it, and nothing of the folders above."""
    return "/".join(path.parts[-3:])
