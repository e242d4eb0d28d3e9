"""Footage for measurements."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from samedge.bench.frames import Footage, footage, speckle
from samedge.families import AUTOSAMUS, MEDSAM, MSA_3D, SAM, SAMED, SAMUS


def test_speckle_is_the_same_every_time() -> None:
    first, second = speckle(2), speckle(2)
    assert first[0].shape == (480, 640)
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[0] != first[1]).any()


def test_without_a_source() -> None:
    clip = footage()
    assert clip.prompts(SAMUS) == {"points": [(320.0, 240.0)]}
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


def test_prompts_are_the_family_s_own() -> None:
    clip = Footage([np.zeros((40, 80), np.uint8)], (20, 0, 60, 40), "")
    assert clip.prompts(SAM) == clip.prompts(MSA_3D) == {"points": [(40, 20)]}
    assert clip.prompts(MEDSAM) == {"box": [30, 5, 50, 35]}
    assert clip.prompts(SAMED) == clip.prompts(AUTOSAMUS) == {}


def test_stacks_are_frames_in_order() -> None:
    clip = Footage([np.full((20, 20), n, np.uint8) for n in range(6)], None, "")
    assert clip.pixels(1, SAM) is clip.frame(1)
    assert clip.pixels(0, MSA_3D)[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert clip.pixels(1, MSA_3D)[:, 0, 0].tolist() == [4, 5, 0, 1]
