"""Mistyped names are told what was meant; dashes and underscores are one; the shell completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import samedge
from samedge.cli import run
from samedge.errors import NotSupportedError

DEMO = Path(__file__).parents[2] / "samedge" / "data" / "samus-demo.samedge"


@pytest.mark.parametrize(
    ("arguments", "code", "meant"),
    [
        (["verfy", str(DEMO)], 2, "verify"),
        (["Segment"], 2, "segment"),
        (["verify", str(DEMO), "--backend", "openvno"], 4, "openvino"),
        (["verify", str(DEMO), "--backend", "TensorRT-RTX2"], 4, "tensorrt_rtx"),
        (["verify", str(DEMO), "--precision", "pf32"], 4, "fp32"),
        (["verify", str(DEMO), "--precison", "fp32"], 2, "--precision"),
        (["export", "x.pth", "-o", "y", "--family", "medsma"], 2, "medsam"),
        (["export", "x.pth", "-o", "y", "--precision", "fp32,fp61"], 2, "fp16"),
        (["train", "x", "-o", "y", "--recipe", "samuss"], 2, "samus"),
        (["build", "x", "--target", "tensorr"], 2, "tensorrt"),
        (["build", "x", "--target", "tensorrt", "--precision", "auot"], 2, "auto"),
    ],
)
def test_a_near_miss(
    arguments: list[str], code: int, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    said = capsys.readouterr().err
    assert "Did you mean" in said or "did you mean" in said
    assert f"'{meant}'?" in said or f"{meant}?" in said.replace("'", "")


def test_a_wild_guess_is_told_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["qqqq"]) == 2
    said = capsys.readouterr().err
    assert "expected one of: inspect, export" in said


@pytest.mark.parametrize("name", ["tensorrt-rtx", "tensorrt_rtx", "openvino-gpu", "openvino_gpu"])
def test_dashes_and_underscores_are_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither runs here; what is said is about the machine, and not that there is no such name."""
    spoken = name.replace("-", "_")
    with pytest.raises(NotSupportedError) as from_python:
        samedge.load(DEMO, backend=name)
    assert f"'{spoken}' does not run here" in str(from_python.value)
    assert run(["verify", str(DEMO), "--backend", name]) == 4
    assert f"'{spoken}' does not run here" in capsys.readouterr().err


def test_of_targets_and_training_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("tensorrt_rtx", "tensorrt-rtx"):
        assert run(["build", str(tmp_path / "none"), "--target", target]) == 3
        assert "there is no bundle" in capsys.readouterr().err
    options = ["--recipe", "samed-s", "--precision", "bf16_mixed", "--format", "x"]
    assert run(["train", str(tmp_path), "-o", "run", *options]) == 2
    assert "'x' is none of: .pth" in capsys.readouterr().err


def completed(line: str) -> list[str]:
    """What bash is offered for a line, and that nothing heavy was imported for it."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_SAMEDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    program = (
        "import sys, atexit\n"
        "from samedge.cli import main\n"
        "heavy = {'torch', 'openvino', 'cv2', 'monai', 'rich'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    *offered, heavy = done.stdout.split("\n")[:-1]
    assert heavy == "HEAVY []"
    return [item.partition(",")[2] for item in offered if item]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("samedge ver", ["verify"]),
        ("samedge verify --prec", ["--precision"]),
        ("samedge verify --backend tensorrt-", ["tensorrt_rtx"]),
        ("samedge train --recipe samed", ["samed", "samed_s"]),
        ("samedge build --precision fp32,", ["fp32,fp16", "fp32,int8"]),
    ],
)
def test_the_shell_completes(line: str, expected: list[str]) -> None:
    assert completed(line) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_code_for_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    code = capsys.readouterr().out
    assert f"_SAMEDGE_COMPLETE={shell}_complete" in code
    assert run(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["code"].strip("\n") == code.strip("\n")


def test_bash_takes_the_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "bash"]) == 0
    script = tmp_path / "samedge.bash"
    script.write_text(capsys.readouterr().out + "complete -p samedge\n")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=True)
    assert "-F _samedge_completion samedge" in done.stdout
