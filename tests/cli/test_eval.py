"""`samedge eval`: checkpoints and bundles side by side."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.cli import run
from tests.conftest import TINY_BUNDLE
from tests.train.data.layouts import folders, us30k, write


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set; read-only."""
    return us30k(tmp_path_factory.mktemp("data") / "US30K")


def test_a_bundle_scores_as_its_checkpoint(
    tiny_checkpoint: Path,
    exported: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "scores"
    models = [str(tiny_checkpoint), str(exported)]
    options = ["--data", str(data), "--split", "train", "--precision", "fp32", "-o", str(out)]
    assert run(["eval", *models, *options]) == 0
    printed = capsys.readouterr().out
    document = json.loads((out / "report.json").read_text())
    eager, openvino = (
        next(s for s in document["summaries"] if s["model"] == i and s["class"] == "all")
        for i in (0, 1)
    )
    for metric in ("dice", "iou"):
        assert eager[metric]["mean"] == pytest.approx(openvino[metric]["mean"], abs=0.001)
    assert 0 < eager["dice"]["mean"] < 1
    assert openvino["equal_to_first"]["min"] > 0.999
    assert [m["engine"] for m in document["models"]] == ["eager", "openvino"]
    assert document["split"] == "train"
    assert "samus.pth (eager fp32)" in printed
    assert "samus.samedge (openvino fp32)" in printed
    lines = list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))
    assert len(lines) == 16
    for number in (1, 2):
        assert cv2.imread(str(out / f"worst_{number}.png")).shape[1] == 1600
    assert sorted(p.name for p in out.iterdir()) == [
        "report.json", "scores.csv", "worst_1.png", "worst_2.png"
    ]  # fmt: skip
    assert str(tmp_path) not in (out / "report.json").read_text()


def test_notes_on_the_data_are_in_the_report(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed"
    folders(tmp_path / "plain", count=2)
    for kind, ending in (("images", ""), ("masks", "_mask")):
        for path in (tmp_path / "plain" / kind).iterdir():
            write(mixed / f"{path.stem}{ending}.png", cv2.imread(str(path), 0))
    assert run(["eval", str(exported), "--data", str(mixed), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == 2
    (note,) = document["notes"]
    assert "images and labels are in one folder" in note


def test_precisions_are_lines_of_one_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(data), "--limit", "3", "--json", "--precision", "fp32,auto"]
    assert run(["eval", str(TINY_BUNDLE), *options, "--jitter", "2", "--seed", "5"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"] == 3
    assert document["split"] == "test"
    assert len(document["models"]) == 2
    assert (document["jitter_px"], document["seed"]) == (2.0, 5)


def test_a_plain_folder_in_millimetres_and_at_network_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folders(tmp_path / "cases", count=3)
    for options, distance in ((["--spacing", "0.5"], "mm"), (["--score-at", "network"], "px")):
        command = ["eval", str(TINY_BUNDLE), "--data", str(root), "--json", *options]
        assert run(command) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["split"], document["distance_unit"]) == ("all", distance)


def test_labels_elsewhere_with_class_numbers(tmp_path: Path) -> None:
    root = folders(tmp_path / "cases", ("pictures", "truth"), count=2)
    label = cv2.imread(str(root / "truth" / "case0.png"), 0)
    for name in ("case0", "case1"):
        assert cv2.imwrite(str(root / "truth" / f"{name}.png"), np.minimum(label, 2))
    options = ["--labels", str(root / "truth"), "--data-classes", "liver,spleen", "-q"]
    assert run(["eval", str(TINY_BUNDLE), "--data", str(root / "pictures"), *options]) == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--split", "tests"], 3, "there is no list MainPatient/tests.txt"),
        (["--prompt", "box"], 3, "takes no box prompts"),
        (["--precision", "int8"], 4, "int8"),
        (["--spacing", "wide"], 2, "expected millimetres"),
        (["--data-classes", "a,,b"], 2, "expected names"),
        (["--spacing", "1", "--score-at", "network"], 3, "has no spacing"),
    ],
)
def test_what_cannot_be(
    options: list[str], code: int, message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", str(TINY_BUNDLE), "--data", str(data), *options]) == code
    assert message in capsys.readouterr().err


def test_bad_data_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = us30k(tmp_path / "data")
    for name in ("n0", "n2"):
        (root / "Nodule" / "label" / f"{name}.png").unlink()
    out = tmp_path / "out"
    assert run(["eval", str(TINY_BUNDLE), "--data", str(root), "-o", str(out)]) == 3
    message = capsys.readouterr().err
    assert "2 of 8 samples cannot be used" in message
    assert "Nodule/n0" in message
    assert "Nodule/n2" in message
    assert not out.exists()


def test_a_report_of_an_earlier_run_goes_first(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_text("{}")
    options = ["--data", str(data), "--precision", "int8", "-o", str(tmp_path)]
    assert run(["eval", str(TINY_BUNDLE), *options]) == 4
    assert not (tmp_path / "report.json").exists()
    (tmp_path / "file").write_text("in the way")
    options[-1] = str(tmp_path / "file")
    assert run(["eval", str(TINY_BUNDLE), *options]) == 6
    assert "is a file; a folder is needed" in capsys.readouterr().err


def test_a_model_that_is_not_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "nothing.samedge", "--data", str(data)]) == 3
    assert run(["eval", "nothing.pth", "--data", str(data)]) == 3
    assert "nothing.pth" in capsys.readouterr().err
