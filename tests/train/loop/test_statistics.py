"""BatchNorm in training: one update per step, whoever took part; averaged, saved, left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from samedge.checkpoint import open_checkpoint
from samedge.errors import Cancelled
from samedge.models import LiteMedsamConfig, PromptableModel, tiny
from samedge.models.tiny_vit import BatchNorm
from samedge.train.loop.devices import make_fabric
from samedge.train.loop.state import State
from samedge.train.loop.statistics import RunningStatistics, trained_norms
from tests.train.loop.test_resume import ROOT, assert_same_run
from tests.train.tiny_training import same, states, tiny_model, tiny_trainer

CONFIG = tiny(LiteMedsamConfig, depths=(1, 1, 1, 1))


def trainer(folder: Path, **said: Any) -> Any:
    return tiny_trainer(folder, tiny_model(CONFIG), "litemedsam", **{"lr": 1e-3, **said})


def statistics(model: PromptableModel) -> dict[str, torch.Tensor]:
    return {k: v for k, v in states(model).items() if ".running_" in k}


def test_a_step_of_one_batch_is_torchs_own() -> None:
    ours, torchs = BatchNorm(3), torch.nn.BatchNorm2d(3)
    kept = RunningStatistics(ours, make_fabric(accelerator="cpu"))
    for seed in range(3):
        batch = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        kept.begin()
        ours(batch)
        kept.add()
        kept.end(1)
        torchs(batch)
    assert torch.equal(ours.running_mean, torchs.running_mean)
    assert torch.equal(ours.running_var, torchs.running_var)


def test_micro_batches_count_alike() -> None:
    """Their order does not matter, as it would if each updated what the one before left."""
    batches = [torch.randn(4, 3, 5, 5) * scale + scale for scale in (1, 2, 5)]
    found = []
    for order in (batches, batches[::-1]):
        norm = BatchNorm(3)
        kept = RunningStatistics(norm, make_fabric(accelerator="cpu"))
        kept.begin()
        for batch in order:
            norm(batch)
            kept.add()
        kept.end(3)
        found.append(norm.running_mean.clone())
    torch.testing.assert_close(found[0], found[1])
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(found[0], 0.1 * mean)


def test_a_stopped_run_continues_to_the_same_statistics(tmp_path: Path) -> None:
    said = {"steps": 5, "ema": 0.9, "save_every": 2}
    trainer(tmp_path / "one", **said).run()

    def stop(now: Any) -> None:
        if now.step == 3:
            raise KeyboardInterrupt

    with pytest.raises((Cancelled, KeyboardInterrupt)):
        trainer(tmp_path / "two", progress=stop, **said).run()
    trainer(tmp_path / "two", **said).run(resume=True)
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_averaged_weights_come_with_averaged_statistics(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=4, ema=0.9)
    outcome = run.run()
    raw = statistics(run.task.model)
    with run._ema.applied():
        averaged = statistics(run.task.model)
    assert len(same(raw, averaged)) == len(raw)
    written = open_checkpoint(outcome.last, input_size=32).tensors
    assert not same({k: written[k] for k in averaged}, averaged)
    assert not same(statistics(run.task.model), raw)


def test_what_is_not_trained_keeps_its_statistics(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=2)
    model = run.task.model
    for name, parameter in model.named_parameters():
        if name.startswith("image_encoder.layers.0."):
            parameter.requires_grad_(False)
    before = statistics(model)
    assert len(trained_norms(model)) < len(before) / 2
    run.run()
    changed = same(before, statistics(model))
    assert changed
    assert not any(name.startswith("image_encoder.layers.0.") for name in changed)
    assert len(changed) == 2 * len(trained_norms(model))


def test_bfloat16_keeps_float32_statistics(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=2, precision="bf16-mixed", channels_last=True, held_out=False)
    before = statistics(run.task.model)
    run.run()
    after = statistics(run.task.model)
    assert all(v.dtype == torch.float32 and bool(v.isfinite().all()) for v in after.values())
    assert len(same(before, after)) == len(before)


def test_two_processes_learn_what_one_does_that_accumulates_twice(tmp_path: Path) -> None:
    code = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from samedge.train.loop.devices import make_fabric
from tests.train.loop.test_statistics import trainer
trainer(Path(sys.argv[1]), fabric=make_fabric("32-true", "cpu", 1), batch=2, steps=3, ema=0.9).run()
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [*words, str(script), str(tmp_path / "two")]
    done = subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one = trainer(tmp_path / "one", batch=2, accumulate=2, steps=3, ema=0.9)
    one.run()
    two = State.load(tmp_path / "two")
    for name, tensor in states(one.task.model).items():
        torch.testing.assert_close(two.model[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    for mine, theirs in zip(one._ema.average, two.ema, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
