"""Prompts: token order, padding, grouping, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.errors import PromptError
from samedge.families import SAM, SAMUS, Family
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry
from samedge.runtime.prompt_groups import assemble

HEIGHT, WIDTH = 60, 80
LOW = 16


def geometry(family: Family, crop: tuple[int, int, int, int] | None = None) -> FrameGeometry:
    return frame_geometry(family, HEIGHT, WIDTH, crop, input_size=64, low_res=LOW)


def groups(family: Family = SAM, **prompts: Any) -> list[Any]:
    return assemble(family, geometry(family), **prompts)


def test_one_object_with_default_labels_and_padding() -> None:
    (group,) = groups(points=[(10, 20), (30, 40)])
    assert group.objects.tolist() == [0]
    assert group.labels.tolist() == [[1, 1, -1]]
    assert group.labels.dtype == np.int32
    assert group.coords.dtype == np.float32
    expected = geometry(SAM).to_network([(10, 20), (30, 40)])
    np.testing.assert_array_equal(group.coords[0, :2], expected)
    assert group.masks is None


def test_a_box_brings_no_padding_in_sam() -> None:
    (group,) = groups(points=[(10, 20)], labels=[0], box=[1, 2, 30, 40])
    assert group.labels.tolist() == [[0, 2, 3]]
    corners = geometry(SAM).to_network([(1, 2), (30, 40)])
    np.testing.assert_array_equal(group.coords[0, 1:], corners)


def test_samus_always_pads() -> None:
    (group,) = groups(SAMUS, points=[(10, 20)], labels=[1])
    assert group.labels.tolist() == [[1, -1]]


def test_a_mask_alone_has_no_tokens() -> None:
    (group,) = groups(mask=np.ones((LOW, LOW)))
    assert group.coords.shape == (1, 0, 2)
    assert group.labels.shape == (1, 0)
    assert group.masks.shape == (1, 1, LOW, LOW)


def test_several_objects_in_one_group() -> None:
    (group,) = groups(points=[[(1, 2)], [(3, 4)], [(5, 6)]], labels=[[1], [0], [1]])
    assert group.objects.tolist() == [0, 1, 2]
    assert group.labels.tolist() == [[1, -1], [0, -1], [1, -1]]


def test_objects_of_different_length_run_in_groups() -> None:
    points = [[(1, 2), (3, 4)], [(5, 6)], np.array([[7, 8], [9, 10]])]
    one, two = groups(points=points, labels=[[1, 0], [1], [0, 1]])
    assert one.objects.tolist() == [1]
    assert two.objects.tolist() == [0, 2]
    assert two.labels.tolist() == [[1, 0, -1], [0, 1, -1]]


def test_boxes_of_several_objects() -> None:
    (group,) = groups(box=[[1, 2, 3, 4], [5, 6, 7, 8]])
    assert group.labels.tolist() == [[2, 3], [2, 3]]


def test_points_for_some_objects_and_boxes_for_all() -> None:
    none, one = groups(points=[[(1, 2)], []], box=[[1, 2, 30, 40], [5, 6, 70, 50]])
    assert none.objects.tolist() == [1]
    assert none.labels.tolist() == [[2, 3]]
    assert one.objects.tolist() == [0]
    assert one.labels.tolist() == [[1, 2, 3]]


def test_one_mask_serves_all_objects_and_masks_follow_their_groups() -> None:
    shared = groups(points=[[(1, 2)], [(3, 4)]], mask=np.zeros((LOW, LOW)))
    assert shared[0].masks.shape == (1, 1, LOW, LOW)
    masks = np.arange(2)[:, None, None] * np.ones((2, LOW, LOW))
    one, two = groups(points=[[(1, 2), (3, 4)], [(5, 6)]], mask=masks)
    assert one.masks.max() == 1
    assert two.masks.max() == 0


def test_crop_moves_coordinates() -> None:
    (group,) = assemble(SAMUS, geometry(SAMUS, (20, 10, 60, 50)), points=[(20, 10)])
    assert group.coords[0, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ({}, "no prompt was given"),
        ({"labels": [1]}, "labels came without points"),
        ({"points": (3, 4)}, r"one point is \[\(x, y\)\]"),
        ({"points": []}, "points is empty"),
        ({"points": [(1, 2, 3)]}, r"shape \[1, 3\]"),
        (
            {"points": [(80, 3)]},
            "outside the frame: x goes from 0 to below 80, y from 0 to below 60;",
        ),
        ({"points": [(-0.1, 3)]}, "outside the frame"),
        ({"points": [(np.nan, 3)]}, "NaN"),
        ({"points": [("a", "b")]}, "values"),
        ({"points": 7}, "shape"),
        ({"points": [[(1, 2)], []]}, "no point"),
        ({"points": [(1, 2)], "labels": [2]}, "label is 1"),
        ({"points": [(1, 2)], "labels": [-1]}, "label is 1"),
        ({"points": [(1, 2)], "labels": [1, 0]}, r"labels of shape \[2\]"),
        ({"points": [[(1, 2)], [(3, 4)]], "labels": [1, 0]}, "labels for 1 objects"),
        ({"points": [(1, 2)], "labels": [np.nan]}, "NaN"),
        ({"box": [1, 2, 3]}, "a box is"),
        ({"box": [3, 2, 1, 4]}, "turned round"),
        ({"box": [1, 2, 1, 4]}, "empty"),
        ({"box": [0, 0, 81, 60]}, "outside the frame: x goes from 0 to 80, y from 0 to 60;"),
        ({"box": []}, "a box is"),
        ({"mask": np.zeros((HEIGHT, WIDTH))}, "low_res_logits"),
        ({"mask": np.full((LOW, LOW), np.inf)}, "NaN or infinite"),
        ({"mask": np.zeros((0, LOW, LOW))}, "empty"),
        ({"points": [[(1, 2)]] * 2, "box": [[1, 2, 3, 4]] * 3}, "disagree"),
        ({"points": [[(1, 2)]] * 3, "mask": np.zeros((2, LOW, LOW))}, "disagree"),
    ],
)
def test_refused_prompts_say_what_to_do(prompts: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        groups(**prompts)


def test_a_box_may_reach_the_far_edge() -> None:
    assert len(groups(box=[0, 0, WIDTH, HEIGHT])) == 1


@pytest.mark.parametrize("prompts", [{"box": [1, 2, 3, 4]}, {"mask": np.zeros((LOW, LOW))}])
def test_prompts_a_family_was_not_trained_with(prompts: dict[str, Any]) -> None:
    with pytest.raises(PromptError, match="it takes: points"):
        groups(SAMUS, **prompts)


def test_points_outside_the_crop() -> None:
    with pytest.raises(PromptError, match="outside the crop"):
        assemble(SAMUS, geometry(SAMUS, (20, 10, 60, 50)), points=[(10, 20)])
