"""Colours can be told apart, also by the colour-blind."""

from __future__ import annotations

import numpy as np
import pytest

from samedge.drawing.colours import PALETTE, colour_of

# G. Machado et al., 2009, severity 1; linear RGB.
SEEN_BY = {
    "all": np.eye(3),
    "protanopes": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopes": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
# B. Ottosson, "A perceptual color space for image processing", 2020.
TO_LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def oklab(viewer: str) -> np.ndarray:
    srgb = np.array(PALETTE) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SEEN_BY[viewer]), 0, 1)
    return np.asarray(np.cbrt(seen @ np.transpose(TO_LMS)) @ np.transpose(TO_LAB))


@pytest.mark.parametrize(
    ("viewer", "count", "least"),
    [("all", 8, 0.15), ("all", 12, 0.10), ("protanopes", 8, 0.10), ("deuteranopes", 12, 0.05)],
)
def test_distances(viewer: str, count: int, least: float) -> None:
    """A hundredth is about what can just be seen side by side."""
    lab = oklab(viewer)[:count]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 9 * np.eye(count)
    assert distances.min() > least


def test_they_stand_out_from_grey_and_black() -> None:
    lab = oklab("all")
    assert lab[:, 0].min() > 0.5
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 0.05


def test_they_repeat() -> None:
    assert colour_of(0) == colour_of(len(PALETTE)) == PALETTE[0]
