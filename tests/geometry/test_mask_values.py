"""Decisions from values at frame size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.families import MEDSAM, SAM, SAMED
from samedge.geometry.frame_geometry import frame_geometry
from samedge.geometry.mask_values import class_map, decide, decision_distance, dice, mask_values


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_a_threshold_is_exceeded_not_met() -> None:
    values = np.array([[-1, 0, 1e-9], [0.5, 0.4999999, 0.5000001]], np.float32)
    np.testing.assert_array_equal(decide(values, SAM), [[0, 0, 1], [1, 1, 1]])
    np.testing.assert_array_equal(decide(values, MEDSAM), [[0, 0, 0], [0, 0, 1]])
    assert decide(values, SAM).dtype == np.uint8


def test_exclusive_masks_are_one_hot() -> None:
    values = normal(2, 9, 20, 30)
    masks, classes = decide(values, SAMED), class_map(values)
    assert masks.shape == values.shape
    assert masks.dtype == classes.dtype == np.uint8
    np.testing.assert_array_equal(masks.sum(axis=1), 1)
    np.testing.assert_array_equal(masks.argmax(axis=1), classes)
    np.testing.assert_array_equal(classes, values.argmax(axis=1))


def test_the_first_of_equals_wins() -> None:
    values = np.zeros((4, 1, 3), np.float32)
    values[2, 0, 1] = values[3, 0, 1] = 1
    values[0, 0, 2] = -1
    np.testing.assert_array_equal(class_map(values), [[0, 2, 1]])
    np.testing.assert_array_equal(decide(values, SAMED)[:, 0].argmax(axis=0), [0, 2, 1])


@pytest.mark.parametrize("family", [SAM, MEDSAM, SAMED])
def test_outside_the_crop_is_background(family) -> None:
    crop = (20, 10, 60, 50)
    geometry = frame_geometry(family, 64, 80, crop, 64, 32)
    values = mask_values(normal(9, 32, 32) + 1, geometry, family)
    assert values.dtype == np.float32
    masks = decide(values, family)
    assert masks[:, 10:50, 20:60].any()
    values[:, 10:50, 20:60], masks[:, 10:50, 20:60] = 0, family.exclusive
    assert not values.any()
    assert masks[0].all() == family.exclusive
    assert not masks[1:, :10].any()
    assert not masks[1:, :, 60:].any()


def test_sigmoid_without_overflow() -> None:
    geometry = frame_geometry(MEDSAM, 64, 64, None, 64, 32)
    for logit, probability in ((-1000, 0), (1000, 1), (0, 0.5), (2, 0.880797)):
        values = mask_values(np.full((32, 32), logit, np.float32), geometry, MEDSAM)
        np.testing.assert_allclose(values, probability, rtol=0, atol=1e-6)


@given(st.floats(-8, 8), st.floats(-2, 2))
def test_distance_of_logits(value: float, threshold: float) -> None:
    family = replace(SAM, threshold=threshold)
    values = np.full((1, 1), value, np.float32)
    distance = float(decision_distance(values, family)[0, 0])
    assert distance == pytest.approx(abs(value - threshold), abs=1e-5)
    for nudge in (-1.01, 1.01):
        moved = values + np.float32(nudge * distance + np.sign(nudge) * 1e-5)
        if np.sign(nudge) == np.sign(threshold - value):
            assert decide(moved, family) != decide(values, family)
        elif value != threshold:
            assert decide(moved, family) == decide(values, family)


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_distance_of_probabilities_is_that_of_their_logits(threshold: float) -> None:
    """Near the threshold, where it matters."""
    family = replace(MEDSAM, threshold=threshold)
    centre = np.log(threshold / (1 - threshold))
    logits = np.array([[-0.02, -0.001, 0, 0.001, 0.02]]) + centre
    values = np.float32(1 / (1 + np.exp(-logits)))
    expected = np.abs(logits - centre)
    np.testing.assert_allclose(decision_distance(values, family), expected, rtol=0.02, atol=1e-6)


def test_distance_of_classes_is_the_gap_to_the_second() -> None:
    values = normal(3, 9, 20, 30, seed=4)
    distance = decision_distance(values, SAMED)
    ordered = np.sort(values, axis=1)
    assert distance.shape == values.shape
    for k in range(9):
        np.testing.assert_array_equal(distance[:, k], ordered[:, -1] - ordered[:, -2])
    assert not decision_distance(np.zeros((2, 1, 1), np.float32), SAMED).any()


def test_dice_is_the_overlap_of_two_masks() -> None:
    none, left, all_of = (np.array([row], np.uint8) for row in ([0, 0], [1, 0], [1, 1]))
    assert dice(left, all_of) == pytest.approx(2 / 3)
    assert (dice(left, left), dice(none, none), dice(none, left)) == (1, 1, 0)
