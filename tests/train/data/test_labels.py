"""samedge/train/data/labels.py: nearest neighbours as Pillow, scipy and OpenCV choose them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from samedge.families import LITEMEDSAM, SAMED, SAMUS
from samedge.train.data.labels import opencv_places, pil_places, resize_label

SIDES = st.integers(1, 700)


@given(SIDES, SIDES)
@example(128, 256)
@example(256, 471)
@example(256, 562)
@example(100, 300)
def test_pillow(out: int, size: int) -> None:
    ramp = Image.fromarray(np.arange(size, dtype=np.int32)[None])
    expected = np.asarray(ramp.resize((out, 1), Image.Resampling.NEAREST))[0]
    assert np.array_equal(pil_places(out, size), expected)


@given(
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
)
def test_scipy(size: tuple[int, int], out: tuple[int, int]) -> None:
    label = np.random.default_rng(0).integers(1, 9, size, dtype=np.uint8)
    factors = [o / s for o, s in zip(out, size, strict=True)]
    expected = ndimage.zoom(label, factors, order=0)
    if expected.shape == out:  # scipy rounds size * factor
        assert np.array_equal(resize_label(label, *out, SAMED), expected)


@given(SIDES, SIDES)
@example(192, 480)
@example(256, 333)
def test_opencv(out: int, size: int) -> None:
    ramp = np.arange(size, dtype=np.int32)[None]
    expected = cv2.resize(ramp, (out, 1), interpolation=cv2.INTER_NEAREST)[0]
    assert np.array_equal(opencv_places(out, size), expected)


@pytest.mark.parametrize("family", [SAMUS, SAMED, LITEMEDSAM])
def test_same_size_is_the_same(family) -> None:
    label = np.random.default_rng(0).integers(0, 9, (33, 47), dtype=np.uint8)
    assert np.array_equal(resize_label(label, 33, 47, family), label)
