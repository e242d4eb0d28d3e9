"""Tables, JSON and plain lines."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from samedge.cli.terminal.printing import Printer, write


def test_escape_sequences_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Printer().line("a\x1b[2Jb\x07")
    Printer().table("t\x1b[1m", ("c",), [("\x1b]0;title\x07",)])
    assert "\x1b" not in capsys.readouterr().out


def test_json_takes_numpy_and_leaves_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "array": np.arange(3, dtype=np.int32),
        "scalar": np.float32(0.5),
        "nan": float("nan"),
        "infinite": np.float64("inf"),
        "tuple": (1, "two", None, True),
    }
    Printer(as_json=True).json(value)
    assert json.loads(capsys.readouterr().out) == {
        "array": [0, 1, 2],
        "scalar": 0.5,
        "nan": None,
        "infinite": None,
        "tuple": [1, "two", None, True],
    }


@pytest.mark.parametrize(
    ("quiet", "as_json", "expected"),
    [(False, False, "text\n"), (True, False, ""), (False, True, "1\n"), (True, True, "1\n")],
)
def test_quiet_and_json(
    quiet: bool, as_json: bool, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = Printer(quiet, as_json)
    printer.line("text")
    printer.json(1)
    assert capsys.readouterr().out == expected


def test_a_terminal_without_utf8_gets_question_marks() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    write(stream, "a ─ b\n")
    assert raw.getvalue() == b"a ? b\n"


def test_no_stream_swallows_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    Printer().table("t", ("a",), [("b",)])
