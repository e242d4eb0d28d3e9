"""A run that was stopped, however it was, continues to the very same numbers."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from samedge.errors import Cancelled
from samedge.train.loop.state import State
from tests.train.tiny_training import same, states, tiny_trainer

ROOT = Path(__file__).resolve().parents[3]
SAID = {"steps": 9, "ema": 0.9, "clip": 1.0, "save_every": 2}


def numbers(folder: Path, name: str = "steps.csv") -> list[list[str]]:
    """Rows of a log, without the speed."""
    rows = csv.DictReader((folder / name).read_text().splitlines())
    return [[v for k, v in row.items() if k != "images_per_s"] for row in rows]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimiser, averages, scores and logs are equal to the last bit."""
    first, second = State.load(one), State.load(other)
    assert first.position == second.position
    assert not same(first.model, second.model)
    assert all(torch.equal(a, b) for a, b in zip(first.ema, second.ema, strict=True))
    for mine, theirs in zip(_tensors(first.optimiser), _tensors(second.optimiser), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(first.random["torch"], second.random["torch"])
    for log in ("steps.csv", "epochs.csv"):
        assert numbers(one, log) == numbers(other, log)
    for weights in ("best.pth", "last.pth"):
        assert (one / weights).read_bytes() == (other / weights).read_bytes()


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, dict):
        return [t for v in value.values() for t in _tensors(v)]
    if isinstance(value, list):
        return [t for v in value for t in _tensors(v)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a break."""
    folder = tmp_path_factory.mktemp("whole")
    tiny_trainer(folder, **SAID).run()
    return folder


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_asked_to_stop_after_any_step(whole: Path, tmp_path: Path, step: int) -> None:
    """In the middle of an epoch, at its end, with and without a saved state just before."""

    def stop(now: Any) -> None:
        if now.step == step and not now.validated:
            os.kill(os.getpid(), signal.SIGTERM if step % 2 else signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Cancelled, match=f"after step {step} of 9.*--resume"):
        tiny_trainer(tmp_path, progress=stop, **SAID).run()
    assert signal.getsignal(signal.SIGINT) is handler
    assert State.load(tmp_path).position.step == step
    tiny_trainer(tmp_path, **SAID).run(resume=True)
    assert_same_run(whole, tmp_path)


def test_crashed_after_the_last_saved_state(whole: Path, tmp_path: Path) -> None:
    """Steps after it are done again, and their rows replaced."""

    def crash(now: Any) -> None:
        if now.step == 8:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        tiny_trainer(tmp_path, progress=crash, **SAID).run()
    assert State.load(tmp_path).position.step == 6
    assert len(numbers(tmp_path)) == 8
    torch.manual_seed(99)  # nothing depends on what happened before
    tiny_trainer(tmp_path, **SAID).run(resume=True)
    assert_same_run(whole, tmp_path)


def test_stopped_twice(whole: Path, tmp_path: Path) -> None:
    for step in (2, 7):

        def stop(now: Any, step: int = step) -> None:
            if now.step == step:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Cancelled):
            tiny_trainer(tmp_path, progress=stop, **SAID).run(resume=step == 7)
    tiny_trainer(tmp_path, **SAID).run(resume=True)
    assert_same_run(whole, tmp_path)


def test_workers_change_nothing(whole: Path, tmp_path: Path) -> None:
    tiny_trainer(tmp_path, workers=2, **SAID).run()
    assert not same(State.load(whole).model, State.load(tmp_path).model)


CHILD = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[3]))
from tests.train.tiny_training import tiny_trainer
from tests.train.loop.test_resume import SAID
def tell(now):
    print(now.step, flush=True)
tiny_trainer(Path(sys.argv[1]), progress=tell, **SAID).run(resume=sys.argv[2] == "resume")
"""


def child(folder: Path, resume: bool) -> subprocess.Popen[str]:
    threads = str(torch.get_num_threads())
    words = [sys.executable, "-c", CHILD, str(folder), "resume" if resume else "new", threads]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_in_the_middle_of_anything(whole: Path, tmp_path: Path) -> None:
    """SIGKILL at a moment that nobody chose, perhaps while a file is being written."""
    running = child(tmp_path, resume=False)
    assert running.stdout is not None
    for line in running.stdout:
        if int(line) >= 3:  # something is saved by then
            break
    time.sleep(random.Random(os.getpid()).uniform(0, 0.4))
    running.kill()
    running.wait()
    running.stdout.close()
    again = child(tmp_path, resume=True)
    again.communicate()
    assert again.returncode == 0
    assert_same_run(whole, tmp_path)


def test_two_processes_are_one_that_accumulates_twice(tmp_path: Path) -> None:
    """Gloo adds in another order than one process, so up to rounding."""
    code = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from samedge.train.loop.devices import make_fabric
from tests.train.tiny_training import tiny_trainer
fabric = make_fabric("32-true", "cpu", 1)
assert fabric.world_size == 2
tiny_trainer(Path(sys.argv[1]), fabric=fabric, batch=2, steps=4).run()
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, "--standalone", str(script), str(tmp_path / "two")],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one = tiny_trainer(tmp_path / "one", batch=2, accumulate=2, steps=4)
    one.run()
    two = State.load(tmp_path / "two")
    for name, tensor in states(one.task.model).items():
        torch.testing.assert_close(two.model[name], tensor, rtol=1e-3, atol=2e-5, msg=name)
    losses = [float(r[2]) for r in numbers(tmp_path / "one")]
    assert losses == pytest.approx([float(r[2]) for r in numbers(tmp_path / "two")], abs=1e-4)
