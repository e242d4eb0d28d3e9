"""Write docs/cli.md from what the commands say with --help.

    python docs/make_cli.py

A test checks that the file is current.
"""

from __future__ import annotations

from pathlib import Path

import click

from samedge.cli import COMMANDS, cli, further_words

TARGET = Path(__file__).with_name("cli.md")
WIDTH = 96  # columns, so that the text is the same on every terminal

HEAD = """# Command line

Written by `docs/make_cli.py` from the commands' own `--help`; edit those, not this file.
"""


def help_text(command: click.Command, name: str, parent: click.Context | None = None) -> str:
    """What `--help` prints."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    with click.Context(command, info_name=name, parent=parent, **settings) as ctx:
        return "\n".join(line.rstrip() for line in command.get_help(ctx).splitlines())


def document() -> str:
    """The whole file."""
    parts = [HEAD, f"```text\n{help_text(cli, 'samedge')}\n```\n"]
    with click.Context(cli, info_name="samedge", **cli.context_settings) as parent:
        for name in COMMANDS:
            command = cli.get_command(parent, name)
            assert command is not None, name
            described = {name: command}
            described |= {f"{name} {word}": one for word, one in further_words(command).items()}
            for words, one in described.items():
                parts.append(
                    f"## samedge {words}\n\n```text\n{help_text(one, words, parent)}\n```\n"
                )
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(document())
    print(f"wrote {TARGET}")
