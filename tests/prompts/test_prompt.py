"""Points and boxes as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError
from samedge.prompts.prompt import parse_box, parse_point

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
