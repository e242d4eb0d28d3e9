"""The way back: matrices against torch's interpolate and segment_anything's postprocessing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.families import SAM, SAMUS, Family
from samedge.geometry import bilinear_matrix, frame_geometry, mask_logits

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
def test_mask_logits_are_segment_anythings(
    data: st.DataObject, family: Family, height: int, width: int, seed: int
) -> None:
    size, low_res = data.draw(st.sampled_from([(64, 32), (128, 32), (256, 128)]))
    logits = np.random.default_rng(seed).standard_normal((2, low_res, low_res), dtype=np.float32)
    geometry = frame_geometry(family, height, width, input_size=size, low_res=low_res)
    expected = postprocess(logits, size, geometry.valid, (height, width))
    result = mask_logits(logits, geometry)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_crop_is_filled_and_the_rest_is_zero() -> None:
    logits = np.random.default_rng(0).standard_normal((1, 64, 64), dtype=np.float32)
    geometry = frame_geometry(SAM, 200, 300, crop=(40, 30, 170, 190), input_size=256)
    result = mask_logits(logits, geometry)[0]
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
    np.testing.assert_allclose(mask_logits(logits, geometry), expected.numpy(), rtol=0, atol=1e-5)


def test_largest_frame() -> None:
    geometry = frame_geometry(SAMUS, 4096, 4096)
    ones = mask_logits(np.ones((1, 128, 128), np.float32), geometry)
    np.testing.assert_allclose(ones, 1, rtol=0, atol=1e-6)
