"""Why an engine was taken: a few words as a rule, everything with --verbose and in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samedge.cli import run
from samedge.drawing.png import write_png

DEMO = Path(__file__).parents[2] / "samedge" / "data" / "samus-demo.samedge"


def test_segment_says_why_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = np.random.default_rng(1).integers(0, 255, (48, 64), dtype=np.uint8)
    write_png(tmp_path / "a.png", frame)
    command = ["segment", str(DEMO), str(tmp_path / "a.png"), "--point", "30,20", "--overwrite"]
    # `auto` takes bf16 where the processor has it
    command += ["-o", str(tmp_path / "out"), "--precision", "fp32"]
    assert run(command) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith(": openvino fp32")
    assert len(first) < 80
    assert run([*command, "--verbose"]) == 0
    assert "why: openvino: first backend that works here" in capsys.readouterr().out
    assert run([*command, "--json"]) == 0
    assert "first backend" in json.loads(capsys.readouterr().out)["session"]["why"]


def test_verify_and_bench_say_why_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    little = ["--frames", "1", "--warmup", "0", "--no-startup"]
    for command in (["verify"], ["bench", *little]):
        arguments = [*command, str(DEMO), "--precision", "fp32"]
        assert run(arguments) == 0
        assert "first backend" not in capsys.readouterr().out
        assert run([*arguments, "-v"]) == 0
        assert "first backend that works here" in capsys.readouterr().out
        assert run([*arguments, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        about = said["rows"][0]["about"] if command[0] == "bench" else said
        assert "first backend" in about["why"]
