"""Prompts of the slices of a volume: every accepted nesting, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError
from samedge.runtime.volumes import ARGUMENTS, checked_prompts, slice_prompts

POINT, OTHER = (10, 20), (33, 44)
BOX = [1, 2, 30, 40]

SHARED: list[dict[str, Any]] = [
    {"points": [POINT]},
    {"points": np.array([POINT, OTHER])},
    {"points": [POINT, OTHER], "labels": [1, 0]},
    {"points": [POINT, OTHER], "labels": np.array([1, 0])},
    {"box": BOX},
    {"box": np.array(BOX)},
    {"points": [POINT], "box": BOX},
    {},
]


@pytest.mark.parametrize("given", SHARED)
def test_one_prompt_for_all_slices(given: dict[str, Any]) -> None:
    found = slice_prompts(3, **given)
    assert len(found) == 3
    for prompt in found:
        assert set(prompt) == {"points", "labels", "box"}
        for name, value in prompt.items():
            assert value is given.get(name)


PER_SLICE: list[dict[str, Any]] = [
    {"points": [[POINT], [OTHER], [POINT]]},
    {"points": np.arange(12).reshape(3, 2, 2)},
    {"points": [[POINT], [OTHER, POINT], [POINT]]},
    {"points": [[POINT], None, [OTHER]], "box": [BOX, BOX, BOX]},
    {"points": [[[POINT], [OTHER]]] * 3},
    {"points": np.arange(24).reshape(3, 2, 2, 2)},
    {"points": [[[POINT], [OTHER, POINT]], [[POINT]], [[OTHER]]]},
    {"points": [[POINT], [OTHER], [POINT]], "labels": [[1], [0], [1]]},
    {"points": [[POINT], [OTHER, POINT], [POINT]], "labels": [[1], [0, 1], [0]]},
    {"box": [BOX, BOX, BOX]},
    {"box": np.array([BOX, BOX, BOX])},
    {"box": [[BOX, BOX], [BOX], [BOX]]},
]


@pytest.mark.parametrize("given", PER_SLICE)
def test_prompts_of_each_slice(given: dict[str, Any]) -> None:
    """Arrays, lists and ragged lists; an entry is passed on as it came."""
    for index, prompt in enumerate(slice_prompts(3, **given)):
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(prompt[name], value[index])
            else:
                assert prompt[name] == value[index]


def test_points_of_each_slice_and_one_box_for_all() -> None:
    found = slice_prompts(2, points=[[POINT], [OTHER]], box=BOX)
    assert [prompt["points"] for prompt in found] == [[POINT], [OTHER]]
    assert [prompt["box"] for prompt in found] == [BOX, BOX]


points_of_a_slice = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1)


@given(st.lists(points_of_a_slice, min_size=1, max_size=6))
def test_any_lists_of_points(volume: list[list[tuple[int, int]]]) -> None:
    """Equally long or ragged: one entry per slice."""
    found = slice_prompts(len(volume), points=volume)
    assert [prompt["points"] for prompt in found] == volume
    with pytest.raises(PromptError, match=f"points for {len(volume)} slices"):
        slice_prompts(len(volume) + 1, points=volume)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"points": [[POINT]] * 3}, "points for 3 slices came with a volume of 4"),
        ({"points": [[POINT], [POINT, OTHER]]}, "points for 2 slices"),
        ({"points": [[POINT]] * 4, "labels": [[1]] * 5}, "labels for 5 slices"),
        ({"box": [BOX] * 2}, "box for 2 slices.*a single one of 1 dimension"),
        ({"box": np.zeros((5, 4))}, "box for 5 slices"),
    ],
)
def test_wrong_numbers_of_slices(given: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        slice_prompts(4, **given)


def test_checked_prompts_have_all_arguments() -> None:
    found = checked_prompts([{"points": [POINT]}, {"box": BOX, "multimask": True}], 2)
    assert found[0] == {**ARGUMENTS, "points": [POINT]}
    assert found[1] == {**ARGUMENTS, "box": BOX, "multimask": True}


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([{}], "prompts for 1 slices came; expected 2"),
        ([{}] * 3, "prompts for 3 slices came"),
        ([], "prompts for 0 slices"),
        (None, "prompts of type NoneType"),
        ({"points": [POINT]}, "prompts of type dict"),
        ([[POINT], [POINT]], "prompts of type list"),
        ([{}, {"point": POINT, "lables": 1}], "slice 1 have 'point', 'lables'; expected some of"),
        ([{}, {"crop": (0, 0, 20, 20)}], "'crop'"),
        ([{}, {"index": 0}], "'index'"),
        ([{}, {3: 0}], "have 3"),
    ],
)
def test_prompts_that_are_none(prompts: Any, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        checked_prompts(prompts, 2)
