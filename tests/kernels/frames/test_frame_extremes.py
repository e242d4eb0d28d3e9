"""Extremes of crops and images against numpy, in the interpreter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from samedge.families import MEDSAM, SAMED, Family
from tests.kernels.frames.cases import compared
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


def test_clipped_to_the_crop() -> None:
    """Not to the frame: its ends are darker and brighter than the crop."""
    family = replace(MEDSAM, normalisation="fixed")
    got, expected = interpreted(compared, family, (60, 50, 1), (10, 8, 27, 25), 32, "ramp")
    assert torch.equal(got, expected)
    assert got.min() > 0
    assert got.max() < 255
