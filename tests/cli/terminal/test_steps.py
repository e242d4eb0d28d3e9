"""What a user sees of work that takes long: in a log, on a terminal, and with --quiet."""

from __future__ import annotations

import io
import re
import sys

import pytest

from samedge.cli.terminal.printing import Printer
from samedge.cli.terminal.steps import Steps, progress_bars
from samedge.progress import Step


class Terminal(io.StringIO):
    """A stderr that says somebody is looking."""

    @property
    def text(self) -> str:
        """What was shown, without colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.getvalue())

    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called in the test itself: before it begins, pytest puts its own stderr back."""
    stderr = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", stderr)
    return stderr


def work(printer: Printer) -> None:
    with Steps(printer) as steps:
        steps.begin("reading")
        steps(Step("folding"))
        for done in range(1, 4):
            steps(Step("smoothing", done, 4))
        steps(Step("folding"))
        steps(Step("folding"))


def test_a_log_has_one_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    work(Printer())
    lines = re.sub(r"[\d.]+ s", "T", capsys.readouterr().err).splitlines()
    names = ["reading", "folding", "smoothing", "folding", "folding"]
    assert lines == [f"  {name}  (T)" for name in names]


def test_what_came_out_of_a_step_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps(Printer()) as steps:
        steps(Step("how long"))
        steps(Step("how long", 1, 1, phase="about 5 min"))
        steps(Step("other"))
    lines = re.sub(r"[\d.]+ s", "T", capsys.readouterr().err).splitlines()
    assert lines == ["  how long: about 5 min  (T)", "  other  (T)"]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    work(Printer(quiet=True))
    with progress_bars(Printer(quiet=True), "frames") as progress:
        progress(Step("loop", 1, 3))
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_parts_of_the_running_step(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    work(Printer())
    assert "smoothing ###############..... 3 of 4 ..." in terminal.text
    assert "smoothing  (" in terminal.text


def test_bars_count_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with progress_bars(Printer(), "frames") as progress:
        progress(Step("loop [1]", 1, 3))
        progress(Step("loop [1]", 3, 3))
    assert "loop [1]" in terminal.text
    assert "3/3 frames, left" in terminal.text


def test_one_picture_needs_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with progress_bars(Printer(), "frames") as progress:
        progress(Step("a.png", 1, 1))
    assert "a.png" not in terminal.text


def test_an_engine_has_one_bar_for_all_its_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with progress_bars(Printer()) as progress:
        progress(Step("a.engine", 1, 3, "tactics"))
        progress(Step("a.engine", 2, 2, "weights"))
    assert "  a.engine: weights" in terminal.text
    assert "\n  a.engine" not in terminal.text  # which would be a second bar below the first


def test_no_bars_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars(Printer(), "frames") as progress:
        progress(Step("loop", 1, 3))
    assert capsys.readouterr().err == ""


def test_print_is_a_progress(capsys: pytest.CaptureFixture[str]) -> None:
    for step in (Step("folding"), Step("loop", 2, 3), Step("a.engine", 1, 3, "tactics")):
        print(step)
    assert capsys.readouterr().out.splitlines() == [
        "folding",
        "loop, 2 of 3",
        "a.engine: tactics, 1 of 3",
    ]
