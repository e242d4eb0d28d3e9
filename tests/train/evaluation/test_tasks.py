"""samedge/train/evaluation/tasks.py: which prompts and classes an image asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from samedge.errors import ModelError, PromptError
from samedge.families import AUTOSAMUS, MEDSAM, MSA, SAM, SAMED, SAMUS, Family
from samedge.train.data.samples import Sample
from samedge.train.evaluation.tasks import Rules, Task, check_fit, prompt_mode, tasks, truth_of
from tests.train.data.layouts import disc, picture

LABEL = np.maximum(disc(60, 80, (20, 30), 9), disc(60, 80, (60, 30), 8, 2))
STRUCTURES = replace(MSA, classes=("cup", "disc"))


def tasks_of(
    family: Family, rules: Rules, class_id: int = 1, label: np.ndarray = LABEL, index: int = 0
) -> list[Task]:
    sample = Sample(picture(label), label, "set/case", class_id)
    return list(tasks(sample, label, index, family, rules, 3))


def test_each_family_gets_what_it_takes() -> None:
    modes = {f.name: prompt_mode(f, Rules()) for f in (SAM, SAMUS, MEDSAM, SAMED, AUTOSAMUS)}
    assert modes == {
        "sam": "point", "samus": "point", "medsam": "box", "samed": "none", "autosamus": "none"
    }  # fmt: skip
    assert prompt_mode(SAM, Rules("box")) == "box"
    with pytest.raises(PromptError, match="takes no box prompts; it takes: point"):
        prompt_mode(SAMUS, Rules("box"))
    with pytest.raises(PromptError, match="needs a prompt"):
        prompt_mode(SAM, Rules("none"))
    with pytest.raises(PromptError, match="takes no point prompts; it takes: none"):
        prompt_mode(SAMED, Rules("point"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "dot"},
        {"at": "top"},
        {"jitter": -1.0},
        {"jitter": float("nan")},
        {"at": "network", "spacing": (1.0, 1.0)},
    ],
)
def test_rules_that_mean_nothing(wrong: dict) -> None:
    with pytest.raises(PromptError):
        Rules(**wrong)


def test_a_point_is_the_middle_pixel() -> None:
    (task,) = tasks_of(SAMUS, Rules(), class_id=2)
    assert task.scored == ((2, 0),)
    assert task.prompt.points.tolist() == [[[60.0, 30.0]]]
    assert task.prompt.labels.tolist() == [[1]]


def test_a_box_holds_the_object() -> None:
    (task,) = tasks_of(MEDSAM, Rules())
    assert task.prompt.box.tolist() == [[11.0, 21.0, 29.0, 39.0]]


def test_all_classes_of_a_sample_that_names_none() -> None:
    assert [t.scored for t in tasks_of(SAMUS, Rules(), 0)] == [((1, 0),), ((2, 0),)]
    (task,) = tasks_of(SAMED, Rules(), 0)
    assert task.scored == ((1, 1), (2, 2))  # mask 0 is the background
    (task,) = tasks_of(STRUCTURES, Rules(), 0)
    assert task.scored == ((1, 0), (2, 1))
    (task,) = tasks_of(AUTOSAMUS, Rules(), 0)
    assert task.scored == ((0, 0),)
    assert np.array_equal(truth_of(LABEL, 0), LABEL > 0)


def test_an_empty_label_has_a_click_outside_and_a_box_around_all() -> None:
    empty = np.zeros((60, 80), np.uint8)
    (task,) = tasks_of(SAMUS, Rules(), 0, empty)
    assert task.prompt.labels.tolist() == [[0]]
    (task,) = tasks_of(MEDSAM, Rules(), 1, empty)
    assert task.prompt.box.tolist() == [[0.0, 0.0, 80.0, 60.0]]


def test_an_object_of_one_pixel_has_a_box() -> None:
    label = np.zeros((60, 80), np.uint8)
    label[59, 79] = 1
    (task,) = tasks_of(MEDSAM, Rules(), 1, label)
    assert task.prompt.box.tolist() == [[79.0, 59.0, 80.0, 60.0]]


@pytest.mark.parametrize("family", [SAMUS, MEDSAM])
def test_jitter_is_seeded_bounded_and_inside(family: Family) -> None:
    def prompts(seed: int, label: np.ndarray = LABEL) -> np.ndarray:
        found = [tasks_of(family, Rules(jitter=6.0, seed=seed), 1, label, i)[0] for i in range(40)]
        given = [t.prompt.points if t.prompt.box is None else t.prompt.box for t in found]
        return np.array(given).reshape(40, -1, 2)

    still = tasks_of(family, Rules())[0].prompt
    exact = np.reshape(still.points if still.box is None else still.box, (1, -1, 2))
    moved = prompts(1)
    assert np.array_equal(moved, prompts(1))
    assert not np.array_equal(moved, prompts(2))
    assert 4 < np.abs(moved - exact).max() <= 6
    corner = np.zeros((60, 80), np.uint8)
    corner[0, :3] = 1
    at_border = prompts(3, corner)
    assert (at_border >= 0).all()
    assert (at_border <= [80, 60]).all()


def test_models_and_data_must_fit() -> None:
    check_fit(SAMED, "a", 9)
    check_fit(SAMED, "a", 2)
    check_fit(SAMUS, "a", 200)
    check_fit(STRUCTURES, "a", 3)
    with pytest.raises(ModelError, match=r"a has 8 classes, the data 9"):
        check_fit(SAMED, "a", 10)
    with pytest.raises(ModelError, match=r"a has 2 classes, the data 3"):
        check_fit(STRUCTURES, "a", 4)
