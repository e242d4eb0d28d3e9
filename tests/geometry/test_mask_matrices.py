"""The way back: matrices against the postprocessing of the original projects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samedge.families import MEDSAM, SAM, SAMED, SAMUS, Family
from samedge.geometry.filters import bilinear_matrix
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.mask_values import class_map, decision_distance, mask_values

sides = st.integers(16, 700)


def interpolate(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def postprocess(
    low_res: np.ndarray, square: int, valid: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """segment_anything's `postprocess_masks`, in float64."""
    x = torch.from_numpy(low_res.astype(np.float64))[None]
    x = interpolate(x, (square, square))[..., : valid[0], : valid[1]]
    return interpolate(x, size)[0].numpy()


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(0, 2**31))
def test_bilinear_matrix_is_torchs(out: int, size: int, seed: int) -> None:
    line = np.random.default_rng(seed).standard_normal((1, 1, size, 1))
    expected = interpolate(torch.from_numpy(line), (out, 1))[0, 0, :, 0].numpy()
    matrix = bilinear_matrix(out, size)
    assert matrix.shape == (out, size)
    np.testing.assert_allclose(matrix @ line[0, 0, :, 0], expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert (np.count_nonzero(matrix, axis=1) <= 2).all()


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([SAM, SAMUS]), sides, sides, st.integers(0, 2**31))
def test_logits_are_segment_anythings(
    data: st.DataObject, family: Family, height: int, width: int, seed: int
) -> None:
    size, low_res = data.draw(st.sampled_from([(64, 32), (128, 32), (256, 128)]))
    logits = np.random.default_rng(seed).standard_normal((2, low_res, low_res), dtype=np.float32)
    geometry = frame_geometry(family, height, width, input_size=size, low_res=low_res)
    expected = postprocess(logits, size, geometry.valid, (height, width))
    result = mask_values(logits, geometry, family)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_crop_is_filled_and_the_rest_is_zero() -> None:
    logits = np.random.default_rng(0).standard_normal((1, 64, 64), dtype=np.float32)
    geometry = frame_geometry(SAM, 200, 300, crop=(40, 30, 170, 190), input_size=256)
    result = mask_values(logits, geometry, SAM)[0]
    expected = postprocess(logits, 256, geometry.valid, (160, 130))[0]
    np.testing.assert_allclose(result[30:190, 40:170], expected, rtol=0, atol=1e-5)
    result[30:190, 40:170] = 0
    assert not result.any()


@pytest.mark.parametrize(("family", "height", "width"), [(SAM, 480, 640), (SAMUS, 600, 800)])
def test_float32_torch_agrees_at_real_sizes(family: Family, height: int, width: int) -> None:
    """The reference itself runs in float32, whose source positions are less exact than ours."""
    geometry = frame_geometry(family, height, width)
    side, low_res = family.upscale_size, geometry.low_res
    y, x = np.mgrid[0:low_res, 0:low_res] / low_res
    logits = np.float32(np.sin(7 * x) + np.cos(5 * y))[None]
    valid_h, valid_w = geometry.valid
    enlarged = interpolate(torch.from_numpy(logits)[None], (side, side))
    expected = interpolate(enlarged[..., :valid_h, :valid_w], (height, width))[0]
    result = mask_values(logits, geometry, family)
    np.testing.assert_allclose(result, expected.numpy(), rtol=0, atol=1e-5)


def test_largest_frame() -> None:
    geometry = frame_geometry(SAMUS, 4096, 4096)
    ones = mask_values(np.ones((1, 128, 128), np.float32), geometry, SAMUS)
    np.testing.assert_allclose(ones, 1, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(sides, sides, st.integers(0, 2**31))
def test_probabilities_are_medsams(height: int, width: int, seed: int) -> None:
    """The sigmoid first, then one interpolation straight to the frame."""
    logits = np.random.default_rng(seed).normal(0, 3, (2, 256, 256)).astype(np.float32)
    geometry = frame_geometry(MEDSAM, height, width)
    low_res = torch.sigmoid(torch.from_numpy(logits).double())
    expected = interpolate(low_res[None], (height, width))[0].numpy()
    result = mask_values(logits, geometry, MEDSAM)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)
    assert (np.count_nonzero(geometry.mask_rows, axis=1) <= 2).all()  # no step in between


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.sampled_from([512, 256, 64]), st.integers(0, 2**31))
@example(229, 230, 512, 0)  # scipy's last row and column are outside by rounding
@example(512, 64, 512, 0)
def test_class_map_is_sameds(height: int, width: int, size: int, seed: int) -> None:
    """Bilinear to the network's size, softmax, argmax, then `zoom(order=0)` of the class map."""
    logits = np.random.default_rng(seed).standard_normal((9, size // 4, size // 4), np.float32)
    enlarged = interpolate(torch.from_numpy(logits)[None].double(), (size, size))
    classes = torch.argmax(torch.softmax(enlarged, dim=1), dim=1)[0].numpy()
    expected = classes
    if (height, width) != (size, size):
        expected = ndimage.zoom(classes, (height / size, width / size), order=0)
    geometry = frame_geometry(SAMED, height, width, input_size=size)
    values = mask_values(logits, geometry, SAMED)
    unsure = decision_distance(values, SAMED)[0] < 1e-5
    unsure &= geometry.mask_rows.any(axis=1)[:, None] & geometry.mask_cols.any(axis=1)
    np.testing.assert_array_equal(class_map(values)[~unsure], expected[~unsure])
    assert unsure.sum() <= 1 + 1e-4 * unsure.size
