"""What folded and unfolded models take of a frame, for every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from samedge.families import FAMILIES, MEDSAM, MSA, MSA_3D, SAM, SAMED, SAMUS, Family
from samedge.fold.probes import eager_input, network_pixels
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import network_input, resize_frame, to_network_colours

SIZE = 64


def frame_of(family: Family) -> np.ndarray:
    slices = (family.slices,) if family.slices > 1 else ()
    return np.random.default_rng(0).integers(0, 256, (*slices, 50, 90, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_pixels_are_the_graphs_network_input(family: Family) -> None:
    frame, geometry = frame_of(family), frame_geometry(family, 50, 90, input_size=SIZE)
    pixels = network_pixels(frame, family, geometry)
    assert pixels.shape == (family.slices, family.channels, SIZE, SIZE)
    assert pixels.dtype == torch.float32
    np.testing.assert_array_equal(pixels.numpy(), network_input(frame, geometry, family))


@pytest.mark.parametrize("family", [SAM, MSA, SAMED, SAMUS])
def test_eager_input_is_normalised(family: Family) -> None:
    """`(x / value_scale - mean) / std` in float64, padding zero."""
    frame, geometry = frame_of(family), frame_geometry(family, 50, 90, input_size=SIZE)
    got = eager_input(network_pixels(frame, family, geometry), family)
    levels = resize_frame(to_network_colours(frame, family), geometry, family)
    expected = (levels / family.value_scale - np.array(family.mean)) / np.array(family.std)
    expected *= np.outer(geometry.valid_rows, geometry.valid_cols)[:, :, None]
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got[0].permute(1, 2, 0), expected, rtol=1e-6, atol=1e-6)


def test_grey_volume_with_three_means_becomes_three_channels() -> None:
    geometry = frame_geometry(MSA_3D, 50, 90, input_size=SIZE)
    pixels = network_pixels(frame_of(MSA_3D), MSA_3D, geometry)
    got = eager_input(pixels, MSA_3D)
    assert got.shape == (4, 3, SIZE, SIZE)
    for channel, (mean, std) in enumerate(zip(MSA_3D.mean, MSA_3D.std, strict=True)):
        expected = (pixels[:, 0].double() / 255 - mean) / std
        torch.testing.assert_close(got[:, channel].double(), expected, rtol=1e-6, atol=1e-6)


def test_min_max_is_all_of_medsams_normalisation() -> None:
    geometry = frame_geometry(MEDSAM, 50, 90, input_size=SIZE)
    pixels = network_pixels(frame_of(MEDSAM), MEDSAM, geometry)
    assert (pixels.min(), pixels.max()) == (0, 1)
    assert torch.equal(eager_input(pixels, MEDSAM), pixels)
