"""PNG files."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from samedge.drawing.png import write_png


def test_png_files_are_rgb(tmp_path: Path) -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[..., 0] = 200
    write_png(tmp_path / "a.png", picture)
    assert cv2.imread(str(tmp_path / "a.png"))[0, 0].tolist() == [0, 0, 200]
    assert os.listdir(tmp_path) == ["a.png"]
