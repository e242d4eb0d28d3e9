"""`samedge train` and `samedge distill`."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import samedge
from samedge.checkpoint import open_checkpoint
from samedge.cli import run
from samedge.cli.training import duration
from samedge.models import tiny_sam_config
from tests.fold.oracle import random_model
from tests.train.data.layouts import folders, us30k, write
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


def test_two_data_sets_and_boxes(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several data sets, mixed prompts; the bundle takes boxes, with the checkpoint's masks."""
    us30k(tmp_path / "own", 4)
    (tmp_path / "own" / "MainPatient" / "val.txt").unlink()
    config = tmp_path / "boxes.json"
    config.write_text(json.dumps(NARROW | {"prompts": ["point", "box"]}))
    data = [str(place / "data"), str(tmp_path / "own")]
    words = ["train", *data, "-o", str(tmp_path / "run"), "--quiet"]
    started = [*words, "--recipe", "full", "--config", str(config), "--times", "1,3"]
    started += ["--steps", "2", "--batch", "4", "--accelerator", "cpu"]
    assert run(started) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["samples"] == 12 + 3 * 8
    assert (record["data"]["name"], record["data"]["times"]) == ("data + own", [1, 3])
    assert run([*words, "--resume"]) == 0
    assert run([*words, "--resume", "--times", "1,3"]) == 2
    assert run([*started, "--times", "1,x"]) == 2
    assert "expected whole numbers" in capsys.readouterr().err

    opened = open_checkpoint(tmp_path / "run" / "best.pth")
    assert opened.family.prompts == ("point", "box")
    bundle = tmp_path / "boxes.samedge"
    assert run(["export", str(tmp_path / "run" / "best.pth"), "-o", str(bundle), "--quiet"]) == 0
    session = samedge.load(bundle, precision="fp32")
    side = opened.config.img_size
    frame = np.random.default_rng(0).integers(0, 255, (side, side), np.uint8)
    box = [8.0, 10.0, side - 20.0, side - 14.0]
    found = session.segment(frame, box=box).low_res_logits
    model = opened.build()
    with torch.inference_mode():
        image = torch.from_numpy(frame)[None, None].float() / 255
        logits, _ = model.decode(model.encode(image), boxes=torch.tensor([box]))
    assert np.abs(found - logits[:, 0].numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        ([], 2, "Missing option '--recipe'"),
        (["--recipe", "samus"], 3, "needs a checkpoint to begin with"),
        (["--recipe", "full"], 3, "nothing to begin with"),
        (["--recipe", "full", "--config", "missing.json"], 3, "there is no file 'missing.json'"),
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


@pytest.mark.parametrize("kind", ["img", "label"])
def test_a_broken_held_out_sample_shows_before_the_first_step(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    data = us30k(tmp_path / "data", 6)
    (data / "MainPatient" / "val.txt").write_text("1/Nodule/n5\n")
    lines = (data / "MainPatient" / "train.txt").read_text().splitlines()
    (data / "MainPatient" / "train.txt").write_text("\n".join(lines[:-2]))
    file = data / "Nodule" / kind / "n5.png"
    file.write_bytes(file.read_bytes()[:200])
    words = ["train", str(data), "-o", str(tmp_path / "run"), "--recipe", "full", *QUICK]
    assert run([*words, "--config", str(place / "narrow.json")]) == 3
    said = capsys.readouterr().err
    assert "1 of 11 samples cannot be used" in said
    assert "of Nodule/n5 is a damaged PNG file" in said
    assert "resume" not in said
    assert "step" not in said
    assert not (tmp_path / "run").exists()


def test_lists_that_make_no_sense(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = us30k(tmp_path / "data", 6)
    words = ["train", str(data), "-o", str(tmp_path / "run"), "--recipe", "full", *QUICK]
    words += ["--config", str(place / "narrow.json")]
    assert run([*words, "--held-out", "valid"]) == 3
    assert "there is no list MainPatient/valid.txt" in capsys.readouterr().err
    assert run(words) == 0
    assert "note: 2 of 2 held-out samples are trained on as well" in capsys.readouterr().err
    for path in (data / "Nodule" / "label").iterdir():
        write(path, np.zeros((70, 90), np.uint8))
    assert run([*words[:3], str(tmp_path / "other"), *words[4:], "--split", "test-Nodule"]) == 3
    assert "there is nothing to learn" in capsys.readouterr().err


def test_a_run_without_a_state_is_not_to_be_resumed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text((place / "run" / "run.json").read_text())
    words = ["train", str(place / "data"), "-o", str(out)]
    config = ["--recipe", "full", "--config", str(place / "narrow.json"), *QUICK]
    assert run([*words, *config]) == 6
    said = capsys.readouterr().err
    assert "ended before its first saved state: remove it, or choose another folder" in said
    assert "--resume" not in said
    assert run([*words, "--resume"]) == 3
    assert "the run ended before its first saved state" in capsys.readouterr().err


def test_empty_masks_of_an_untrained_teacher_are_no_score(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = torch.load(place / "run" / "best.pth", weights_only=True)
    mute = {k: v for k, v in weights.items() if k != "samedge_config"}
    for name in list(mute):
        if "output_hypernetworks_mlps" in name and ".layers.2." in name:
            mute[name] = torch.zeros_like(mute[name])  # logits of 0: no pixel is above
    torch.save({**weights, **mute}, tmp_path / "mute.pth")
    fields = {k: v for k, v in NARROW.items() if k not in ("prompt_dim", "decoder_heads")}
    (tmp_path / "small.json").write_text(json.dumps(fields))
    words = ["distill", str(tmp_path / "mute.pth"), str(pictures(tmp_path / "frames"))]
    words += ["--config", str(tmp_path / "small.json"), *QUICK]
    assert run([*words, "-o", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert "Best Dice 1.0000" in out
    assert "In 2 of 2 held-out samples the mask and what it is compared with" in out
    assert "this score says nothing" in out
    assert "2 held-out samples empty in label and mask" in err
    assert run([*words, "-o", str(tmp_path / "again"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["held_out"], found["both_empty"]) == (2, 2)


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


def test_a_log_file_gets_a_line_every_minute(capsys: pytest.CaptureFixture[str]) -> None:
    """Two hours with a step every two seconds and a validation every 50 minutes."""
    from samedge.cli.terminal.printing import Printer
    from samedge.cli.training import TrainingProgress
    from samedge.progress import Step
    from samedge.train.loop.progress import TrainingReport

    now = 0.0
    with TrainingProgress(Printer(), clock=lambda: now) as progress:
        for number in range(90):
            progress.reading(Step("reading the lists", number, 90))
            now += 1.0
        for step in range(1, 3601):
            now += 2.0
            left = 2.0 * (3600 - step)
            report = TrainingReport(step, 3600, step // 1500, 0.25, 1e-4, 8.0, left)
            progress(report)
            if step % 1500 == 0:
                progress(replace(report, validated=True, dice=0.9, best=0.9))
    lines = capsys.readouterr().err.splitlines()
    assert 115 <= len(lines) <= 125
    assert lines[:2] == ["  reading the lists, 0 of 90", "  reading the lists, 60 of 90"]
    assert lines[2] == "  step 15 of 3600, loss 0.2500, 8.0 images/s, 1 h 59 min left"
    assert sum("Dice 0.9000" in line for line in lines) == 2
    with TrainingProgress(Printer(quiet=True), clock=lambda: now) as progress:
        progress(report)
    assert capsys.readouterr().err == ""
