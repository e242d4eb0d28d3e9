"""`samedge train` and `samedge distill`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from samedge.checkpoint import open_checkpoint
from samedge.cli import run
from samedge.cli.training import duration
from samedge.models import tiny_sam_config
from tests.fold.oracle import random_model
from tests.train.data.layouts import folders, us30k
from tests.train.distill.test_distilling import STUDENT, pictures

NARROW: dict[str, Any] = {"family": "samus", "prompt_dim": 32, "decoder_heads": 4, **STUDENT}
NARROW["decoder_mlp_dim"] = NARROW["iou_hidden_dim"] = 32
QUICK = ["--epochs", "2", "--batch", "4", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a config, and a run."""
    root = tmp_path_factory.mktemp("train")
    us30k(root / "data", 6)
    (root / "narrow.json").write_text(json.dumps(NARROW))
    words = ["train", str(root / "data"), "-o", str(root / "run"), "--recipe", "full"]
    assert run([*words, "--config", str(root / "narrow.json"), *QUICK, "--quiet"]) == 0
    return root


def test_a_run(place: Path) -> None:
    opened = open_checkpoint(place / "run" / "best.pth")
    assert opened.kind == "samus"
    assert opened.config.decoder_heads == 4
    record = json.loads((place / "run" / "run.json").read_text())
    assert record["recipe"] == "full"
    assert record["settings"]["steps"] == 6
    assert record["data"]["samples"] == 12
    assert str(place) not in json.dumps(record)
    sheet = cv2.imread(str(place / "run" / "sheets" / "epoch-0001.jpg"))
    assert sheet is not None


def test_what_a_run_prints(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(place / "data"), "-o", str(tmp_path / "run"), "--recipe", "samus"]
    words += ["--init", str(place / "run" / "best.pth"), "--precision", "bf16-mixed", *QUICK]
    assert run([*words, "--format", ".safetensors", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["step"] == 6
    assert open_checkpoint(found["best"]).kind == "samus"
    assert "epoch 2: step 6 of 6" in err
    assert "images/s" in err


def test_quiet_is_quiet(place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(place / "data"), "-o", str(tmp_path / "run"), "--recipe", "samus"]
    words += ["--init", str(place / "run" / "best.pth"), *QUICK, "--precision", "bf16-mixed"]
    assert run([*words, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_dry_run_writes_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    words = ["train", str(place / "data"), "-o", str(tmp_path / "run"), "--recipe", "samus"]
    words += ["--init", str(place / "run" / "best.pth"), "--dry-run"]
    assert run([*words, "--json"] if as_json else words) == 0
    text = capsys.readouterr().out
    if as_json:
        plan = json.loads(text)
        assert plan["parameters"][-1]["part"] == "all"
        assert plan["settings"]["lr"] == 1e-4
    else:
        assert "image_encoder.cnn_embed" in text
        assert "Dry run" in text
    assert not (tmp_path / "run").exists()


def test_stopped_and_resumed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from samedge.cli.training import TrainingProgress

    words = ["train", str(place / "data"), "-o", str(tmp_path / "run")]
    started = [*words, "--recipe", "full", "--config", str(place / "narrow.json"), *QUICK]
    with monkeypatch.context() as patch:

        def stop(_self: Any, now: Any) -> None:
            if now.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(TrainingProgress, "__call__", stop)
        assert run(started) == 130
    assert "stopped after step 2 of 6; the state is saved" in capsys.readouterr().err
    assert run([*words, "--resume"]) == 0
    for name in ("best.pth", "last.pth"):
        one, two = (folder / "run" / name for folder in (place, tmp_path))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        ([], 2, "Missing option '--recipe'"),
        (["--recipe", "samus"], 3, "needs a checkpoint to begin with"),
        (["--recipe", "full"], 3, "nothing to begin with"),
        (["--recipe", "full", "--config", "missing.json"], 3, "missing.json cannot be read"),
        (["--resume"], 3, "has no run.json"),
        (["--resume", "--lr", "1"], 2, "leave out --lr"),
        (["--recipe", "full", "--epochs", "1", "--steps", "1"], 3, "nothing to begin with"),
    ],
)
def test_what_does_not_fit(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    code: int,
    message: str,
) -> None:
    words = ["train", str(place / "data"), "-o", str(tmp_path / "run"), *extra]
    assert run(words) == code
    assert message in capsys.readouterr().err


def test_a_folder_in_use_other_data_and_bad_data(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--recipe", "full", "--config", str(place / "narrow.json"), *QUICK]
    assert run(["train", str(place / "data"), "-o", str(place / "run"), *config]) == 6
    assert "is not empty" in capsys.readouterr().err
    other = us30k(tmp_path / "other", 4)
    assert run(["train", str(other), "-o", str(place / "run"), "--resume"]) == 3
    assert "the data are not those that the run began with" in capsys.readouterr().err
    (other / "Heart" / "label" / "h2.png").unlink()
    assert run(["train", str(other), "-o", str(tmp_path / "run"), *config]) == 3
    assert "Heart/h2" in capsys.readouterr().err


def test_a_config_in_toml(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tomllib")
    text = "\n".join(f"{k} = {json.dumps(v)}" for k, v in NARROW.items())
    (tmp_path / "narrow.toml").write_text(text)
    words = ["train", str(place / "data"), "-o", str(tmp_path / "run"), "--recipe", "full"]
    assert run([*words, "--config", str(tmp_path / "narrow.toml"), "--dry-run"]) == 0
    (tmp_path / "odd.toml").write_text("width = 3")
    assert run([*words, "--config", str(tmp_path / "odd.toml"), "--dry-run"]) == 3
    assert "'width' is no field of SamusConfig" in capsys.readouterr().err


def test_distillation(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = {k: v for k, v in NARROW.items() if k not in ("prompt_dim", "decoder_heads")}
    (tmp_path / "small.json").write_text(json.dumps({**fields, "embed_dim": 8}))
    teacher, data = str(place / "run" / "best.pth"), str(pictures(tmp_path / "frames"))
    words = ["distill", teacher, data, "-o", str(tmp_path / "run")]
    config = ["--config", str(tmp_path / "small.json")]
    assert run([*words, *config, "--dry-run"]) == 0
    assert "prompt encoder and mask decoder are the teacher's" in capsys.readouterr().out
    assert run([*words, *config, *QUICK, "--mask-weight", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    opened = open_checkpoint(found["best"])
    assert (opened.config.embed_dim, opened.config.decoder_heads) == (8, 4)
    assert run([*words, "--resume", "--quiet"]) == 0
    assert run([*words, "--resume", "--seed", "3"]) == 2
    assert run(["train", data, "-o", str(tmp_path / "run"), "--resume"]) == 3
    assert "is a distillation" in capsys.readouterr().err


def test_distillation_on_labels(place: Path, tmp_path: Path) -> None:
    fields = {k: v for k, v in NARROW.items() if k != "family"}
    (tmp_path / "small.json").write_text(json.dumps({**fields, "embed_dim": 8}))
    data = folders(tmp_path / "data")
    words = ["distill", str(place / "run" / "best.pth"), str(data), "-o", str(tmp_path / "run")]
    assert run([*words, "--config", str(tmp_path / "small.json"), *QUICK, "--quiet"]) == 0


def test_the_family_that_is_said_is_the_teachers(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MedSAM's tensors are SAM's: only the option tells, and a resumed run remembers it."""
    torch.save(random_model(tiny_sam_config()).state_dict(), tmp_path / "sam.pth")
    fields = {k: v for k, v in STUDENT.items() if k != "cnn_channels"}
    (tmp_path / "small.json").write_text(json.dumps({**fields, "patch_size": 8}))
    data, out = str(pictures(tmp_path / "frames")), tmp_path / "run"
    words = ["distill", str(tmp_path / "sam.pth"), data, "-o", str(out)]
    config = ["--config", str(tmp_path / "small.json")]
    assert run([*words, *config, "--dry-run"]) == 0
    assert "teacher: Segment Anything" in capsys.readouterr().out
    assert run([*words, *config, "--family", "medsam", "--dry-run"]) == 0
    assert "teacher: MedSAM" in capsys.readouterr().out
    assert run([*words, *config, "--family", "medsam", *QUICK, "--quiet"]) == 0
    record = json.loads((out / "run.json").read_text())
    assert (record["teacher_family"], record["family"]) == ("medsam", "medsam")
    assert run([*words, "--resume", "--quiet"]) == 0


def test_the_family_of_a_checkpoint_to_begin_with(place: Path, tmp_path: Path) -> None:
    torch.save(random_model(tiny_sam_config()).state_dict(), tmp_path / "sam.pth")
    words = ["train", str(place / "data"), "-o", str(tmp_path / "run"), "--recipe", "medsam"]
    words += ["--init", str(tmp_path / "sam.pth"), "--dry-run", "--quiet"]
    assert run(words) == 0
    assert run([*words, "--family", "medsam"]) == 0
    assert run([*words, "--family", "samus"]) == 3


def test_durations() -> None:
    assert [duration(s) for s in (4, 200, 3900)] == ["4 s", "3 min 20 s", "1 h 05 min"]
