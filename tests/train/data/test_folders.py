"""samedge/train/data/folders.py and opening.py: images and masks without lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.train.data import ImageFolders, open_dataset, splits
from samedge.train.data.pictures import Pictures
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


def busi(folder: Path, masks: Path, count: int = 3) -> Path:
    """BUSI's names: every image has two masks, left and right of the middle."""
    for i in range(1, count + 1):
        whole = disc(60, 50, (25, 30), 12 + i)
        left, right = whole.copy(), whole.copy()
        left[:, 25:], right[:, :25] = 0, 0
        write(folder / f"benign ({i}).png", picture(whole, i))
        write(masks / f"benign ({i})_mask.png", left * 255)
        write(masks / f"benign ({i})_mask_1.png", right * 255)
    return folder


@pytest.mark.parametrize("given", [False, True])
def test_busi_as_it_comes(tmp_path: Path, given: bool) -> None:
    """Images and masks in one folder: an image is no label, and no mask is an image."""
    folder = busi(tmp_path / "benign", tmp_path / "benign", 11)
    samples = open_dataset(folder, "all", labels=folder if given else None)
    assert [samples.name(i) for i in range(len(samples))] == [
        f"benign/benign ({i})" for i in range(1, 12)
    ]
    assert np.array_equal(samples[0].label, disc(60, 50, (25, 30), 13))
    one_folder, union = samples.notes
    assert "in one folder, 'benign': 11 images" in one_folder
    assert "11 of 11 images have several masks, whose union is the label" in union
    assert len(open_dataset(folder, "val")) == 1


def test_parts_of_busi(tmp_path: Path) -> None:
    root = tmp_path / "BUSI"
    for part in ("benign", "malignant"):
        busi(root / part, root / part)
    assert splits(root) == ["benign", "malignant"]
    assert len(open_dataset(root, "malignant")) == 3
    with pytest.raises(SourceError, match="no part 'train', but benign, malignant"):
        open_dataset(root)


def test_masks_without_image_are_listed(tmp_path: Path) -> None:
    busi(tmp_path / "images", tmp_path / "masks")
    (tmp_path / "images" / "benign (2).png").unlink()
    write(tmp_path / "masks" / "other.png", disc(60, 50, (9, 9), 5))
    samples = open_dataset(tmp_path, "all")
    assert len(samples) == 2
    assert samples.notes[1] == (
        "3 label files belong to no image and are left out: benign (2)_mask.png, "
        "benign (2)_mask_1.png, other.png"
    )
    mixed = busi(tmp_path / "mixed", tmp_path / "mixed")
    (mixed / "benign (2).png").unlink()
    assert "2 label files belong to no image" in open_dataset(mixed, "all").notes[2]
    (mixed / "benign (1)_mask.png").unlink()
    (mixed / "benign (1)_mask_1.png").unlink()
    with pytest.raises(SourceError, match=r"benign \(1\)\.png has no label"):
        open_dataset(mixed, "all")


@pytest.mark.parametrize("link", [False, True])
def test_one_folder_without_names_that_tell(tmp_path: Path, link: bool) -> None:
    folder = folders(tmp_path / "cases") / "images"
    labels = tmp_path / "link" if link else folder
    if link:
        labels.symlink_to(folder)
    with pytest.raises(SourceError, match=r"in one folder.* expected X\.png and X_mask\.png"):
        open_dataset(folder, "all", labels=labels)


def test_labels_of_two_kinds(tmp_path: Path) -> None:
    root = folders(tmp_path / "cases")
    write(root / "masks" / "case4_mask.png", disc(60, 50, (9, 9), 5))
    with pytest.raises(SourceError, match=r"different kinds for case4\.png: case4\.png, case4_"):
        open_dataset(root, "all")


def test_several_masks_are_no_class_numbers(tmp_path: Path) -> None:
    busi(tmp_path / "images", tmp_path / "masks")
    with pytest.raises(SourceError, match="has 2 label files; where labels hold class numbers"):
        open_dataset(tmp_path, "all", classes=("background", "a", "b"))


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


def test_pictures_without_labels_are_no_masks(tmp_path: Path) -> None:
    """A student is taught on a folder of images; the masks that lie in it are none."""
    label = disc(40, 40, (20, 20), 9)
    for index in range(3):
        write(tmp_path / f"x{index}.png", picture(label))
        write(tmp_path / f"x{index}_mask.png", label * 255)
    taught, held_out = Pictures(tmp_path), Pictures(tmp_path, "val")
    assert [len(taught), len(held_out)] == [2, 1]
    assert taught[0].name.endswith("x1")
    assert "3 of 6 files" in taught.notes[0]
    assert "left out" in taught.notes[0]
