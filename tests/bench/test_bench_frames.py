"""Footage for measurements."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from samedge.bench.frames import footage, speckle


def test_speckle_is_the_same_every_time() -> None:
    first, second = speckle(2), speckle(2)
    assert first[0].shape == (480, 640)
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[0] != first[1]).any()


def test_without_a_source() -> None:
    clip = footage()
    assert clip.point() == (320.0, 240.0)
    assert clip.frame(9) is clip.frame(1)
    assert "speckle" in clip.about


def test_images_of_a_folder(tmp_path: Path) -> None:
    for number in range(3):
        image = np.full((32, 48, 3), number, np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    clip = footage(tmp_path)
    assert len(clip.frames) == 3
    assert clip.frame(0).shape[:2] == (32, 48)
    assert "48 x 32 px" in clip.about
