"""samedge/train/run.py: a run's record is a file, and files get damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samedge.errors import TrainingError
from samedge.train.distill.distilling import resume_distillation
from samedge.train.run import resume

RUN: dict[str, Any] = {
    "kind": "training",
    "recipe": "full",
    "family": "samus",
    "config": {},
    "settings": {"steps": 1, "batch": 1, "lr": 0.1},
    "processes": 1,
    "data": {"split": "train", "held_out": None, "sha256": "0" * 64},
}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ([1, 2], "holds a list"),
        ({}, "'recipe' is None, not a str"),
        (RUN | {"data": {"split": "train"}}, r"'data\.sha256' is None"),
        (RUN | {"data": "train"}, r"'data\.split' is None"),
        (RUN | {"settings": {"steps": 1}}, "no Settings: .*batch"),
        (RUN | {"settings": {**RUN["settings"], "momentum": 1}}, "no Settings: .*momentum"),
        (
            RUN | {"settings": {**RUN["settings"], "steps": "many"}},
            "'steps' is 'many'; expected a whole number",
        ),
        (RUN | {"recipe": "yolo"}, "unknown recipe 'yolo'"),
        (RUN | {"kind": "distillation"}, "is a distillation.*samedge distill --resume"),
    ],
)
def test_a_damaged_record_is_said_to_be_so(tmp_path: Path, record: object, words: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(TrainingError, match=words):
        resume(tmp_path, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_a_record_that_is_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(TrainingError, match=r"run\.json of .* cannot be read"):
        resume(tmp_path, tmp_path)
    with pytest.raises(TrainingError, match="is no run"):
        resume(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (RUN, "is a training.*samedge train --resume"),
        (RUN | {"kind": "distillation"}, "'teacher' is None, not a list"),
    ],
)
def test_a_distillation_needs_more(tmp_path: Path, record: object, words: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(TrainingError, match=words):
        resume_distillation([tmp_path / "teacher.pth"], tmp_path, tmp_path)
