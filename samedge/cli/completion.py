"""`samedge completion`, and options whose values are names, or numbers.

The shell completes such names, dashes and underscores in them are one, and a near miss is told so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from samedge._wording import did_you_mean
from samedge.cli.terminal.printing import Printer, common_options
from samedge.errors import NotSupportedError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Set by the shell's part of completion: "bash_complete" and so on.
COMPLETE = "_SAMEDGE_COMPLETE"

EPILOG = """\b
Once, and then in every new shell:
  bash  echo 'eval "$(samedge completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(samedge completion zsh)"' >> ~/.zshrc
  fish  samedge completion fish > ~/.config/fish/completions/samedge.fish
\b
Bash has to be 4.4 or newer. In zsh the line belongs behind `compinit`.
"""

Function = TypeVar("Function", bound=Callable[..., Any])


class Choice(click.Choice):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.2
    """One of several names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name as the list has it."""
        if isinstance(value, str):
            known = {_plain(str(name)): str(name) for name in self.choices}
            if _plain(value) not in known:
                names = ", ".join(known.values())
                meant = did_you_mean(value, known.values())
                self.fail(f"'{value}' is none of: {names}{meant}", param, ctx)
            value = known[_plain(value)]
        return super().convert(value, param, ctx)


class FiniteRange(click.FloatRange):
    """A number in a range; NaN compares with no bound, and `1e999` is infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


class NameList(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # as above
    """Several names with commas between them, as a tuple without repetitions.

    Args:
        known: what is expected.
        alone: a name that stands for no list and gives an empty one, "auto" say.
        elsewhere: names that are known and do not belong here -> what to do instead.
    """

    name = "list"

    def __init__(
        self, known: Sequence[str], alone: str = "", elsewhere: Mapping[str, str] | None = None
    ) -> None:
        self.known, self.alone, self.elsewhere = tuple(known), alone, elsewhere or {}

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names as they are known."""
        if isinstance(value, tuple):
            return value
        known = {_plain(name): name for name in self.known}
        names = [name.strip() for name in value.split(",") if name.strip()]
        if self.alone and list(map(_plain, names)) == [self.alone]:
            return ()
        for name in names:
            if _plain(name) in self.elsewhere:
                raise NotSupportedError(self.elsewhere[_plain(name)])
        wrong = [name for name in names if _plain(name) not in known]
        if wrong or not names:
            also = f"{self.alone}, or " * bool(self.alone)
            meant = (
                did_you_mean(wrong[0], (*self.known, *filter(None, [self.alone]))) if wrong else ""
            )
            self.fail(
                f"'{value}': expected {also}some of {','.join(self.known)}{meant}", param, ctx
            )
        return tuple(dict.fromkeys(known[_plain(name)] for name in names))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What may stand behind the last comma."""
        names = [self.alone] * bool(self.alone and "," not in incomplete)
        return _listed((*self.known, *names), incomplete)


class _Suggested(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # as above
    """A name that the shell completes, and that is judged by what takes it."""

    def __init__(self, name: str, known: Callable[[], Sequence[str]]) -> None:
        self.name, self._known = name, known

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Known names."""
        return _completions([name for name in self._known() if _begins(name, incomplete)])


def _backends() -> Sequence[str]:
    from samedge.runtime.choice import BACKENDS

    return ("auto", *BACKENDS)


# What runs is known to the runtime alone: an unknown name is its error, with what does run here.
BACKEND = _Suggested("name", _backends)
_PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
PRECISION = _Suggested("name", lambda: _PRECISIONS)


def engine_options(
    backend: str = "Engine, e.g. openvino.", precision: str = "auto, fp32, bf16, fp16 or int8."
) -> Callable[[Function], Function]:
    """Add `--backend` and `--precision` with these help texts to a command."""

    def add(function: Function) -> Function:
        both: dict[str, Any] = {"default": "auto", "show_default": True, "metavar": "TEXT"}
        function = click.option("--precision", type=PRECISION, help=precision, **both)(function)
        return click.option("--backend", type=BACKEND, help=backend, **both)(function)

    return add


def engines_option(function: Function) -> Function:
    """Add `--engines` to a command."""
    add = click.option(
        "--engines",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Folder of NVIDIA engines from `samedge build -o DIR`: these alone are taken, none is "
        "built. They are code: give a folder that you trust.",
    )
    return add(function)


def complete_backends(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Backends with commas between them, "auto" or "all"."""
    return _listed(("auto", "all", *_backends()[1:]), incomplete)


def complete_precisions(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Precisions likewise."""
    return _listed(("auto", "all", *_PRECISIONS[1:]), incomplete)


def complete_files(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """For arguments that are files with something else said of them."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _listed(names: Sequence[str], incomplete: str) -> list[CompletionItem]:
    """What may stand behind the last comma: names that do not stand before it."""
    before, comma, last = incomplete.rpartition(",")
    used = {_plain(name.strip()) for name in before.split(",")}
    left = [name for name in names if _plain(name) not in used]
    return _completions([f"{before}{comma}{name}" for name in left if _begins(name, last)])


def _completions(names: Sequence[str]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in names]


def _begins(name: str, text: str) -> bool:
    return _plain(name).startswith(_plain(text))


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


@click.command(epilog=EPILOG)
@click.argument("shell", type=Choice(["bash", "zsh", "fish"]))
@common_options
def command(shell: str, quiet: bool, as_json: bool) -> None:
    """Print the code that makes SHELL complete samedge's commands, options and their values."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    # Not `source()`, which starts a bash to ask for its version: this may be another machine's.
    made = completion(click.get_current_context().find_root().command, {}, "samedge", COMPLETE)
    code = made.source_template % made.source_vars()
    printer = Printer(quiet, as_json)
    printer.json({"shell": shell, "code": code})
    printer.block(code.strip("\n"))
