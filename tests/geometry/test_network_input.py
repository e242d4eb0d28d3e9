"""Whole frames and volumes to the network's input, against what the original projects do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import resize

from samedge.errors import FrameError
from samedge.families import MEDSAM, MSA, MSA_3D, SAM, SAMED, SAMUS
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.network_input import (
    colour_matrix,
    encoder_inputs,
    network_input,
    resize_frame,
    to_network_colours,
)
from tests.geometry.frames import crops, image, patterns, seeds, sides

LEVEL = 1e-3  # grey levels that float32 may cost where nothing is rounded


def sameds_zoom(frame: np.ndarray, via: int, size: int) -> np.ndarray:
    """SAMed's test script in float64: to 224 px, then to the network's size."""
    x = frame.astype(np.float64)
    for side in (via, size):
        if x.shape != (side, side):
            x = ndimage.zoom(x, (side / x.shape[0], side / x.shape[1]), order=3)
    return x


@settings(max_examples=60)
@given(st.data(), sides, sides, patterns, seeds)
def test_zoom_is_sameds(data, height, width, pattern, seed) -> None:
    size = data.draw(st.sampled_from([64, 128]))
    check_sameds(image(pattern, height, width, 1, seed), size, data.draw(crops(height, width)))


@pytest.mark.parametrize(("height", "width"), [(240, 200), (229, 230), (224, 512), (224, 224)])
def test_zoom_is_sameds_at_its_own_size(height, width) -> None:
    """Also where scipy loses a row and a column, and where a step is left out."""
    check_sameds(image("noise", height, width, 1, seed=0), 512, None)


def check_sameds(frame, size, crop) -> None:
    geometry = frame_geometry(SAMED, *frame.shape, crop, size)
    x0, y0, x1, y1 = geometry.crop
    expected = sameds_zoom(frame[y0:y1, x0:x1], 224 * size // 512, size)
    got = network_input(frame, geometry, SAMED)
    assert got.dtype == np.float32
    assert got.shape == (1, 1, size, size)
    np.testing.assert_allclose(got[0, 0], expected, rtol=0, atol=LEVEL)


@settings(max_examples=40)
@given(st.data(), sides, sides, patterns, seeds)
def test_zoom_without_a_detour(data, height, width, pattern, seed) -> None:
    family = replace(SAMED, via=0)
    crop = data.draw(crops(height, width))
    frame = image(pattern, height, width, 1, seed)
    geometry = frame_geometry(family, height, width, crop, 96)
    x0, y0, x1, y1 = geometry.crop
    expected = sameds_zoom(frame[y0:y1, x0:x1], 96, 96)
    got = resize_frame(frame, geometry, family)
    np.testing.assert_allclose(got, expected, rtol=0, atol=LEVEL)


def torchs_resize(volume: np.ndarray, size: int) -> np.ndarray:
    x = torch.from_numpy(volume.astype(np.float32))[:, None]
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True).numpy()


@settings(max_examples=60)
@given(st.data(), sides, sides, patterns, seeds)
def test_bilinear_is_torchs_slice_by_slice(data, height, width, pattern, seed) -> None:
    size = data.draw(st.sampled_from([64, 128, 256]))
    crop = data.draw(crops(height, width))
    volume = np.stack([image(pattern, height, width, 1, seed + i) for i in range(4)])
    geometry = frame_geometry(MSA_3D, height, width, crop, size)
    x0, y0, x1, y1 = geometry.crop
    expected = torchs_resize(volume[:, y0:y1, x0:x1], size)
    got = network_input(volume, geometry, MSA_3D)
    assert got.shape == (4, 1, size, size)
    np.testing.assert_allclose(got, expected, rtol=0, atol=LEVEL)
    colour = np.stack([volume] * 3, axis=-1)
    np.testing.assert_array_equal(network_input(colour, geometry, MSA_3D), got)


@settings(max_examples=30)
@given(sides, sides, patterns, st.sampled_from([1, 3]), seeds)
def test_min_max_is_medsams(height, width, pattern, channels, seed) -> None:
    """The inference script's lines, on our own whole grey levels."""
    frame = image(pattern, height, width, channels, seed)
    geometry = frame_geometry(MEDSAM, height, width, input_size=64)
    levels = resize_frame(to_network_colours(frame, MEDSAM), geometry, MEDSAM)
    span = np.clip(levels.max() - levels.min(), a_min=1e-8, a_max=None)
    expected = np.float32((levels - levels.min()) / span).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(network_input(frame, geometry, MEDSAM), expected)


def test_medsam_from_an_rgb_frame() -> None:
    frame = image("noise", 90, 130, 3, seed=5)
    options = {"order": 3, "preserve_range": True, "anti_aliasing": True}
    levels = resize(frame, (128, 128), **options).astype(np.uint8).astype(np.float64)
    expected = (levels - levels.min()) / (levels.max() - levels.min())
    got = network_input(frame, frame_geometry(MEDSAM, 90, 130, input_size=128), MEDSAM)
    np.testing.assert_allclose(got[0].transpose(1, 2, 0), expected, rtol=0, atol=1e-7)


def test_each_slice_has_its_own_extremes() -> None:
    family = replace(MEDSAM, slices=2)
    volume = np.stack([image("noise", 40, 30, 1, seed=1), image("noise", 40, 30, 1, seed=2) // 4])
    geometry = frame_geometry(family, 40, 30, input_size=64)
    got = network_input(volume, geometry, family)
    for i in range(2):
        np.testing.assert_array_equal(got[i], network_input(volume[i], geometry, MEDSAM)[0])
        assert (got[i].min(), got[i].max()) == (0, 1)


def test_a_mean_is_subtracted_only_beside_padding() -> None:
    frame = image("noise", 60, 90, 3, seed=3)
    padded = frame_geometry(SAM, 60, 90, input_size=128)
    got = network_input(frame, padded, SAM)
    levels = resize_frame(frame, padded, SAM).astype(np.float32)
    height, width = padded.valid
    expected = (levels - np.float32(SAM.mean))[:height, :width].transpose(2, 0, 1)
    np.testing.assert_array_equal(got[0, :, :height, :width], expected)
    assert not got[0, :, height:].any()
    assert not got[0, :, :, width:].any()
    stretched = frame_geometry(MSA, 60, 90, input_size=128)
    plain = resize_frame(frame, stretched, MSA).transpose(2, 0, 1)
    np.testing.assert_array_equal(network_input(frame, stretched, MSA)[0], plain)


# 16 bits ---------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(sides, sides, seeds)
def test_16_bits_are_scaled_to_8(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 2**16, (height, width), dtype=np.uint16)
    geometry = frame_geometry(SAMED, height, width, input_size=64)
    got = network_input(frame, geometry, SAMED)[0, 0]
    expected = sameds_zoom(frame, 224 * 64 // 512, 64) / 257
    np.testing.assert_allclose(got, expected, rtol=0, atol=LEVEL)


def test_16_bits_of_an_8_bit_frame_are_that_frame() -> None:
    frames = np.stack([image("noise", 50, 70, 1, seed) for seed in range(4)])
    geometry = frame_geometry(MSA_3D, 50, 70, input_size=64)
    deep = network_input(frames.astype(np.uint16) * 257, geometry, MSA_3D)
    np.testing.assert_allclose(deep, network_input(frames, geometry, MSA_3D), rtol=0, atol=LEVEL)


def test_bytes_of_16_bits_become_levels() -> None:
    geometry = frame_geometry(SAMED, 32, 48, input_size=64)
    inputs, view = encoder_inputs(SAMED, geometry, 1, depth=16)
    assert (view.shape, view.dtype) == ((32, 48, 1), np.uint16)
    assert (inputs["frame"].shape, inputs["frame"].dtype) == ((32, 48, 2), np.uint8)
    levels = np.random.default_rng(0).integers(0, 2**16, (32, 48, 1)).astype(np.uint16)
    view[...] = levels
    np.testing.assert_array_equal(inputs["frame"].astype(np.float32) @ inputs["colour"], levels)
    np.testing.assert_allclose(inputs["cols"] * 257, geometry.cols, rtol=1e-6)
    np.testing.assert_array_equal(
        colour_matrix(replace(SAMED, channels=3), 1, 16), [[1] * 3, [256] * 3]
    )


@pytest.mark.parametrize("family", [SAM, SAMUS, MEDSAM])
def test_16_bits_are_refused_where_frames_are_rounded(family) -> None:
    geometry = frame_geometry(family, 32, 48, input_size=64)
    with pytest.raises(FrameError, match="window the 16-bit frame"):
        encoder_inputs(family, geometry, 1, depth=16)
    with pytest.raises(FrameError, match="window the 16-bit frame"):
        network_input(np.zeros((32, 48), np.uint16), geometry, family)


def test_16_bits_of_colour_are_refused() -> None:
    geometry = frame_geometry(SAMED, 32, 48, input_size=64)
    with pytest.raises(FrameError, match="16-bit frames are grey"):
        encoder_inputs(SAMED, geometry, 3, depth=16)
    with pytest.raises(FrameError, match="16-bit frames are grey"):
        to_network_colours(np.zeros((32, 48, 3), np.uint16), SAMED)
    with pytest.raises(FrameError, match="not 12"):
        colour_matrix(SAMED, 1, depth=12)


# What an engine is handed ------------------------------------------------------------------------


@pytest.mark.parametrize("family", [SAM, SAMUS, MEDSAM, SAMED, MSA_3D])
@pytest.mark.parametrize("shape", [(50, 70), (400, 40)])
def test_the_view_is_the_input(family, shape) -> None:
    geometry = frame_geometry(family, *shape, input_size=64)
    inputs, view = encoder_inputs(family, geometry, 3)
    slices = (4,) if family is MSA_3D else ()
    assert view.shape == (*slices, *shape, 3)
    assert np.shares_memory(view, inputs["frame"])
    turned = shape == (400, 40) and family.interpolation == "pil"
    assert inputs["rows_first"] == [turned]
    assert inputs["frame"].shape == (*slices, *(shape[::-1] if turned else shape), 3)
    assert inputs["frame"].shape[-3:-1] == (inputs["rows"].shape[2], inputs["cols"].shape[2])
    for array in inputs.values():
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_colours_of_a_volume() -> None:
    volume = np.stack([image("noise", 20, 30, 3, seed) for seed in range(4)])
    got = to_network_colours(volume, MSA_3D)
    assert got.shape == (4, 20, 30, 1)
    for one, whole in zip(volume, got, strict=True):
        np.testing.assert_array_equal(to_network_colours(one, SAMED), whole)


@pytest.mark.parametrize(
    ("family", "shape", "words"),
    [
        (SAMUS, (3, 20, 30, 1), r"\[H, W\] or \[H, W, C\]"),
        (SAMUS, (20,), r"\[20\]"),
        (MSA_3D, (20, 30), r"\[4, H, W\] or \[4, H, W, C\]"),
        (MSA_3D, (5, 20, 30), r"\[5, 20, 30\]"),
    ],
)
def test_frames_of_other_shapes_are_refused(family, shape, words) -> None:
    with pytest.raises(FrameError, match=words):
        to_network_colours(np.zeros(shape, np.uint8), family)


def test_frames_of_other_dtypes_are_refused() -> None:
    with pytest.raises(FrameError, match="float32 is not an image"):
        to_network_colours(np.zeros((20, 30), np.float32), SAMUS)
