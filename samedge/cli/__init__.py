"""The command line. One file per command; each is imported when it runs, with what it needs.

Everything that can go wrong ends here as one message on stderr and an exit code (see
samedge/errors.py). `--debug` shows the traceback as well.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING

import click

from samedge._version import __version__
from samedge._wording import command_line, did_you_mean, printable
from samedge.cli.completion import COMPLETE
from samedge.cli.terminal.printing import discard, write
from samedge.errors import Cancelled, OutputError, SamEdgeError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Name -> (module with an object `command`, summary). The summary stands here so that
# `samedge --help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "inspect": ("samedge.cli.inspect", "Tell what a file is: checkpoint, bundle, something else."),
    "export": ("samedge.cli.export", "Fold a checkpoint and write a bundle."),
    "build": ("samedge.cli.build", "Build a bundle's engines for an NVIDIA GPU."),
    "verify": ("samedge.cli.verify", "Run a bundle's self-test on this device."),
    "segment": ("samedge.cli.segment", "Segment images, a video or a DICOM file."),
    "stream": ("samedge.cli.stream", "Segment a live stream: camera, PLUS, file, simulator."),
    "eval": ("samedge.cli.eval", "Score checkpoints and bundles on labelled images."),
    "bench": ("samedge.cli.bench", "Measure frame latency on this device."),
    "estimate": ("samedge.cli.estimate", "Say how fast a device cannot be, from its data sheet."),
    "simulate": ("samedge.cli.simulate", "Make labelled synthetic ultrasound images."),
    "doctor": ("samedge.cli.doctor", "Tell what runs on this machine, and what to install."),
    "train": ("samedge.cli.train", "Fine-tune on a data set of images and labels."),
    "distill": ("samedge.cli.distill", "Teach a large model's encoder to a small one."),
    "demo": ("samedge.cli.demo", "The whole way, on a real cine loop."),
    "cache": ("samedge.cli.cache", "Show or clear what is kept in your cache folder."),
    "completion": ("samedge.cli.completion", "Make the shell complete samedge's commands."),
}

EPILOG = """\b
Exit codes:
  0    done
  1    a fault in samedge itself
  2    wrong usage of the command line
  3    bad input: a file, a frame, a prompt
  4    not supported here; the message names the remedy
  5    parity failed: results differ too much from the float32 reference
  6    the device, the disk or the engine failed
  7    slower than before (samedge bench compare)
  130  cancelled (Ctrl-C)
"""

# What the operating system reports when a result cannot be written.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE)
# What it reports of a path that the user gave, should it only show when the file is opened.
_PATH_ERRORS = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is run or asked for help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of a first use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, with `--debug` added to its options."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        command.name = cmd_name
        for one in (command, *further_words(command).values()):
            if not any(parameter.name == "debug" for parameter in one.params):
                one.params.append(_debug_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names; a near miss is told what was meant."""
        name = str(args[0])
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            meant = did_you_mean(name, COMMANDS) or f"; expected one of: {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command '{name}'{meant}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table above, so that none is imported, and options."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def further_words(command: click.Command) -> Mapping[str, click.Command]:
    """What a command becomes with another word behind it (`samedge bench compare`)."""
    words: Mapping[str, click.Command] = getattr(command, "words", {})
    return words


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        help="Show the traceback of an error.",
    )


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    params=[_debug_option()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", prog_name="samedge", message="%(prog)s %(version)s")
def cli() -> None:
    """From a fine-tuned SAM checkpoint to a live mask on an ultrasound cart.

    Research use only: not a medical device.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None takes them from the process.

    Returns:
        The exit code.
    """
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command_line(), cli.make_context("samedge", args) as ctx:
            cli.invoke(ctx)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        return _pipe_closed()
    except (Exception, KeyboardInterrupt) as error:
        # The last place to catch it: a user gets a message, --debug the traceback.
        if "--debug" in args:
            write_error("".join(traceback.format_exception(error)))
        code, message = _explain(error)
        write_error(f"error: {printable(message).rstrip()}\n")
        return code
    return 0


_TORCH_MEMORY = "DefaultCPUAllocator"  # a RuntimeError of torch where others raise MemoryError
_FAULT = (
    "\n  This is a fault in samedge, not in your input. "
    "Run the command again with --debug and report what it prints."
)


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message for whatever ended a command."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        error = Cancelled("cancelled")
    if isinstance(error, SamEdgeError):
        return error.exit_code, str(error) or type(error).__name__
    if isinstance(error, MemoryError) or _TORCH_MEMORY in str(error):
        return 1, (
            "out of memory: close other programs, or use a smaller model or frame "
            "(--debug shows where)"
        )
    if isinstance(error, OSError):
        text = f"{error.filename}: " if error.filename else ""
        text += str(error.strerror or error)
        if error.errno in _DISK_ERRORS:
            return OutputError.exit_code, text
        if error.filename and error.errno in _PATH_ERRORS:
            return SamEdgeError.exit_code, text
        return 1, text + _FAULT
    return 1, f"{type(error).__name__}: {error}{_FAULT}"


def write_error(text: str) -> None:
    """Write to stderr; if even that fails there is nobody left to tell."""
    try:
        write(sys.stderr, text)
    except OutputError:
        return


def _pipe_closed() -> int:
    """The reader of stdout has gone in the middle of a command that printed by itself."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            discard(stream)
    return 128 + int(signal.SIGPIPE)


def _on_terminate(_signum: int, _frame: FrameType | None) -> None:
    # The same way out as Ctrl-C, so that no half-written file stays behind.
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the command `samedge`."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _on_terminate)
    instruction = os.environ.get(COMPLETE)
    if instruction:  # the shell asks what could stand here
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(cli, {}, "samedge", COMPLETE, instruction))
    code = run()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError:
                discard(stream)
    sys.exit(code)
