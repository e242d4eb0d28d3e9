"""`samedge completion`: what a shell needs to complete commands, options and names."""

from __future__ import annotations

import click

from samedge.cli.choices import COMPLETE, Choice
from samedge.cli.printing import Printer, common_options

EPILOG = """\b
Once, and then in every new shell:
  bash  echo 'eval "$(samedge completion bash)"' >> ~/.bashrc
  zsh   echo 'eval "$(samedge completion zsh)"' >> ~/.zshrc
  fish  samedge completion fish > ~/.config/fish/completions/samedge.fish
\b
Bash has to be 4.4 or newer. In zsh the line belongs behind `compinit`.
"""


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
    printer.line(code.strip("\n"))
