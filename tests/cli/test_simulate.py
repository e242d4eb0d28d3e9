"""`samedge simulate`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from samedge.cli import run


def test_a_data_set_with_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, sheet = tmp_path / "data", tmp_path / "sheets" / "look.png"
    arguments = ["simulate", "-o", str(target), "--train", "3", "--test", "2", "--cine", "1"]
    arguments += ["--frames", "2", "--size", "64,80", "--sheet", str(sheet), "--seed", "5"]
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert "Sim-Cine-000" in out
    assert f"Wrote {target} and {sheet}" in out
    assert err == ""
    assert cv2.imread(str(sheet)).shape[1] == 1600
    assert len((target / "MainPatient" / "train.txt").read_text().splitlines()) == 3


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "data")
    base = ["simulate", "-o", target, "--val", "2", "--size", "64x64", "--json"]
    assert run([*base, "--sets", "Sim-Chamber"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 2
    assert {row["set"] for row in report["counts"]} == {"Sim-Chamber"}
    assert sum(row["val"] for row in report["counts"]) == 2
    assert run([*base, "--force", "--quiet"]) == 0
    capsys.readouterr()
    assert run(base) == 6
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "nothing to make"),
        (["--test", "1", "--size", "big"], 2, "expected height and width"),
        (["--test", "1", "--size", "9,9"], 3, "from 32 to 2048"),
        (["--test", "1", "--sets", "Liver"], 3, "expected one or several of Sim-Lesion"),
        (["--cine", "1", "--physics"], 2, "leave --cine out"),
    ],
)
def test_bad_input(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    assert run(["simulate", "-o", str(tmp_path / "data"), *arguments]) == code
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_physics_without_pymust_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pymust", None)
    monkeypatch.delitem(sys.modules, "samedge.simulate.physics", raising=False)
    arguments = ["simulate", "-o", str(tmp_path / "data"), "--test", "1", "--physics"]
    assert run(arguments) == 4
    assert "'.[physics]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_loop_is_a_source_for_segment(tmp_path: Path) -> None:
    from samedge.sources.opening import open_source

    target = tmp_path / "data"
    assert run(["simulate", "-o", str(target), "--cine", "1", "--frames", "3", "--quiet"]) == 0
    with open_source(target / "Sim-Cine-000" / "img") as source:
        frames = [frame.pixels.shape for frame in source]
    assert frames == [(240, 320)] * 3
