"""Points and boxes as text, and combinations of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError
from samedge.families import SAM, SAMUS
from samedge.prompts.prompt import PromptPlan, parse_box, parse_point

NUMBER = st.floats(-1e6, 1e6)


@given(NUMBER, NUMBER)
def test_points_come_back(x: float, y: float) -> None:
    assert parse_point(f"{x!r},{y!r}") == (x, y)
    assert parse_point(f" {x!r} , {y!r} ") == (x, y)


@given(NUMBER, NUMBER, st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_boxes_come_back(x: float, y: float, width: float, height: float) -> None:
    box = (x, y, x + width, y + height)
    assert parse_box(",".join(map(repr, box))) == box


@given(st.text(max_size=20))
def test_any_text_is_a_point_or_a_prompt_error(text: str) -> None:
    for parse in (parse_point, parse_box):
        message = "pixels"
        try:
            parse(text)
        except PromptError as error:
            message = str(error)
        assert "pixels" in message


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "nan,1", "1,inf", "1;2"])
def test_no_points(text: str) -> None:
    with pytest.raises(PromptError, match="X,Y"):
        parse_point(text)


@pytest.mark.parametrize("text", ["1,2,3", "5,5,5,9", "5,5,9,5", "9,9,1,1", "1,2,nan,4"])
def test_no_boxes(text: str) -> None:
    with pytest.raises(PromptError, match="X0,Y0,X1,Y1"):
        parse_box(text)


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
