"""Files and folders whose names are no UTF-8, as old Windows shares leave them, in every command
that takes some."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from samedge.cli import run
from tests.fuzz import seeds

ODD = os.fsdecode(b"Fall\xe9.")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of such a name with a data set, whose files have them, too."""
    folder = tmp_path / ODD
    data = seeds.data_set(folder / "set")
    for path in [*data.rglob("*.png")]:
        path.rename(path.with_name(ODD + path.name))
    return folder


def test_eval(odd: Path, tiny_bundle: Path) -> None:
    scores = odd / "scores"
    given = ["--data", str(odd / "set"), "--split", "all", "-o", str(scores), "--quiet"]
    assert run(["eval", str(tiny_bundle), *given]) == 0
    assert (scores / "scores.csv").read_text().count("Fall\\udce9.0") == 1
    json.loads(next(scores.glob("*.json")).read_text())


def test_train_and_resume(odd: Path) -> None:
    config = odd / f"{ODD}json"
    config.write_bytes(seeds.configs()[0])
    given = ["train", str(odd / "set"), "-o", str(odd / "run"), "--quiet"]
    new = ["--recipe", "full", "--config", str(config), "--steps", "1", "--batch", "1"]
    assert run([*given, *new]) == 0
    assert run([*given, "--resume"]) == 0


def test_checkpoints(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, _, legacy, safetensors, *_ = seeds.checkpoints()
    for name, data, code in (("pth", whole, 0), ("pt", legacy, 0), ("safetensors", safetensors, 3)):
        (odd / f"{ODD}{name}").write_bytes(data)
        assert run(["inspect", str(odd / f"{ODD}{name}")]) == code
    assert "is no UTF-8, and safetensors opens no such files" in capsys.readouterr().err
