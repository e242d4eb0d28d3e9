"""Progress goes to stderr, as much of it as fits the occasion."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from samedge.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_per_stage_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Folding", total=3) as bar:
        for name in ("blocks.0", "blocks.1", "blocks.2"):
            bar.advance(1, name)
    captured = capsys.readouterr()
    assert captured.err == "Folding ...\n"
    assert captured.out == ""


def test_quiet_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress("Folding", total=3, quiet=True) as bar:
        bar.advance()
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("Folding", quiet=True) as bar:
        bar.advance()
    assert terminal.getvalue() == ""


def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress("Folding") as bar:
        bar.advance()


@pytest.mark.parametrize("total", [2, None])
def test_a_bar_on_a_terminal(total: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("Folding [all]", total=total) as bar:
        bar.advance(1, "blocks.0 [cnn]")
        bar.advance(1)
    text = terminal.getvalue()
    assert "Folding [all]" in text  # not taken for markup


def test_errors_pass_and_the_terminal_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(KeyboardInterrupt), progress("Folding", total=2) as bar:  # noqa: PT012
        bar.advance()
        raise KeyboardInterrupt
    if "\x1b[?25l" in terminal.getvalue():  # a cursor that was hidden is shown again
        assert "\x1b[?25h" in terminal.getvalue()


def test_rich_is_imported_only_for_a_bar() -> None:
    code = (
        "import sys\n"
        "from samedge.progress import progress\n"
        "with progress('x') as bar: bar.advance()\n"
        "assert not any(m.split('.')[0] == 'rich' for m in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "x ...\n")
