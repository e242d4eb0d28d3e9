"""One image file and one label file, as SAMUS reads them: grey, with OpenCV.

Messages name the set and the file, never the folder above it: paths may hold a patient's name.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.sources.foreign import quiet_cv2
from samedge.sources.frame import check_size
from samedge.sources.image_header import read_header
from samedge.sources.sniff import HEAD_BYTES, IMAGE_KINDS, sniff

Image = NDArray[np.uint8]


def read_pixels(path: Path, name: str, colour: bool = False) -> Image:
    """Decode an image file.

    Args:
        path: of the file.
        name: for messages: what it is, the set and the file ("image of Breast-BUSI/benign0001").
        colour: keep colours; else they become grey, as by OpenCV's IMREAD_GRAYSCALE.

    Returns:
        uint8 `[H, W]`, or `[H, W, 3]` RGB of a colour file with `colour`. 16 bits lose the lower 8.

    Raises:
        SourceError: missing, no image, damaged, or smaller or larger than any model takes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(f"the {name} is missing; expected {_place(path)}") from error
    except OSError as error:
        raise SourceError(f"cannot read the {name}: {error.strerror or error}") from error
    kind = sniff(data[:HEAD_BYTES])
    if kind not in IMAGE_KINDS:
        raise SourceError(f"the {name} is no image but {kind}; expected {', '.join(IMAGE_KINDS)}")
    problem = read_header(kind, data).problem
    flag = cv2.IMREAD_ANYCOLOR if colour else cv2.IMREAD_GRAYSCALE
    pixels = None if problem else _decode(data, flag)
    if pixels is None:
        raise SourceError(
            f"the {name} is a damaged {kind} file: {problem or 'its pixels cannot be decoded'}"
        )
    check_size(f"the {name}", pixels.shape[0], pixels.shape[1])
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])


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


def check_classes(label: Image, classes: int, name: str) -> None:
    """Every pixel must be of a known class.

    Args:
        label: uint8 `[H, W]`.
        classes: how many there are, with the background.
        name: of the sample.

    Raises:
        SourceError: a pixel is of none.
    """
    largest = int(label.max())
    if largest >= classes:
        count = int(np.count_nonzero(label >= classes))
        raise SourceError(
            f"{name}: the label has class {largest} ({count} px are out of range); expected 0 "
            f"(background) to {classes - 1}. If it is a picture of the mask (0 and 255), its set "
            "has 2 classes"
        )


def _decode(data: bytes, flag: int) -> NDArray[np.uint8] | None:
    with quiet_cv2():
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), flag)  # type: ignore[return-value]
        except (cv2.error, MemoryError):
            return None


def _place(path: Path) -> str:
    """`set/label/file.png`: enough to find it, and nothing of the folders above."""
    return "/".join(path.parts[-3:])
