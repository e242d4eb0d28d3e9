"""The loop: files, scores, early stopping, and what goes wrong."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from samedge.checkpoint import open_checkpoint
from samedge.errors import CheckpointError, OutputError, SourceError, TrainingError
from samedge.train.loop.batches import BatchPlan
from samedge.train.loop.ema import Ema
from samedge.train.loop.progress import TrainingReport
from samedge.train.loop.validation import dice_scores
from samedge.train.recipes import RECIPES
from samedge.train.settings import Settings, settings_for
from tests.train.tiny_training import Broken, same, states, tiny_model, tiny_trainer


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a log."""
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_run_leaves_weights_logs_sheets_and_a_state(tmp_path: Path) -> None:
    told: list[TrainingReport] = []
    trainer = tiny_trainer(tmp_path, steps=6, progress=told.append)
    outcome = trainer.run()
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"best.pth", "last.pth", "state.pt", "steps.csv", "epochs.csv", "sheets"}
    assert outcome.step == 6
    assert 0 <= (outcome.dice or 0) <= 1
    rows = rows_of(tmp_path / "steps.csv")
    assert [int(r["step"]) for r in rows] == [1, 2, 3, 4, 5, 6]
    epochs = rows_of(tmp_path / "epochs.csv")
    assert [int(r["step"]) for r in epochs] == [3, 6]
    sheet = cv2.imread(str(tmp_path / "sheets" / "epoch-0002.jpg"))
    assert sheet.shape[1] == 1600
    assert [p.step for p in told if p.validated] == [3, 6]
    assert told[-1].remaining_s == 0
    assert told[0].remaining_s > 0
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_score_rises(tmp_path: Path) -> None:
    outcome = tiny_trainer(tmp_path, steps=90, lr=2e-3, validate_every=30).run()
    assert outcome.dice is not None
    assert outcome.dice > 0.7


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_best_weights_are_the_averaged_ones_to_the_bit(tmp_path: Path, suffix: str) -> None:
    trainer = tiny_trainer(tmp_path, steps=4, ema=0.9, suffix=suffix)
    outcome = trainer.run()
    model = trainer.task.model
    raw = states(model)
    with trainer._ema.applied():
        averaged = states(model)
    assert same(raw, averaged)
    assert not same(raw, states(model))
    assert not same(open_checkpoint(outcome.last).tensors, averaged)


def test_the_average() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    average = Ema([weight], 0.75)
    weight.data.fill_(1.0)
    average.update(1000)
    assert torch.allclose(average.average[0], torch.full((3,), 0.25))
    none = Ema([weight], 0.0)
    none.update(1)
    with none.applied():
        assert weight.data.eq(1).all()


def test_patience_ends_a_run(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, steps=60, lr=1e-12, patience=2)
    outcome = trainer.run()
    assert outcome.early
    assert outcome.step == 9
    assert outcome.best_step == 3
    # Resuming a run that has ended does nothing.
    again = tiny_trainer(tmp_path, steps=60, lr=1e-12, patience=2).run(resume=True)
    assert (again.step, again.early) == (9, True)


def test_accumulating_is_one_larger_batch_for_a_loss_that_is_a_mean(tmp_path: Path) -> None:
    plan = BatchPlan(12, batch=2, accumulate=2, seed=1)
    assert plan.steps == 3
    assert len(plan.micro_batches(0)) == 6
    flat = [i for b in plan.micro_batches(0) for i in b]
    assert sorted(flat) == list(range(12))
    assert flat == BatchPlan(12, batch=4, seed=1).order(0)
    assert plan.micro_batches(0) != plan.micro_batches(1)
    assert plan.micro_batches(0, 2) == plan.micro_batches(0)[4:]
    # Two processes see what one sees that accumulates twice as often.
    shares = [BatchPlan(12, 2, 1, world=2, rank=r, seed=1).micro_batches(0) for r in (0, 1)]
    assert [b for pair in zip(*shares, strict=True) for b in pair] == plan.micro_batches(0)
    assert BatchPlan(3, batch=4).steps == 1
    assert len(BatchPlan(3, batch=4).micro_batches(0)[0]) == 4
    outcome = tiny_trainer(tmp_path, steps=2, batch=2, accumulate=2, held_out=False).run()
    assert outcome.step == 2
    assert outcome.dice is None


def test_mixed_precision_and_channels_last_train(tmp_path: Path) -> None:
    losses: list[float] = []
    trainer = tiny_trainer(
        tmp_path,
        steps=12,
        lr=2e-3,
        precision="bf16-mixed",
        channels_last=True,
        held_out=False,
        progress=lambda p: losses.append(p.loss),
    )
    trainer.run()
    assert sum(losses[-3:]) < sum(losses[:3])
    assert all(p.dtype == torch.float32 for p in trainer.task.parameters())


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    first = tiny_trainer(tmp_path, steps=6)
    poisoned = _Poisoned(first)
    with pytest.raises(TrainingError, match=r"loss is nan in step 5 \(epoch 2\).*discs/") as caught:
        poisoned.run()
    assert "--lr" in str(caught.value)
    # What was saved after the first epoch is whole, and the run can go on from there.
    assert open_checkpoint(tmp_path / "best.pth").parameters
    assert tiny_trainer(tmp_path, steps=6).run(resume=True).step == 6


class _Poisoned:
    """A trainer whose fifth batch gives NaN."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._calls = trainer, 0
        forward = trainer.task.forward

        def poisoned(batch: Any) -> torch.Tensor:
            self._calls += 1
            return forward(batch) * (float("nan") if self._calls == 5 else 1.0)

        trainer.task.forward = poisoned

    def run(self) -> Any:
        return self._trainer.run()


def test_a_gradient_that_is_no_number(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    weight = next(p for p in trainer.task.parameters() if p.requires_grad)
    weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(TrainingError, match=r"norm of the gradient is.*No state was saved yet"):
        trainer.run()


def test_a_full_disk_leaves_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_trainer(tmp_path, steps=3).run()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    trainer = tiny_trainer(tmp_path, steps=6)
    trainer.position.step = 0
    with pytest.raises(OutputError, match=r"no space left.*--resume"):
        trainer.run()
    with pytest.raises(OutputError, match="No state was saved yet") as caught:
        tiny_trainer(tmp_path / "new", steps=3).run()
    assert "--resume" not in str(caught.value)
    for name in ("state.pt", "best.pth", "last.pth"):
        assert (tmp_path / name).read_bytes() == before[name], name
    assert not list(tmp_path.glob(".*"))


def test_errors_of_the_data_pass_through(tmp_path: Path) -> None:
    error = SourceError("discs/7: the label is missing")
    with pytest.raises(SourceError, match="discs/7: the label is missing"):
        tiny_trainer(tmp_path, samples=Broken(7, error)).run()


def test_nothing_to_train(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    trainer.task.requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter"):
        trainer.run()


def test_resuming_from_nothing_or_from_damage(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no state\.pt"):
        tiny_trainer(tmp_path).run(resume=True)
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match="damaged"):
        tiny_trainer(tmp_path).run(resume=True)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("position", {"step": 1}, "does not say where the run was"),
        ("position", {"step": "1"}, "'step' is '1'; expected a whole number"),
        ("ema", None, "part 'ema' is a NoneType"),
        ("model", {}, "does not fit this run"),
        ("optimiser", {"state": {}, "param_groups": []}, "does not fit this run"),
        ("random", {"torch": 1}, "does not fit this run"),
    ],
)
def test_a_state_that_does_not_fit(tmp_path: Path, part: str, value: object, words: str) -> None:
    tiny_trainer(tmp_path).run()
    content = torch.load(tmp_path / "state.pt", weights_only=True)
    if part == "position" and len(value) == 1 and value["step"] != 1:
        value = {**content["position"], **value}
    torch.save({**content, part: value}, tmp_path / "state.pt")
    with pytest.raises(CheckpointError, match=f"{words}.*start again"):
        tiny_trainer(tmp_path).run(resume=True)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"lr": 0.0}, "lr=0.0 came; expected a positive"),
        ({"batch": 0}, "batch=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 1, "steps": 1}, "epochs and steps"),
        ({"ema": 1.0}, "decay below 1"),
        ({"precision": "fp8"}, "expected one of 32-true"),
        ({"schedule": "never"}, "expected one of constant"),
        ({"optimiser": "lion"}, "expected one of adam"),
        ({"clip": -1.0}, "not clipped"),
    ],
)
def test_settings_that_do_not_fit(said: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        settings_for(RECIPES["samus"], 100, **said)


def test_settings_come_from_the_recipe() -> None:
    found = settings_for(RECIPES["samed"], 120, epochs=3, seed=None)
    assert found == Settings(
        steps=30, batch=12, lr=0.005, weight_decay=0.1, warmup=250, schedule="poly"
    )


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_norms_of_training_are_the_same_up_to_rounding(memory: torch.memory_format) -> None:
    """In training mode the norms of convolutions are another kernel's."""
    model = tiny_model().to(memory_format=memory).eval()
    x = torch.rand(2, 1, 64, 64)
    plain = model.encode(x)
    plain.square().sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    trained = model.train().encode(x)
    trained.square().sum().backward()
    assert not torch.equal(trained, plain)
    torch.testing.assert_close(trained, plain, rtol=0, atol=1e-4)
    for name, parameter in model.named_parameters():
        if name in gradients:
            scale = float(gradients[name].abs().max())
            torch.testing.assert_close(
                parameter.grad, gradients[name], rtol=0, atol=1e-4 * scale + 1e-4, msg=name
            )


def test_dice() -> None:
    found, truth = torch.zeros(4, 1, 4, 4).bool(), torch.zeros(4, 1, 4, 4).bool()
    found[0, 0, :2], truth[0, 0, :2] = True, True  # equal
    found[1, 0, :2], truth[1, 0, 2:] = True, True  # apart
    found[2, 0, :2], truth[2, 0, 1:3] = True, True  # half
    assert dice_scores(found, truth).tolist() == [1, 0, 0.5, 1]


def test_the_seed_decides_fresh_weights() -> None:
    one, same_seed, other = (states(tiny_model(seed=s)) for s in (1, 1, 2))
    assert not same(one, same_seed)
    assert same(one, other)
