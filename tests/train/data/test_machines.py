"""samedge/train/data/machines.py: strong changes leave what is learned from intact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.train.data.augmentation import SAMUS, STRONG, augment
from samedge.train.data.machines import other_machine, windowed
from samedge.train.data.samples import Sample
from tests.train.data.layouts import disc, picture

LABEL = disc(88, 120, (66, 40), 20)
IMAGE = picture(LABEL)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), colour=st.booleans())
def test_a_window_moves_image_and_label_alike(seed: int, colour: bool) -> None:
    # The label itself as the image: wherever it goes, its grey levels go along.
    image = np.where(LABEL == 1, np.uint8(200), np.uint8(40))
    image = np.stack([image] * 3, -1) if colour else image
    moved, label = windowed(image, LABEL, np.random.default_rng(seed))
    assert moved.shape == image.shape
    assert label.shape == LABEL.shape
    inside = (moved[..., 0] if colour else moved) > 120
    assert np.count_nonzero(inside != (label == 1)) < 0.12 * np.count_nonzero(label) + 30
    assert label.any()


def test_windows_are_enlarged_and_made_smaller() -> None:
    sizes = [
        np.count_nonzero(windowed(IMAGE, LABEL, np.random.default_rng(seed))[1])
        for seed in range(60)
    ]
    whole = np.count_nonzero(LABEL)
    assert min(sizes) < 0.6 * whole
    assert max(sizes) > 1.6 * whole


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), colour=st.booleans())
def test_another_machine_shows_the_same_place(seed: int, colour: bool) -> None:
    image = np.stack([IMAGE] * 3, -1) if colour else IMAGE
    before = image.copy()
    out = other_machine(image, np.random.default_rng(seed))
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert np.array_equal(image, before)
    assert np.array_equal(out, other_machine(image, np.random.default_rng(seed)))


def test_most_images_come_out_differently_and_none_is_lost() -> None:
    outs = [other_machine(IMAGE, np.random.default_rng(seed)) for seed in range(80)]
    assert sum(np.array_equal(out, IMAGE) for out in outs) < 16
    # Grey levels still tell where it was dark and where bright, but for a few hard cases.
    alike = [np.corrcoef(out.ravel(), IMAGE.ravel())[0, 1] for out in outs]
    assert np.median(alike) > 0.6
    assert np.mean(np.asarray(alike) > 0.2) > 0.9


@pytest.mark.parametrize("augmentation", [STRONG, SAMUS])
def test_the_same_numbers_give_the_same_sample(augmentation: object) -> None:
    sample = Sample(IMAGE, LABEL, "a")
    one, two = (augment(sample, augmentation, np.random.default_rng(5)) for _ in range(2))  # type: ignore[arg-type]
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.label, two.label)
