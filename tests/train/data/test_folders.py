"""samedge/train/data/folders.py and opening.py: images and masks without lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.train.data import ImageFolders, open_dataset, splits
from tests.train.data.layouts import disc, folders, picture, us30k, write


@pytest.mark.parametrize("names", [("img", "label"), ("images", "masks")])
def test_plain_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    root = folders(tmp_path / "cases", names)
    samples = open_dataset(root, "all")
    assert isinstance(samples, ImageFolders)
    assert samples.classes == ("background", "object")
    # Digits count as numbers: case2 before case10.
    assert [samples.name(i) for i in range(10)] == [f"cases/case{i}" for i in range(10)]
    sample = samples[3]
    assert (sample.name, sample.class_id) == ("cases/case3", 1)
    assert np.array_equal(sample.label, disc(60, 50, (21, 30), 8))
    assert np.array_equal(sample.image, picture(sample.label, 3))


def test_seeded_division(tmp_path: Path) -> None:
    root = folders(tmp_path / "cases")
    assert splits(root) == ["train", "val", "all"]

    def names(split: str, seed: int) -> list[str]:
        part = open_dataset(root, split, val_share=0.3, seed=seed)
        return [part.name(i) for i in range(len(part))]

    train, val = names("train", 1), names("val", 1)
    assert (len(train), len(val)) == (7, 3)
    assert not set(train) & set(val)
    assert names("val", 1) == val
    assert any(names("val", seed) != val for seed in range(2, 6))


def test_folders_of_splits(tmp_path: Path) -> None:
    root = tmp_path / "cases"
    folders(root / "train", count=3)
    folders(root / "test", count=2)
    assert splits(root) == ["test", "train"]
    assert [len(open_dataset(root, split)) for split in ("train", "test")] == [3, 2]


def test_two_folders_and_other_names(tmp_path: Path) -> None:
    label = disc(40, 40, (20, 20), 9)
    write(tmp_path / "a" / "x.jpg", picture(label))
    write(tmp_path / "a" / "y.png", np.repeat(picture(label)[..., None], 3, 2))
    write(tmp_path / "b" / "x.png", label * 255)
    write(tmp_path / "b" / "y_mask.bmp", label)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    samples = open_dataset(tmp_path / "a", "all", labels=tmp_path / "b")
    assert [samples[i].label.sum() for i in range(2)] == [label.sum()] * 2
    assert samples[1].image.shape == (40, 40, 3)


def test_colours_are_rgb(tmp_path: Path) -> None:
    label = disc(40, 40, (20, 20), 9)
    blue_in_opencv = np.zeros((40, 40, 3), np.uint8)
    blue_in_opencv[..., 0] = 200
    write(tmp_path / "img" / "x.png", blue_in_opencv)
    write(tmp_path / "label" / "x.png", label)
    assert open_dataset(tmp_path, "all")[0].image[0, 0].tolist() == [0, 0, 200]


def test_named_classes(tmp_path: Path) -> None:
    label = np.maximum(disc(40, 40, (10, 20), 6), disc(40, 40, (30, 20), 6, 2))
    write(tmp_path / "img" / "x.png", picture(label))
    write(tmp_path / "label" / "x.png", label)
    names = ("background", "liver", "spleen")
    samples = open_dataset(tmp_path, "all", classes=names)
    assert samples.classes == names
    assert samples[0].class_id == 0  # all of them
    assert np.array_equal(samples[0].label, label)
    with pytest.raises(SourceError, match="the label has class 2"):
        open_dataset(tmp_path, "all", classes=names[:2])[0]
    assert open_dataset(tmp_path, "all")[0].label.max() == 1


def test_missing_label_is_named(tmp_path: Path) -> None:
    root = folders(tmp_path / "cases")
    (root / "masks" / "case4.png").unlink()
    with pytest.raises(SourceError, match=r"case4\.png has no label; expected masks/case4\.png"):
        open_dataset(root, "all")


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_two_files_of_one_name(tmp_path: Path, folder: str) -> None:
    root = folders(tmp_path / "cases")
    write(root / folder / "case4.bmp", disc(60, 50, (9, 9), 5))
    with pytest.raises(SourceError, match=rf"{folder} has both case4\.\w+ and case4\.\w+"):
        open_dataset(root, "all")


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no folder"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(SourceError, match="is no data set"):
        open_dataset(tmp_path)
    root = folders(tmp_path / "cases", count=1)
    with pytest.raises(SourceError, match="both parts need one"):
        open_dataset(root, "train")
    with pytest.raises(SourceError, match="has no split 'test'"):
        open_dataset(root, "test")
    (tmp_path / "empty" / "img").mkdir(parents=True)
    (tmp_path / "empty" / "label").mkdir()
    with pytest.raises(SourceError, match="holds no image"):
        open_dataset(tmp_path / "empty", "all")


def test_lists_win_over_folders(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    folders(root)
    assert len(open_dataset(root, "train")) == 8
