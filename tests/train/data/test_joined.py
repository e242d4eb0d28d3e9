"""samedge/train/data/joined.py: several data sets as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.train.data.joined import JoinedSamples, open_sources, with_split
from tests.train.data.layouts import us30k
from tests.train.tiny_training import Discs


def test_samples_stand_one_behind_the_other_as_often_as_was_said() -> None:
    first, second = Discs(3), Discs(2, first=100)
    joined = JoinedSamples([first, second], (1, 3))
    assert len(joined) == 3 + 2 * 3
    names = [joined[i].name for i in range(len(joined))]
    assert names == [f"discs/{n}" for n in (0, 1, 2, *[100, 101] * 3)]
    assert np.array_equal(joined[8].label, second[1].label)
    assert joined.classes == first.classes


@pytest.mark.parametrize("times", [(1,), (1, 0), (1, 1, 1)])
def test_numbers_that_do_not_fit(times: tuple[int, ...]) -> None:
    with pytest.raises(SourceError, match="whole number from 1 for each"):
        JoinedSamples([Discs(), Discs()], times)


def test_classes_must_be_the_same() -> None:
    with pytest.raises(SourceError, match=r"background, class 1, class 2.*expected the same"):
        JoinedSamples([Discs(), Discs(classes=3)])


def test_one_folder_or_several(tmp_path: Path) -> None:
    for name in ("a", "b"):
        us30k(tmp_path / name)
    alone = open_sources(tmp_path / "a", "train")
    both = open_sources([tmp_path / "a", tmp_path / "b"], "train", (1, 2))
    assert len(both) == 3 * len(alone)
    (tmp_path / "b" / "MainPatient" / "val.txt").unlink()
    assert with_split([tmp_path / "a", tmp_path / "b"], "val") == [tmp_path / "a"]
    with pytest.raises(SourceError, match="no data set came"):
        open_sources([], "train")
