"""Every path that a command takes, leading to nothing or to what is no file: a message, in time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image

import samedge
from samedge.checkpoint import open_checkpoint
from samedge.cli import run
from samedge.errors import SamEdgeError
from samedge.sources.opening import open_source
from tests.conftest import TINY_BUNDLE

BUNDLE = str(TINY_BUNDLE)
POINT = ["--point", "10,10"]
RECIPE = ["--recipe", "full", "--family", "samus"]

# PATH stands for the odd one.
COMMANDS = {
    "inspect": ["inspect", "PATH"],
    "export": ["export", "PATH", "-o", "out.samedge"],
    "export -o": ["export", BUNDLE, "-o", "PATH", "--precision", "fp16"],
    "export --calibration": [
        *("export", BUNDLE, "-o", "out.samedge"),
        *("--precision", "int8", "--calibration", "PATH"),
    ],
    "build": ["build", "PATH"],
    "build -o": ["build", BUNDLE, "-o", "PATH"],
    "build --timing-cache": ["build", BUNDLE, "--timing-cache", "PATH"],
    "verify": ["verify", "PATH"],
    "segment": ["segment", "PATH", "img", "-o", "out", *POINT],
    "segment SOURCE": ["segment", BUNDLE, "PATH", "-o", "out", *POINT],
    "segment -o": ["segment", BUNDLE, "img", "-o", "PATH", *POINT],
    "segment --prompts": ["segment", BUNDLE, "img", "-o", "out", "--prompts", "PATH"],
    "eval": ["eval", "PATH", "--data", "img", "--labels", "label"],
    "eval --data": ["eval", BUNDLE, "--data", "PATH"],
    "eval --labels": ["eval", BUNDLE, "--data", "img", "--labels", "PATH"],
    "eval -o": ["eval", BUNDLE, "--data", "img", "--labels", "label", "-o", "PATH"],
    "bench": ["bench", "PATH"],
    "bench --source": ["bench", BUNDLE, "--source", "PATH"],
    "bench --eager": ["bench", BUNDLE, "--frames", "2", "--eager", "PATH"],
    "bench -o": ["bench", BUNDLE, "-o", "PATH"],
    "simulate -o": ["simulate", "-o", "PATH", "--count", "1"],
    "train": ["train", "PATH", "-o", "run", *RECIPE],
    "train -o": ["train", ".", "-o", "PATH", *RECIPE],
    "train --init": ["train", ".", "-o", "run", "--recipe", "samus", "--init", "PATH"],
    "train --config": ["train", ".", "-o", "run", *RECIPE, "--config", "PATH"],
    "distill": ["distill", "PATH", "img", "-o", "run"],
    "distill DATA": ["distill", "teacher.pth", "PATH", "-o", "run"],
    "demo -o": ["demo", "-o", "PATH"],
    "demo --checkpoint": ["demo", "-o", "out", "--checkpoint", "PATH"],
    "demo --bundle": ["demo", "-o", "out", "--bundle", "PATH"],
}
PATHS = {
    "a name that is too long": "a" * 300,
    "a path that is too long": "b/" * 3000 + "c",
    "links in a circle": "circle",
    "below links in a circle": "circle/x",
    "below a file": "file/x",
    "a pipe that nobody writes to": "pipe",
    "a device without an end": "/dev/zero",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set, a file, links in a circle and a pipe, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("img", "label"):
        Path(name).mkdir()
        for index in range(2):
            Image.fromarray(np.full((40, 50), 100 * index, np.uint8)).save(f"{name}/{index}.png")
    Path("file").write_text("x")
    os.symlink("circle", "circle")
    os.mkfifo("pipe")
    return tmp_path


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """A command that waits for a pipe is interrupted, and the test fails."""

    def late(_signum: int, _frame: FrameType | None) -> None:
        raise AssertionError("it did not come to an end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_path_that_leads_nowhere(
    command: list[str], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(os.listdir())
    code = run([path if word == "PATH" else word for word in command])
    message = capsys.readouterr().err
    assert 2 <= code <= 6, message
    assert "error: " in message.lower()
    assert "Traceback" not in message
    assert len(message) < 1500  # a long path is shown in part
    made = set(os.listdir()) - set(before)
    assert all(not any(Path(name).iterdir()) for name in made if Path(name).is_dir()), made


@pytest.mark.parametrize("path", [*PATHS.values(), "a\0b", "", "half \ud800"])
def test_from_python(path: str) -> None:
    for opening in (samedge.load, open_checkpoint, open_source):
        with pytest.raises(SamEdgeError) as caught:
            opening(path)
        assert len(str(caught.value)) < 500
