"""Mistyped names are told what was meant; dashes and underscores are one; the shell completes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samedge
from samedge.cli import run
from samedge.drawing.png import write_png
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
        ("samedge bench --backend openvino,tri", ["openvino,triton"]),
        ("samedge bench --precision fp32,b", ["fp32,bf16"]),
        ("samedge build --precision fp32,", ["fp32,fp16", "fp32,bf16", "fp32,int8"]),
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


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny checkpoints: sam.pth, msa.pth (Medical SAM Adapter for volumes)."""
    import torch

    from samedge import models
    from tests.fold.oracle import random_model

    folder = tmp_path_factory.mktemp("checkpoints")
    torch.save(random_model(models.tiny_sam_config()).state_dict(), folder / "sam.pth")
    torch.save(random_model(models.tiny_samus_config()).state_dict(), folder / "samus.pth")
    return folder


# What is opened and how -> what each reader is told to say, and not the other's words.
SPOKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("samus.pth", {"family": "medsam"}, "family='samus'", "--family samus"),
    ("samus.pth", {"input_size": 512}, "input_size=512", "--input-size 512"),
    ("sam.pth", {"input_size": 99}, "input_size=99", "--input-size 99"),
]


@pytest.mark.parametrize(("file", "says", "python", "command"), SPOKEN)
def test_messages_speak_the_language_of_their_reader(
    file: str,
    says: dict[str, Any],
    python: str,
    command: str,
    checkpoints: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(samedge.SamEdgeError) as error:
        samedge.open_checkpoint(checkpoints / file, **says)
    assert python in str(error.value)
    assert command not in str(error.value)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in says.items()]
    arguments = ["export", str(checkpoints / file), "-o", str(tmp_path / "a.samedge"), *options]
    assert run(arguments) == error.value.exit_code
    said = capsys.readouterr().err
    assert command in said
    assert python not in said
    assert "open_checkpoint(" not in said


def test_files_in_the_way_speak_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(tmp_path / "a.png", np.full((40, 50), 90, np.uint8))
    arguments = ["segment", str(DEMO), str(tmp_path / "a.png"), "--point", "20,20"]
    assert run([*arguments, "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert run([*arguments, "-o", str(tmp_path / "out")]) == 6
    said = capsys.readouterr().err
    assert "--overwrite" in said
    assert "overwrite=True" not in said
    with pytest.raises(samedge.SamEdgeError, match=r"or overwrite=True to remove"):
        samedge.segment(DEMO, tmp_path / "a.png", [(20, 20)], output=tmp_path / "out")


def test_no_message_of_a_command_speaks_python() -> None:
    """Whatever can be said on the command line is said by `samedge._wording` where both read it."""
    root = Path(samedge.__file__).parent
    python = re.compile(
        r"(open_checkpoint\(|samedge\.(load|export|segment)\(|overwrite=True|check_memory=False"
        r"|(backend|precision|family)='?[a-z{])"
    )
    wrong = []
    for path in [*root.rglob("*.py"), *(root / "export").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Raise):
                continue
            texts = [
                part.value
                for part in _outside_wording(node)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            wrong += [f"{path.name}:{node.lineno}: {text}" for text in texts if python.search(text)]
    assert [text for text in wrong if not text.startswith(PYTHON_ONLY)] == []


# Raised for arguments that no command gives.
PYTHON_ONLY = ("folding.py", "origin_folded.py", "session.py", "job.py")


def _outside_wording(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, but nothing in a call of `spoken` or `option`."""
    yield node
    for child in ast.iter_child_nodes(node):
        name = getattr(child.func, "id", "") if isinstance(child, ast.Call) else ""
        if name not in ("spoken", "option"):
            yield from _outside_wording(child)
