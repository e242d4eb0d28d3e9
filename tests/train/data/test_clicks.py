"""samedge/train/data/clicks.py: SAMUS's prompts, by its own words and on its own vectors."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from samedge.train.data.clicks import (
    box_of,
    fixed_click,
    grown_box,
    loose_box,
    random_click,
    several_clicks,
)

LABELS = arrays.arrays(
    np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)
)


def oracle(label: np.ndarray, class_id: int) -> tuple[np.ndarray, int]:
    """(x, y) of all candidates in row-major order, and the click's label."""
    places = np.argwhere(label == class_id)
    inside = int(len(places) > 0)
    if not inside:
        places = np.argwhere(label != class_id)
    return places[:, ::-1], inside


@given(LABELS, st.integers(1, 3))
def test_fixed_click(label: np.ndarray, class_id: int) -> None:
    places, inside = oracle(label, class_id)
    point, point_label = fixed_click(label, class_id)
    assert point.tolist() == [places[len(places) // 2].tolist()]
    assert point_label.tolist() == [inside]


@given(LABELS, st.integers(1, 3), st.integers(0, 99))
def test_random_click(label: np.ndarray, class_id: int, seed: int) -> None:
    places, inside = oracle(label, class_id)
    point, point_label = random_click(label, np.random.default_rng(seed), class_id)
    again, _ = random_click(label, np.random.default_rng(seed), class_id)
    assert point.tolist()[0] in places.tolist()
    assert point.tolist() == again.tolist()
    assert point_label.tolist() == [inside]


def test_every_pixel_may_be_clicked() -> None:
    label = np.array([[0, 1, 0], [1, 0, 1]], np.uint8)
    rng = np.random.default_rng(0)
    clicks = {tuple(random_click(label, rng)[0][0].tolist()) for _ in range(100)}
    assert clicks == {(1, 0), (0, 1), (2, 1)}


@given(LABELS, st.integers(1, 3))
def test_box(label: np.ndarray, class_id: int) -> None:
    places = np.argwhere(label == class_id)[:, ::-1]
    box = box_of(label, class_id).tolist()
    if len(places):
        assert box == [*places.min(0).tolist(), *places.max(0).tolist()]
    else:
        assert box == [-1, -1, label.shape[1], label.shape[0]]


@given(LABELS, st.integers(0, 5), st.integers(0, 99))
def test_grown_box_holds_the_box(label: np.ndarray, reach: int, seed: int) -> None:
    size = label.shape[::-1]
    box = np.clip(box_of(label), 0, None)
    grown = grown_box(box, np.random.default_rng(seed), reach, size)
    assert (grown[:2] <= box[:2]).all()
    assert (grown[2:] >= box[2:]).all()
    assert (np.abs(grown - box) <= reach).all()
    assert (grown >= 0).all()
    assert (grown[2:] <= size).all()


@given(LABELS, st.integers(0, 99), st.integers(1, 6))
def test_several_clicks(label: np.ndarray, seed: int, count: int) -> None:
    points, labels = several_clicks(label, np.random.default_rng(seed), count)
    assert points.shape == (count, 2)
    for (x, y), inside in zip(points.tolist(), labels.tolist(), strict=True):
        assert (label[y, x] == 1) == bool(inside)
    if (label == 1).any():
        assert labels[0] == 1


def test_several_clicks_are_inside_and_outside_and_often_near() -> None:
    label = np.zeros((64, 64), np.uint8)
    label[28:36, 28:36] = 1
    rng = np.random.default_rng(3)
    far = []
    for _ in range(200):
        points, labels = several_clicks(label, rng, 3)
        far += np.abs(points[labels == 0] - 31.5).max(1).tolist()
    share = np.mean(np.asarray(far) < 8)  # a twentieth of the picture
    assert 150 < len(far) < 250
    assert 0.4 < share < 0.65


@given(st.integers(0, 999))
def test_loose_boxes_are_nearly_the_box(seed: int) -> None:
    box = loose_box(np.array([20, 30, 59, 49]), np.random.default_rng(seed), (64, 64))
    assert np.abs(box - [20, 30, 59, 49]).max() <= 5
    assert (box[2:] > box[:2]).all()
    assert box.min() >= 0
    assert box.max() <= 64
