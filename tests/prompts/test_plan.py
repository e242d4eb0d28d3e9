"""Combinations of points and boxes, and what families take."""

from __future__ import annotations

import pytest

from samedge.errors import PromptError
from samedge.families import SAM, SAMUS
from samedge.prompts.plan import PromptPlan
from samedge.prompts.prompt import parse_point


def test_center_waits_for_the_frame() -> None:
    plan = PromptPlan([parse_point("Centre")])
    points = plan.resolve(40, 60).points
    assert points is not None
    assert points.tolist() == [[[30, 20]]]
    points = plan.resolve(40, 60, (10, 0, 30, 40)).points
    assert points is not None
    assert points.tolist() == [[[20, 20]]]


def test_points_of_one_object_or_of_several() -> None:
    one = PromptPlan([(1, 2), (3, 4)], [1, 0]).resolve(64, 64)
    assert one.objects == 1
    assert one.points is not None
    assert one.points.shape == (1, 2, 2)
    two = PromptPlan([(1, 2), (3, 4)], separate=True).resolve(64, 64)
    assert two.objects == 2
    assert two.labels is not None
    assert two.labels.tolist() == [[1], [1]]
    assert two.to_json(1) == {"points": [[3.0, 4.0]], "labels": [1]}


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (PromptPlan([(1, 1)], [1, 0]), "1 points but 2 labels"),
        (PromptPlan([(1, 1), (2, 2)], [1, 0], separate=True), "nothing a label 0"),
        (PromptPlan([(1, 1)], boxes=[(0, 0, 9, 9), (1, 1, 8, 8)]), "2 boxes are 2 objects"),
        (PromptPlan([(1, 1)], boxes=[(0, 0, 9, 9)] * 2, separate=True), "as many of both"),
    ],
)
def test_combinations_that_mean_nothing(plan: PromptPlan, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        plan.check(SAM)


def test_what_the_family_takes() -> None:
    PromptPlan([(1, 1)], boxes=[(0, 0, 9, 9)]).check(SAM)
    PromptPlan([(1, 1)]).check(SAMUS)
    with pytest.raises(PromptError, match="not trained with box"):
        PromptPlan(boxes=[(0, 0, 9, 9)]).check(SAMUS)
    with pytest.raises(PromptError, match=r"give --point 120,80, or --point center"):
        PromptPlan().check(SAMUS)
    with pytest.raises(PromptError, match="--point 120,80 or --box"):
        PromptPlan().check(SAM)
