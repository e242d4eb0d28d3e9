"""Classes: chosen by name or number, and safe in file names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import PromptError
from samedge.families import MSA, SAM, SAMED
from samedge.stream.classes import choose_classes, default_classes, file_stems

NAMED = replace(SAMED, classes=("background", "Spleen", "left kidney"))
DISC = replace(MSA, classes=("disc", "cup"))


def test_the_background_only_if_asked_for() -> None:
    assert default_classes(NAMED) == (1, 2)
    assert default_classes(DISC) == (0, 1)
    assert choose_classes(NAMED, "background, spleen") == (0, 1)


@pytest.mark.parametrize("text", ["left kidney,SPLEEN", "2,1", " 1 , Left Kidney"])
def test_names_and_numbers(text: str) -> None:
    assert choose_classes(NAMED, text) == (1, 2)


def test_numbers_are_those_of_the_label_volume() -> None:
    assert choose_classes(NAMED, "1") == (1,)
    assert choose_classes(DISC, "1") == (0,)


@pytest.mark.parametrize("text", ["", "liver", "spleen,", "3", "-1", "1.0"])
def test_what_is_no_class(text: str) -> None:
    with pytest.raises(PromptError, match=r"0 \(background\), 1 \(Spleen\), 2 \(left kidney\)"):
        choose_classes(NAMED, text)


def test_families_without_classes() -> None:
    with pytest.raises(PromptError, match="Segment Anything has no classes; leave --classes out"):
        choose_classes(SAM, "liver")


def test_stems() -> None:
    names = ["left kidney", "left/kidney", "Left_Kidney", "../..", "classes", "B\u00e4r 2.5"]
    assert file_stems(names) == [
        "left_kidney", "left_kidney_2", "Left_Kidney_3", "class3", "classes_2", "B_r_2.5"
    ]  # fmt: skip


@given(st.lists(st.text(max_size=80), max_size=12))
def test_stems_are_safe_and_differ(names: list[str]) -> None:
    stems = file_stems(names)
    assert len({s.lower() for s in stems}) == len(names)
    for stem in stems:
        assert stem
        assert stem.isascii()
        assert len(stem) < 70
        assert not set(stem) & set('/\\:*?"<>| \0')
        assert not stem.startswith(".")
