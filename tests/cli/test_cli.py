"""The group itself: help, exit codes, messages, Ctrl-C, closed pipes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import samedge
from samedge import errors
from samedge.cli import COMMANDS, cli, run
from samedge.cli.terminal.printing import Printer, common_options

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Make `samedge probe` call a function."""

    def install(action: Callable[[], None]) -> None:
        module = types.ModuleType("probe_command")
        module.command = click.Command("probe", callback=action)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "probe_command", module)
        monkeypatch.setitem(COMMANDS, "probe", ("probe_command", "A command of this test."))

    return install


def raising(error: BaseException) -> Callable[[], None]:
    """A function that raises `error`."""

    def action() -> None:
        raise error

    return action


def test_help_lists_all_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)
    for code in ("0", "2", "3", "4", "5", "6", "130"):
        assert f"\n    {code:<5}" in text
    assert "not a medical device" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"samedge {samedge.__version__}\n"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_the_common_options(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output
    for option in ("--help", "--quiet", "--json", "--debug"):
        assert option in done.output, option


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["doctor", "--nonsense"], ["export"], ["bench", "x", "--frames", "0"]],
)
def test_usage_errors_are_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert "Usage:" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.CheckpointError("a checkpoint"), 3),
        (errors.FrameError("a frame"), 3),
        (errors.PromptError("a prompt"), 3),
        (errors.BundleError("a bundle"), 3),
        (errors.NotSupportedError("a remedy"), 4),
        (errors.MissingDependencyError("torch", "export", "this"), 4),
        (errors.ParityError("a margin"), 5),
        (errors.DeviceError("a device"), 6),
        (errors.OutputError("a disk"), 6),
        (errors.Cancelled("stopped"), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_a_message_and_an_exit_code(
    error: errors.SamEdgeError, code: int, command_that, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raising(error))
    assert run(["probe"]) == code
    captured = capsys.readouterr()
    assert captured.err == f"error: {error}\n"
    assert captured.out == ""


def test_debug_shows_the_traceback_too(command_that, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(raising(errors.BundleError("a bundle")))
    assert run(["probe", "--debug"]) == 3
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.endswith("error: a bundle\n")


def test_a_fault_of_samedge_is_1_with_advice(
    command_that, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raising(ValueError("oops")))
    assert run(["probe"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ValueError: oops\n")
    assert "--debug" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't "
                     "allocate memory: you tried to allocate 9 bytes. Error code 12"),
    ],
)  # fmt: skip
def test_out_of_memory_is_1(
    error: Exception, command_that, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raising(error))
    assert run(["probe"]) == 1
    assert capsys.readouterr().err.startswith("error: out of memory")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_failing_disk_is_6(code: int, command_that, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(raising(OSError(code, os.strerror(code), "some/file")))
    assert run(["probe"]) == 6
    assert capsys.readouterr().err == f"error: some/file: {os.strerror(code)}\n"


def test_ctrl_c_is_130(command_that, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(raising(KeyboardInterrupt()))
    assert run(["probe"]) == 130
    assert capsys.readouterr().err == "error: cancelled\n"


def test_a_result_that_cannot_be_printed_is_6(
    command_that, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        with open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            try:
                Printer().line("text")
            finally:
                monkeypatch.undo()

    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    command_that(action)
    assert run(["probe"]) == 6
    assert "cannot print the result" in capsys.readouterr().err


def samedge_process(code: str, **options: object) -> subprocess.Popen[str]:
    """A process in which `samedge probe` runs `code`."""
    script = (
        "import sys, types, click, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from samedge.cli import COMMANDS, main\n"
        "from samedge.cli.terminal.printing import Printer\n"
        "def action():\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "module = types.ModuleType('probe_command')\n"
        "module.command = click.Command('probe', callback=action)\n"
        "sys.modules['probe_command'] = module\n"
        "COMMANDS['probe'] = ('probe_command', '')\n"
        "sys.argv = ['samedge', 'probe']\n"
        "main()\n"
    )
    return subprocess.Popen([sys.executable, "-c", script], text=True, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_without_a_traceback_and_cleans_up(
    number: signal.Signals, tmp_path: Path
) -> None:
    mark = tmp_path / "half-written"
    code = (
        f"path = {str(mark)!r}\nopen(path, 'w').close()\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "finally:\n    import os; os.remove(path)"
    )
    process = samedge_process(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert text == "error: cancelled\n"
    assert not mark.exists()


def closed_pipe() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_closed_pipe_changes_neither_work_nor_exit_code(tmp_path: Path) -> None:
    mark = tmp_path / "done"
    code = (
        "printer = Printer()\n"
        "for i in range(5000):\n    printer.line('text ' * 20)\n"
        f"open({str(mark)!r}, 'w').close()"
    )
    pipe = closed_pipe()
    process = samedge_process(code, stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    _, text = process.communicate(timeout=60)
    assert (process.returncode, text) == (0, "")
    assert mark.exists()


def test_a_command_that_prints_by_itself_ends_quietly_at_a_closed_pipe() -> None:
    pipe = closed_pipe()
    code = "for i in range(5000):\n    print('text ' * 20, flush=True)"
    process = samedge_process(code, stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    _, text = process.communicate(timeout=60)
    assert (process.returncode, text) == (141, "")


def test_no_stdout_at_all() -> None:
    code = "Printer().line('text')\nPrinter().table('t', ('a',), [('b',)])"
    process = samedge_process(
        code, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1), stdin=subprocess.DEVNULL
    )
    _, text = process.communicate(timeout=60)
    assert (process.returncode, text) == (0, "")


def test_python_m_samedge() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "samedge", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"samedge {samedge.__version__}\n"


def test_common_options_reach_the_function() -> None:
    @click.command()
    @common_options
    def command(quiet: bool, as_json: bool) -> None:
        click.echo(f"{quiet} {as_json}")

    assert CliRunner().invoke(command, ["-q", "--json"]).output == "True True\n"
    assert CliRunner().invoke(command, []).output == "False False\n"
