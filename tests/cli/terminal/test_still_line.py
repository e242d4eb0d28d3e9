"""Progress of what is measured: one line, written over by whoever works."""

from __future__ import annotations

import threading

import pytest

from samedge.cli.terminal.printing import Printer
from samedge.cli.terminal.still_line import StillLine
from samedge.progress import Step


def rounds(line: StillLine) -> None:
    line(Step("warming up", 0, 2, "a\x1b[2J"))
    for number in range(5):
        line(Step("measuring", number, 4))


def test_into_a_file_it_is_a_line_per_step(capsys: pytest.CaptureFixture[str]) -> None:
    with StillLine(Printer()) as line:
        rounds(line)
    out, err = capsys.readouterr()
    assert not out
    assert err == "  warming up\n  measuring\n"


def test_on_a_terminal_it_is_one_line_and_goes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    before = threading.active_count()
    with StillLine(Printer()) as line:
        rounds(line)
        assert threading.active_count() == before
    err = capsys.readouterr().err
    assert "\n" not in err
    assert "measuring ##########.......... 2 of 4, 0 s left" in err
    assert "a?[2J" in err
    assert err.endswith("\r\x1b[K")


def test_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with StillLine(Printer(quiet=True)) as line:
        rounds(line)
    assert capsys.readouterr().err == ""
