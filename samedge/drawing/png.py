"""PNG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import OutputError
from samedge.files.whole import write_bytes


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 `[H, W]` or RGB `[H, W, 3]` as PNG, whole or not at all.

    Raises:
        OutputError: the disk is full, or the operating system refuses.
    """
    picture = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    good, data = cv2.imencode(".png", np.ascontiguousarray(picture))
    if not good:
        raise OutputError(f"cannot encode {path.name} as PNG")
    write_bytes(path, data.tobytes())
