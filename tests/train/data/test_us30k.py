"""samedge/train/data/us30k.py: lists, labels, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.families import SAMUS
from samedge.geometry.network_input import to_network_colours
from samedge.progress import Step
from samedge.sources.opening import open_source
from samedge.train.data import Us30k, check_dataset, open_dataset, splits
from tests.train.data.layouts import disc, us30k, write


def test_reads_as_samus_does(tmp_path: Path) -> None:
    samples = open_dataset(us30k(tmp_path / "data"))
    assert isinstance(samples, Us30k)
    assert len(samples) == 8
    assert samples.classes == ("background", "class 1", "class 2")
    nodule, heart = samples[0], samples[1]
    assert (nodule.name, nodule.class_id) == ("Nodule/n0", 1)
    assert (heart.name, heart.class_id) == ("Heart/h0", 2)
    assert set(np.unique(nodule.label)) == {0, 1}  # stored as 0 and 255
    assert set(np.unique(heart.label)) == {0, 1, 2}
    assert nodule.image.shape == nodule.label.shape == (70, 90)
    assert nodule.image.dtype == nodule.label.dtype == np.uint8


def test_splits(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    assert splits(root) == ["test", "test-Nodule", "train", "val"]
    only = open_dataset(root, "test-Nodule")
    assert [only.name(i) for i in range(len(only))] == [f"Nodule/n{i}" for i in range(4)]
    assert only.classes == ("background", "object")
    assert open_dataset(root, "test", class_id=1)[1].class_id == 1
    assert len(open_dataset(root, "val")) == 2


def test_class_file_beside_the_sets(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    (root / "MainPatient" / "class.json").rename(root / "class.json")
    assert len(open_dataset(root)) == 8


def test_images_are_what_segment_sees(tmp_path: Path) -> None:
    """Colours, which SAMUS then takes for grey as it reads them (OpenCV: to one level); 12 bits."""
    root = us30k(tmp_path / "data")
    rng = np.random.default_rng(0)
    colours, deep = (root / "Nodule" / "img" / f"n{i}.png" for i in (0, 1))
    write(colours, rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))
    assert cv2.imwrite(str(deep), rng.integers(0, 4096, (70, 90), dtype=np.uint16))
    samples = open_dataset(root)
    for index, path in ((0, colours), (2, deep)):
        (frame,) = open_source(path)
        assert np.array_equal(samples[index].image, frame.pixels)
    grey = to_network_colours(samples[0].image, SAMUS)[..., 0].astype(int)
    assert np.abs(grey - cv2.imread(str(colours), 0)).max() <= 1
    assert "16 bits per pixel; its own range" in samples[2].notes[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Nodule/n0", "line 2 reads 'Nodule/n0'; expected class/set/file"),
        ("1/Nodule/../n0", "expected class/set/file"),
        ("1/../n0", "expected class/set/file"),
        ("1//n0", "expected class/set/file"),
        ("1/Liver/n0", "names the set 'Liver', which class.json does not list"),
        ("2/Nodule/n0", "class '2' of 'Nodule' is out of range; expected 1 to 1"),
        ("0/Heart/h0", "class '0' of 'Heart' is out of range; expected 1 to 2"),
        ("one/Heart/h0", "class 'one'"),
    ],
)
def test_malformed_lines(tmp_path: Path, line: str, message: str) -> None:
    root = us30k(tmp_path / "data")
    (root / "MainPatient" / "train.txt").write_text(f"1/Nodule/n0\n{line}\n")
    with pytest.raises(SourceError, match="line 2") as caught:
        open_dataset(root)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_list(tmp_path: Path, text: str) -> None:
    root = us30k(tmp_path / "data")
    (root / "MainPatient" / "train.txt").write_text(text)
    with pytest.raises(SourceError, match=r"MainPatient/train\.txt is empty"):
        open_dataset(root)


def test_unknown_split_names_those_that_there_are(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    for split in ("training", "../train"):
        with pytest.raises(SourceError, match="there are: test, test-Nodule, train, val"):
            open_dataset(root, split)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "holds no sets"),
        ("{", "cannot be read"),
        ('{"Nodule": 1}', "'Nodule' has 1 classes"),
        ('{"Nodule": "2"}', "'Nodule' has '2' classes"),
    ],
)
def test_bad_class_file(tmp_path: Path, text: str, message: str) -> None:
    root = us30k(tmp_path / "data")
    (root / "MainPatient" / "class.json").write_text(text)
    with pytest.raises(SourceError, match=message):
        open_dataset(root)


def test_no_class_file(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    (root / "MainPatient" / "class.json").unlink()
    with pytest.raises(SourceError, match=r"has no MainPatient/class\.json"):
        open_dataset(root)


def spoil(root: Path, kind: str) -> str:
    """Damage the first sample; the message that it must give."""
    image, label = (root / "Nodule" / kind / "n0.png" for kind in ("img", "label"))
    if kind == "no image":
        image.unlink()
        return "the image of Nodule/n0 is missing; expected Nodule/img/n0.png"
    if kind == "no label":
        label.unlink()
        return "the label of Nodule/n0 is missing; expected Nodule/label/n0.png"
    if kind == "sizes":
        write(label, disc(70, 80, (9, 9), 5))
        return "Nodule/n0: the image is 90 x 70 px, its label 80 x 70 px"
    if kind == "cut off":
        image.write_bytes(image.read_bytes()[:300])
        return "the image of Nodule/n0 is a damaged PNG file"
    if kind == "no PNG":
        label.write_text("none")
        return "the label of Nodule/n0 is no image"
    assert kind == "tiny"
    write(image, np.zeros((8, 8), np.uint8))
    return "the image of Nodule/n0 is 8 x 8 px"


@pytest.mark.parametrize("kind", ["no image", "no label", "sizes", "cut off", "no PNG", "tiny"])
def test_bad_files(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    root = us30k(tmp_path / "data")
    message = spoil(root, kind)
    with pytest.raises(SourceError) as caught:
        open_dataset(root)[0]
    assert message in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_class_out_of_range(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    write(root / "Heart" / "label" / "h0.png", disc(70, 90, (9, 9), 5, 3))
    with pytest.raises(SourceError, match=r"Heart/h0: the label has class 3 .* expected 0 .* to 2"):
        open_dataset(root)[1]


def test_check_reports_everything_at_once(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data")
    messages = [spoil(root, "no label")]
    write(root / "Heart" / "label" / "h1.png", np.zeros((70, 90), np.uint8))  # empty: allowed
    (root / "Heart" / "img" / "h2.png").unlink()
    seen: list[Step] = []
    report = check_dataset(open_dataset(root), seen.append)
    assert [(step.done, step.of) for step in seen] == [(i, 8) for i in range(1, 9)]
    assert (report.samples, len(report.problems), report.empty) == (8, 2, 1)
    assert messages[0] in report.problems[0]
    assert report.present == {"class 1": 5, "class 2": 2}
    assert report.sizes == ((90, 70), (90, 70))
    with pytest.raises(SourceError, match=r"2 of 8 samples cannot be used") as caught:
        report.require_good()
    assert "Nodule/n0" in str(caught.value)
    assert "Heart/h2" in str(caught.value)
    assert "1 without the class that they ask for" in str(report)


def test_check_lists_the_first_problems(tmp_path: Path) -> None:
    root = us30k(tmp_path / "data", count=12)
    for path in (root / "Nodule" / "label").iterdir():
        path.unlink()
    report = check_dataset(open_dataset(root))
    with pytest.raises(SourceError, match="and 2 more"):
        report.require_good()
    check_dataset(open_dataset(root, "train"))
