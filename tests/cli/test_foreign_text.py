"""What stands in files of strangers neither steers the terminal nor passes for a line of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import samedge
from samedge.cli import run
from samedge.cli.terminal.printing import Printer

FORGED = "encoder\nerror: nothing is wrong\r\x1b[2J\u202e\u2028end"


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("command", [["inspect"], ["export", "-o", "new.samedge"]])
def test_a_tensor_name_makes_no_line(
    kind: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / f"odd.{kind}"
    tensors = {FORGED: torch.zeros(2, 3), "b\nForged": torch.zeros(2)}
    torch.save(tensors, path) if kind == "pth" else save_file(tensors, path)
    assert run([*command, str(path)]) == 3
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: odd.")
    assert "encoder error: nothing is wrong??[2J" in lines[0]


def test_an_error_is_one_line_in_python_too(tmp_path: Path) -> None:
    path = tmp_path / FORGED.replace("\r", "")
    path.write_bytes(b"no model")
    with pytest.raises(samedge.SamEdgeError) as caught:
        samedge.load(path)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_notes_and_cells_make_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    Printer().line(f"note: {FORGED}")
    Printer().table("t", ("name", "n"), [("a\n  b", 1)])
    lines = capsys.readouterr().out.splitlines()
    assert "note: encoder error: nothing is wrong??[2J??end" in lines[0]
    assert any("a?  b" in line for line in lines)


def test_lines_of_our_own_stay() -> None:
    error = samedge.ParityError("two cannot be used:\n  a\n  b\n")
    assert str(error) == "two cannot be used:\n  a\n  b\n"


@pytest.mark.parametrize("number", ["1e999", "nan", "inf", "-1e999"])
def test_numbers_of_options_are_finite(
    number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((40, 40), np.uint8))
    for command in (["train", str(tmp_path), "-o", "run", "--lr"], ["eval", "a", "--spacing"]):
        assert run([*command, number]) == 2
        assert "Usage" in capsys.readouterr().err
