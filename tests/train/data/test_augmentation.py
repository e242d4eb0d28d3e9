"""samedge/train/data/augmentation.py: image and label stay together; one seed, one sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage

from samedge.errors import ModelError
from samedge.families import FAMILIES
from samedge.train.data.augmentation import (
    AUGMENTATIONS,
    MEDSAM,
    NONE,
    SAMED,
    SAMUS,
    Augmentation,
    augment,
    augmentation_of,
    contrast,
    gamma,
)
from samedge.train.data.samples import Sample
from tests.train.data.layouts import disc

GEOMETRY = Augmentation(
    "geometry", p_flip_x=0.5, p_flip_y=0.5, p_turn=0.3, p_rotate=1.0, p_scale=0.5
)


def sample_of(label: np.ndarray, channels: int = 1) -> Sample:
    """An image that equals its label."""
    image = label * np.uint8(255)
    if channels == 3:
        image = np.repeat(image[..., None], 3, axis=2)
    return Sample(image, label, "set/case", 1)


@given(
    st.integers(0, 10_000),
    st.integers(30, 60),
    st.integers(30, 60),
    st.sampled_from([1, 3]),
    st.sampled_from([GEOMETRY, SAMED, MEDSAM, replace(SAMUS, p_gamma=0, p_contrast=0)]),
)
def test_image_and_label_stay_together(
    seed: int, height: int, width: int, channels: int, augmentation: Augmentation
) -> None:
    label = disc(height, width, (width * 0.4, height * 0.6), 10)
    moved = augment(sample_of(label, channels), augmentation, np.random.default_rng(seed))
    assert moved.image.dtype == moved.label.dtype == np.uint8
    assert moved.image.shape[:2] == moved.label.shape
    assert moved.image.ndim == (2 if channels == 1 else 3)
    assert set(np.unique(moved.label)) <= {0, 1}
    bright = np.atleast_3d(moved.image)[..., 0] > 127
    # Both interpolations sample at the same places; they differ at most on the outline.
    differs = bright != (moved.label == 1)
    outline = ndimage.binary_dilation(moved.label) ^ ndimage.binary_erosion(moved.label)
    assert not (differs & ~outline).any()
    assert differs.sum() <= 0.25 * max(outline.sum(), 8)


@given(st.sampled_from(sorted(AUGMENTATIONS)), st.integers(0, 1000))
def test_same_numbers_same_sample(name: str, seed: int) -> None:
    label = disc(40, 52, (20, 22), 9)
    image = np.random.default_rng(1).integers(0, 256, label.shape, dtype=np.uint8)
    sample = Sample(image, label, "set/case", 1)
    first, second = (
        augment(sample, AUGMENTATIONS[name], np.random.default_rng(seed)) for _ in "ab"
    )
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.label, second.label)
    assert np.array_equal(sample.label, disc(40, 52, (20, 22), 9))


def test_no_recipe_changes_nothing() -> None:
    sample = sample_of(disc(40, 52, (20, 22), 9))
    same = augment(sample, NONE, np.random.default_rng(0))
    assert same.image is sample.image
    assert same.label is sample.label


def test_rotation_turns_about_the_centre_by_the_angle() -> None:
    """A dot on the right of the centre comes down or up by the sine of the angle."""
    label = disc(81, 81, (70, 40), 3)
    augmentation = Augmentation("turn", p_rotate=1.0, degrees=30.0)
    angles = []
    for seed in range(60):
        moved = augment(sample_of(label), augmentation, np.random.default_rng(seed)).label
        y, x = (float(v.mean()) for v in np.nonzero(moved))
        assert np.hypot(x - 40, y - 40) == pytest.approx(30, abs=0.6)
        angles.append(np.degrees(np.arctan2(y - 40, x - 40)))
    assert max(angles) == pytest.approx(30, abs=6)
    assert min(angles) == pytest.approx(-30, abs=6)


def test_scale_cuts_a_window_out_of_the_enlarged_image() -> None:
    label = disc(80, 100, (50, 40), 10)
    augmentation = Augmentation("scale", p_scale=1.0)
    sizes, places = [], []
    for seed in range(60):
        moved = augment(sample_of(label), augmentation, np.random.default_rng(seed)).label
        sizes.append(np.sqrt(moved.sum() / label.sum()))
        places.append([v.mean() for v in np.nonzero(moved)])
    assert min(sizes) >= 0.98
    assert max(sizes) <= 1.32
    assert max(sizes) - min(sizes) > 0.2
    # The middle of the image lands at most half of what was cut away from the middle.
    spread = np.abs(np.array(places) - (40, 50)).max(0)
    assert (spread <= np.array([12.5, 15.5])).all()
    assert (spread > 4).all()


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3717, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_contrast_is_pillows(factor: float, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (31, 40), dtype=np.uint8)
    expected = np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor))
    assert np.array_equal(contrast(image, factor), expected)


@pytest.mark.parametrize("g", [1.0, 1.5, 2.4])
def test_gamma(g: float) -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = (np.power(image / 255, 1.0 / g) * 255).astype(np.uint8)
    assert np.array_equal(gamma(image, g), expected)


def test_noise_has_the_deviation_and_spares_the_label() -> None:
    sample = Sample(np.full((99, 99), 128, np.uint8), disc(99, 99, (50, 50), 9), "set/case", 1)
    augmentation = Augmentation("noise", p_noise=1.0, noise=(5, 6))
    noisy = augment(sample, augmentation, np.random.default_rng(0))
    assert np.std(noisy.image.astype(float)) == pytest.approx(5, abs=0.5)
    assert np.array_equal(noisy.label, sample.label)


def test_samus_as_in_its_training_script() -> None:
    assert (SAMUS.p_flip_x, SAMUS.p_flip_y, SAMUS.p_noise, SAMUS.p_turn) == (0, 0, 0, 0)
    assert (SAMUS.p_gamma, SAMUS.p_rotate, SAMUS.p_scale, SAMUS.p_contrast) == (0.5,) * 4


def test_samed_rotates_only_what_it_did_not_turn() -> None:
    label = disc(60, 60, (45, 20), 9)
    exact = 0
    for seed in range(80):
        moved = augment(sample_of(label), SAMED, np.random.default_rng(seed))
        exact += moved.label.sum() == label.sum() and set(np.unique(moved.image)) <= {0, 255}
    assert 45 <= exact <= 75  # three quarters are turned by right angles or left alone


def test_every_family_has_a_recipe() -> None:
    assert {augmentation_of(name).name for name in FAMILIES} <= set(AUGMENTATIONS)
    with pytest.raises(ModelError, match="there is no augmentation for 'yolo'"):
        augmentation_of("yolo")
