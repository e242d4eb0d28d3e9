"""A small encoder learns a large one's embedding."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import samedge
from samedge.checkpoint import open_checkpoint
from samedge.errors import Cancelled, NotSupportedError, TrainingError
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    SamConfig,
    SamusConfig,
    tiny,
)
from samedge.train.distill.distilling import _task, distill, make_pair, resume_distillation
from samedge.train.distill.task import DistillWeights, align, embedding_loss
from samedge.train.loop.state import State
from samedge.train.loop.trainer import Outcome
from samedge.train.official import write_weights
from samedge.train.run import RunOptions
from tests.train.data.layouts import disc, folders, picture, write
from tests.train.tiny_training import same, tiny_model

STUDENT: dict[str, Any] = {
    "img_size": 48,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "global_blocks": [1],
    "window_size": 4,
    "cnn_channels": [4, 6, 8],
}
TEACHERS: dict[str, ModelConfig] = {
    "sam": tiny(SamConfig, img_size=64, patch_size=8),
    "medsam": tiny(MedsamConfig, img_size=64, patch_size=8),
    "samus": tiny(SamusConfig),
    "msa": tiny(MsaConfig, img_size=64, patch_size=8),
    "autosamus": tiny(AutosamusConfig),
    "mobile_sam": tiny(MobileSamConfig, img_size=1024),
    "litemedsam": tiny(LiteMedsamConfig, img_size=256),
}
TINY_STUDENT: dict[str, Any] = {
    "img_size": 32,
    "widths": [4, 8, 8, 12],
    "depths": [1, 1, 1, 1],
    "heads": [1, 1, 2, 2],
    "windows": [5, 5, 5, 5],
}
SAID = {"epochs": 8, "batch": 4, "warmup": 0, "lr": 0.005, "seed": 3}
QUIET = RunOptions(accelerator="cpu")


def teacher_file(folder: Path, family: str) -> Path:
    """A teacher's checkpoint; its embedding depends on the image."""
    path = folder / f"{family}.pth"
    write_weights(tiny_model(TEACHERS[family], seed=1), path)
    return path


def pictures(folder: Path, count: int = 11) -> Path:
    """Images without labels, of a shape that SAM's input would be padded for."""
    for i in range(count):
        label = disc(60, 90, (30 + 3 * i, 30), 14)
        write(folder / f"p{i}.png", picture(label, i))
    return folder


def student_of(family: str) -> dict[str, Any]:
    if family == "medsam":
        fields = {k: v for k, v in STUDENT.items() if k != "cnn_channels"}
        return {**fields, "patch_size": 8}
    return STUDENT


def says_of(family: str) -> dict[str, str]:
    """What has to be said of a teacher's file: MedSAM's tensors are SAM's."""
    return {"family": family} if family == "medsam" else {}


def distilled(teacher: Path, data: Path, run: Path, family: str) -> tuple[Outcome, list[float]]:
    """A student that learned from the teacher, and its loss after every step."""
    losses: list[float] = []
    options = RunOptions(accelerator="cpu", progress=lambda p: losses.append(p.loss))
    outcome = distill(
        [teacher],
        data,
        run,
        config=student_of(family),
        says=says_of(family),
        options=options,
        **SAID,
    )
    return outcome, losses


@pytest.mark.parametrize("family", ["sam", "medsam", "samus", "msa", "autosamus"])
def test_any_teacher_on_labels(family: str, tmp_path: Path) -> None:
    teacher, data = teacher_file(tmp_path, family), folders(tmp_path / "data")
    outcome, losses = distilled(teacher, data, tmp_path / "run", family)
    assert outcome.dice is not None
    assert np.mean(losses[-2:]) < 0.95 * np.mean(losses[:2]), losses
    wanted = "medsam" if family == "medsam" else "samus"
    opened = open_checkpoint(outcome.best, family=wanted)
    assert opened.config.embed_dim == 16
    original = open_checkpoint(teacher, **says_of(family)).tensors
    taken = {k: v for k, v in opened.tensors.items() if k.startswith("mask_decoder.")}
    if family in ("sam", "samus", "medsam"):
        assert not same(taken, {k: original[k] for k in taken})


@pytest.mark.parametrize("family", ["sam", "medsam", "samus"])
def test_images_without_labels(family: str, tmp_path: Path) -> None:
    teacher, data = teacher_file(tmp_path, family), pictures(tmp_path / "data")
    outcome, losses = distilled(teacher, data, tmp_path / "run", family)
    assert outcome.dice is not None
    assert np.mean(losses[-2:]) < np.mean(losses[:2]), losses


@pytest.mark.parametrize(
    ("family", "student"),
    [("medsam", "litemedsam"), pytest.param("sam", "mobile_sam", marks=pytest.mark.slow)],
)
def test_a_tiny_vit_learns_from_another_family(family: str, student: str, tmp_path: Path) -> None:
    """As LiteMedSAM came from MedSAM; with an average, statistics and all, through the export."""
    teacher, data = teacher_file(tmp_path, family), pictures(tmp_path / "data")
    losses: list[float] = []
    size = 128 if student == "mobile_sam" else 32
    outcome = distill(
        [teacher],
        data,
        tmp_path / "run",
        config={**TINY_STUDENT, "family": student, "img_size": size},
        says=says_of(family),
        options=RunOptions(accelerator="cpu", progress=lambda p: losses.append(p.loss)),
        **SAID,
        ema=0.5,
    )
    assert np.mean(losses[-2:]) < 0.95 * np.mean(losses[:2]), losses
    opened = open_checkpoint(outcome.best)
    assert opened.family.name == student
    assert opened.variant.input_size == size
    bundle = samedge.export(samedge.fold(opened.build()), tmp_path / "student.samedge").bundle
    assert bundle.family.name == student


def test_the_usual_student(tmp_path: Path) -> None:
    """Of what it takes: a teacher that takes boxes only has one of its own family."""
    pair = make_pair(opened(tmp_path, "litemedsam"), TINY_STUDENT)
    assert (pair.student.family.name, pair.prompt) == ("litemedsam", "box")
    pair = make_pair(opened(tmp_path, "mobile_sam"), STUDENT)
    assert (pair.student.family.name, pair.prompt) == ("samus", "random_click")
    assert pair.taken_over


def test_the_student_exports_like_any_other(tmp_path: Path) -> None:
    teacher, data = teacher_file(tmp_path, "sam"), pictures(tmp_path / "data")
    outcome = distill(
        [teacher], data, tmp_path / "run", config=STUDENT, options=QUIET, **{**SAID, "epochs": 1}
    )
    model = open_checkpoint(outcome.best).build()
    bundle = samedge.export(samedge.fold(model), tmp_path / "student.samedge").bundle
    with samedge.load(bundle.path) as session:
        frame = picture(disc(60, 90, (40, 30), 14))
        assert session.segment(frame, points=[(40, 30)]).masks.shape == (1, 60, 90)


def test_a_stopped_distillation_continues_to_the_same_numbers(tmp_path: Path) -> None:
    teacher, data = teacher_file(tmp_path, "sam"), pictures(tmp_path / "data")
    said = {**SAID, "epochs": 3}
    distill([teacher], data, tmp_path / "one", config=STUDENT, options=QUIET, **said)

    def stop(now: Any) -> None:
        if now.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    options = RunOptions(accelerator="cpu", progress=stop)
    with pytest.raises(Cancelled):
        distill([teacher], data, tmp_path / "two", config=STUDENT, options=options, **said)
    resume_distillation([teacher], data, tmp_path / "two", options=QUIET)
    one, two = State.load(tmp_path / "one"), State.load(tmp_path / "two")
    assert one.position == two.position
    assert not same(one.model, two.model)
    other = tmp_path / "other"
    other.mkdir()
    write_weights(tiny_model(TEACHERS["sam"], seed=2), other / "sam.pth")
    with pytest.raises(TrainingError, match="another teacher"):
        resume_distillation([other / "sam.pth"], data, tmp_path / "two", options=QUIET)


def opened(tmp_path: Path, family: str) -> Any:
    return open_checkpoint(teacher_file(tmp_path, family), **says_of(family))


def test_students_that_do_not_fit(tmp_path: Path) -> None:
    sam = opened(tmp_path, "sam")
    with pytest.raises(TrainingError, match="the student's prompt_dim is 16, its teacher's 32"):
        make_pair(sam, {**STUDENT, "prompt_dim": 16})
    with pytest.raises(TrainingError, match="one of samus, sam, medsam"):
        make_pair(sam, {**STUDENT, "family": "samed"})
    with pytest.raises(TrainingError, match="MedSAM knows box prompts, a SAMUS point"):
        make_pair(opened(tmp_path, "medsam"), {**STUDENT, "family": "samus"})
    with pytest.raises(NotSupportedError, match="give a labelled data set"):
        make_pair(opened(tmp_path, "autosamus"), STUDENT, labelled=False)


@given(
    grid=st.integers(2, 9),
    side=st.integers(2, 9),
    valid=st.tuples(st.floats(0.3, 1), st.floats(0.3, 1)),
)
def test_a_ramp_over_the_frame_stays_one(grid: int, side: int, valid: tuple[float, float]) -> None:
    """Wherever the teacher's padding is: a value that grows with x over the frame is read there."""
    stride = 16.0
    rows, cols = (v * grid * stride for v in valid)
    centres = (torch.arange(grid) + 0.5) * stride
    ramp = torch.stack(torch.meshgrid(centres / rows, centres / cols, indexing="ij"))[None]
    size = torch.tensor([[rows, cols]])
    found = align(ramp, size, torch.full((1, 2), 8.0 * side), side, (stride, 8.0))
    wanted = (torch.arange(side) + 0.5) / side
    # Half a token at the border has no neighbour to be read between.
    low_y, high_y = stride / 2 / rows, (grid - 0.5) * stride / rows
    low_x, high_x = stride / 2 / cols, (grid - 0.5) * stride / cols
    torch.testing.assert_close(found[0, 0, :, 0], wanted.clamp(low_y, high_y), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0, 1, 0], wanted.clamp(low_x, high_x), rtol=0, atol=1e-5)


def test_equal_grids_are_left_alone() -> None:
    maps = torch.randn(2, 3, 4, 4)
    full = torch.full((2, 2), 64.0)
    assert torch.equal(align(maps, full, torch.full((2, 2), 32.0), 4, (16.0, 8.0)), maps)


def test_the_embedding_loss_has_no_scale() -> None:
    teacher = torch.randn(2, 8, 4, 4)
    student = torch.randn(2, 8, 4, 4)
    weights = DistillWeights()
    assert float(embedding_loss(teacher, teacher, weights)) == pytest.approx(0, abs=1e-6)
    one = embedding_loss(student, teacher, weights)
    assert float(embedding_loss(7 * student, 7 * teacher, weights)) == pytest.approx(float(one))
    mean = teacher.mean((0, 2, 3), keepdim=True).expand_as(teacher)
    only = DistillWeights(cosine=0.0)
    assert float(embedding_loss(mean, teacher, only)) == pytest.approx(1)


def test_the_teacher_is_not_trained(tmp_path: Path) -> None:
    pair = make_pair(opened(tmp_path, "sam"), STUDENT)
    task = _task(pair, DistillWeights(), train_decoder=False, labelled=True)
    trained = [n for n, p in task.named_parameters() if p.requires_grad]
    assert trained
    assert all(n.startswith("model.image_encoder.") for n in trained)
    task.train()
    assert not pair.teacher.training
    decoder = _task(pair, DistillWeights(), train_decoder=True, labelled=True)
    assert any(
        p.requires_grad for n, p in decoder.named_parameters() if n.startswith("model.mask_decoder")
    )
