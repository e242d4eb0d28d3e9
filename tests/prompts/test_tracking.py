"""The interior point, and a prompt that follows its object."""

from __future__ import annotations

from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from samedge.errors import PromptError
from samedge.prompts.plan import PromptPlan
from samedge.prompts.prompt import Prompt
from samedge.prompts.tracking import Tracker, interior_point

MASKS = arrays(
    np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.integers(0, 1)
)


def disc(x: int, y: int, radius: int, size: int = 64) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (x, y), radius, 1, -1)
    return mask


@given(MASKS)
def test_it_lies_inside_or_there_is_none(mask: np.ndarray) -> None:
    point = interior_point(mask)
    if point is None:
        assert not mask.any()
    else:
        assert mask[point[1], point[0]]


def depths(mask: np.ndarray, point: tuple[int, int]) -> tuple[float, float, int]:
    """Depth of the point in its component, the largest depth there, and the component's size."""
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    component = np.pad(labels == labels[point[1], point[0]], 1)
    outside = np.argwhere(~component)
    depth = {
        (int(r), int(c)): float(np.hypot(*(outside - (r, c)).T).min())
        for r, c in np.argwhere(component)
    }
    return depth[point[1] + 1, point[0] + 1], max(depth.values()), len(depth)


@given(MASKS)
def test_no_pixel_of_the_largest_component_is_deeper(mask: np.ndarray) -> None:
    point = interior_point(mask)
    if point is None:
        return
    own, deepest, size = depths(mask, point)
    assert own == pytest.approx(deepest, abs=1e-4)
    _, labels = cv2.connectedComponents(mask, connectivity=8)
    assert size == np.bincount(labels.ravel())[1:].max()


@given(MASKS, st.integers(1, 9), st.integers(1, 9))
def test_it_moves_with_the_mask(mask: np.ndarray, dx: int, dy: int) -> None:
    still, moved = np.pad(mask, ((1, 9), (1, 9))), np.pad(mask, ((dy, 10 - dy), (dx, 10 - dx)))
    first, second = interior_point(still), interior_point(moved)
    if first is None or second is None:
        assert first is second is None
    else:
        assert (second[0] - dx, second[1] - dy) == (first[0] - 1, first[1] - 1)


@pytest.mark.parametrize(("x", "y", "r"), [(20, 30, 9), (40, 12, 11), (32, 32, 5)])
def test_middle_of_a_disc(x: int, y: int, r: int) -> None:
    assert interior_point(disc(x, y, r)) == (x, y)


def test_the_frame_edge_is_a_border() -> None:
    assert interior_point(np.ones((31, 51), np.uint8)) == (15, 15)  # the first of equal ones


def test_the_larger_component_wins() -> None:
    assert interior_point(disc(12, 12, 5) | disc(45, 45, 9)) == (45, 45)


def test_equal_components_and_equal_pixels_in_reading_order() -> None:
    mask = np.zeros((20, 40), np.uint8)
    mask[2:5, 30:33] = mask[10:13, 2:5] = 1
    assert interior_point(mask) == (31, 3)
    assert interior_point(np.ones((2, 2), np.uint8)) == (0, 0)


def logits(count: int = 1) -> np.ndarray:
    return np.ones((count, 4, 4), np.float32)


def start(**plan: object) -> Prompt:
    return PromptPlan(**plan).resolve(64, 64)  # type: ignore[arg-type]


def test_it_follows() -> None:
    tracker = Tracker(start(points=[(10, 10)]))
    for x in range(14, 50, 4):
        tracker.update(disc(x, 30, 8)[None], logits())
        assert tracker.prompt.points is not None
        assert tracker.prompt.points.tolist() == [[[x, 30]]]
        assert tracker.lost == [False]


def test_a_small_mask_is_lost_and_the_point_stays() -> None:
    tracker = Tracker(start(points=[(10, 10)]), min_area=20)
    tracker.update(disc(30, 30, 8)[None], logits())
    tracker.update(disc(50, 50, 1)[None], logits())
    assert tracker.lost == [True]
    assert tracker.prompt.points is not None
    assert tracker.prompt.points.tolist() == [[[30, 30]]]
    tracker.update(np.zeros((1, 64, 64), np.uint8), logits())
    assert tracker.prompt.points.tolist() == [[[30, 30]]]
    tracker.update(disc(40, 30, 8)[None], logits())
    assert tracker.lost == [False]


def test_objects_are_followed_apart() -> None:
    tracker = Tracker(start(points=[(10, 10), (50, 50)], separate=True))
    tracker.update(np.stack([disc(12, 12, 6), np.zeros((64, 64), np.uint8)]), logits(2))
    assert tracker.lost == [False, True]
    assert tracker.prompt.points is not None
    assert tracker.prompt.points.tolist() == [[[12, 12]], [[50, 50]]]


def test_negative_points_stay() -> None:
    tracker = Tracker(start(points=[(10, 10), (60, 60)], labels=[1, 0]))
    tracker.update(disc(20, 20, 6)[None], logits())
    assert tracker.prompt.points is not None
    assert tracker.prompt.labels is not None
    assert tracker.prompt.points.tolist() == [[[20, 20], [60, 60]]]
    assert tracker.prompt.labels.tolist() == [[1, 0]]


def test_a_box_starts_and_then_a_point_goes_on() -> None:
    tracker = Tracker(start(boxes=[(10, 10, 30, 40)]))
    assert tracker.arguments()["points"] is None
    tracker.update(np.zeros((1, 64, 64), np.uint8), logits())
    assert tracker.prompt.box is None
    assert tracker.prompt.points is not None
    assert tracker.prompt.points.tolist() == [[[20, 25]]]


def test_logits_are_passed_once_every_object_has_had_a_mask() -> None:
    tracker = Tracker(start(points=[(10, 10), (50, 50)], separate=True), use_logits=True)
    nothing = np.zeros((64, 64), np.uint8)
    assert "mask" not in tracker.arguments()
    tracker.update(np.stack([disc(12, 12, 6), nothing]), logits(2))
    assert "mask" not in tracker.arguments()
    tracker.update(np.stack([nothing, disc(50, 50, 6)]), 5 * logits(2))
    assert tracker.arguments()["mask"][:, 0, 0].tolist() == [1, 5]  # the lost one keeps its last


def test_nothing_to_start_from() -> None:
    with pytest.raises(PromptError, match="needs a point or a box"):
        Tracker(Prompt())
    with pytest.raises(PromptError, match="label 0"):
        Tracker(start(points=[(1, 1)], labels=[0]))


@pytest.mark.parametrize(("axes", "angle"), [((11, 22), 35), ((17, 13), 35), ((29, 13), 20)])
def test_equally_deep_pixels_wherever_memory_is(axes: tuple[int, int], angle: int) -> None:
    """Depths are roots, which cv2 rounds in another way in another place of the memory."""
    mask = np.zeros((100, 100), np.uint8)
    cv2.ellipse(mask, (50, 50), axes, angle, 0, 360, 1, -1)
    squares = np.rint(ndimage.distance_transform_edt(mask) ** 2)
    row, column = divmod(int(squares.argmax()), 100)
    assert (squares == squares.max()).sum() > 1
    kept, found, chance = [], set(), Random(0)
    for _ in range(60):
        kept.append(np.empty(chance.randrange(1, 5000), np.uint8))
        found.add(interior_point(mask))
    assert found == {(column, row)}
