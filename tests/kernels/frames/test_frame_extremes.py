"""Extremes of crops and images against numpy, in the interpreter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from samedge.families import MEDSAM, SAMED, Family
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import network_input
from tests.kernels.frames.cases import compared, made
from tests.kernels.interpreted import interpreted


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize("family", [MEDSAM, SAMED], ids=lambda f: f.name)
def test_each_image_by_its_own_extremes(family: Family, slices: int) -> None:
    family = replace(family, normalisation="min_max", slices=slices)
    got, expected = interpreted(compared, family, (40, 50, 3), (5, 5, 45, 39), 32)
    assert [float(f(image)) for image in got for f in (torch.min, torch.max)] == [0, 1] * slices
    torch.testing.assert_close(got, expected, atol=0 if family.rounded else 2e-6, rtol=0)


def test_a_flat_image_becomes_zero() -> None:
    got, expected = interpreted(compared, MEDSAM, (40, 50, 1), None, 32, "flat")
    assert not got.any()
    assert not expected.any()


def step() -> tuple[torch.Tensor, torch.Tensor]:
    """A crop that is half dark, half bright, in a frame of noise; and numpy's answer."""
    family = replace(MEDSAM, normalisation="fixed", channels=1, mean=(0.0,))
    geometry = frame_geometry(family, 60, 50, (10, 8, 27, 25), 32)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50)).astype(np.uint8)
    pixels[8:25, 10:18], pixels[8:25, 18:27] = 60, 200
    expected = torch.from_numpy(network_input(pixels, geometry, family))
    return made(family, geometry, pixels, "fp32"), expected


def test_clipped_to_the_crop() -> None:
    """A cubic filter overshoots at the edge, on both sides; the frame's ends are farther away."""
    got, expected = interpreted(step)
    assert torch.equal(got, expected)
    assert (got.min(), got.max()) == (60, 200)
