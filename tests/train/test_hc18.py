"""training/hc18.py: real heads for the demo model, divided by subject."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from samedge.train.data import open_dataset

SCRIPT = Path(__file__).parents[2] / "training" / "hc18.py"
NAMES = [f"{n:03d}_HC" for n in range(40)] + ["003_2HC", "011_2HC", "011_3HC"]


@pytest.fixture(scope="module")
def hc18() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hc18", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_originals(folder: Path) -> None:
    """The challenge's files: images, and outlines of one pixel or two."""
    (folder / "training_set").mkdir(parents=True)
    rows = [("filename", "pixel size(mm)", "head circumference (mm)")]
    for number, name in enumerate(NAMES):
        outline = np.zeros((54, 80), np.uint8)
        cv2.ellipse(outline, (40, 27), (20 + number % 7, 15), 10, 0, 360, 255, 2)
        image = np.random.default_rng(number).integers(0, 255, (54, 80), np.uint8)
        cv2.imwrite(str(folder / "training_set" / f"{name}.png"), image)
        cv2.imwrite(str(folder / "training_set" / f"{name}_Annotation.png"), outline)
        rows.append((f"{name}.png", "0.07", str(100 + number)))
    with (folder / "training_set_pixel_size_and_HC.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_subjects_stay_together_and_labels_are_filled(hc18: ModuleType, tmp_path: Path) -> None:
    write_originals(tmp_path / "from")
    hc18.main(tmp_path / "from", tmp_path / "to")
    seen = {}
    for part in ("train", "val", "test"):
        samples = open_dataset(tmp_path / "to", part)
        seen[part] = {samples.name(i).split("/")[1] for i in range(len(samples))}
        for i in range(len(samples)):
            sample = samples[i]
            assert sample.image.shape == sample.label.shape == (27, 40)
            assert sample.label[13, 20] == 1  # the middle of the ellipse
            assert not sample.label[0].any()
    assert sorted(set.union(*seen.values())) == sorted(NAMES)
    subjects = [{name.split("_")[0] for name in names} for names in seen.values()]
    assert [len(each) for each in subjects] == [28, 4, 8]
    assert not subjects[0] & subjects[1]
    assert not subjects[2] & (subjects[0] | subjects[1])
    with (tmp_path / "to" / "sizes.csv").open() as file:
        sizes = {row["file"]: row for row in csv.DictReader(file)}
    assert float(sizes["003_2HC.png"]["pixel_mm"]) == pytest.approx(0.14)
    assert float(sizes["003_2HC.png"]["head_circumference_mm"]) == 140
    assert {sizes[f"{name}.png"]["part"] for name in seen["test"]} == {"test"}


def test_a_copy_at_half_size_gives_the_same(hc18: ModuleType, tmp_path: Path) -> None:
    write_originals(tmp_path / "from")
    hc18.main(tmp_path / "from", tmp_path / "to")
    copy = tmp_path / "copy"
    for kind in ("img", "label"):
        (copy / kind).mkdir(parents=True)
        for path in (tmp_path / "to" / "HC18" / kind).iterdir():
            scale = 255 if kind == "label" else 1
            cv2.imwrite(str(copy / kind / path.name), cv2.imread(str(path), 0) * scale)
    (copy / "sizes.csv").write_bytes((tmp_path / "to" / "sizes.csv").read_bytes())
    hc18.main(copy, tmp_path / "again")
    for name in ("sizes.csv", "MainPatient/train.txt", "MainPatient/test.txt"):
        assert (tmp_path / "to" / name).read_text() == (tmp_path / "again" / name).read_text()
    for path in (tmp_path / "to" / "HC18").rglob("*.png"):
        other = tmp_path / "again" / path.relative_to(tmp_path / "to")
        assert np.array_equal(cv2.imread(str(path), 0), cv2.imread(str(other), 0))


def test_another_folder_is_told_where_to_get_it(hc18: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"zenodo\.org/records/1322001"):
        hc18.main(tmp_path, tmp_path / "to")
