"""Messages in the language of their reader, and what a mistyped name may have meant.

What fails may have been asked for on the command line or from Python. Both meet the same
exceptions, and each should be told what to write there: `--family medsam` or `family='medsam'`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

_ODD_NEWLINE = re.compile(r"\n(?!  )")

# Of the process: worker threads speak its language as well.
_on_command_line = False


@contextmanager
def command_line() -> Iterator[None]:
    """Inside, messages speak the language of the command line."""
    global _on_command_line
    before, _on_command_line = _on_command_line, True
    try:
        yield
    finally:
        _on_command_line = before


def printable(text: str) -> str:
    """`text` without what steers a terminal ("?" stands there) or begins a line of its own (" ").

    Names of files, tensors and classes come from strangers, and stand in messages. A line that goes
    on in the next one is indented there by two spaces; any other newline is not ours. Those at the
    ends of the text are.
    """
    inner = text.strip("\n")
    start = len(text) - len(text.lstrip("\n"))
    inner = _ODD_NEWLINE.sub(" ", inner)
    shown = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in inner)
    return text[:start] + shown + text[start + len(inner) :]


def spoken(python: str, command: str) -> str:
    """One of two texts: for Python, or for the command line."""
    return command if _on_command_line else python


def option(name: str, value: object = None, flag: str = "") -> str:
    """How to say an option: "--input-size 512" or "input_size=512".

    Args:
        name: in Python, "input_size".
        value: None names the option without a value.
        flag: what it is called on the command line, if that is something else; a text without
            a value is a switch, "--force" for `overwrite=True`.
    """
    if _on_command_line:
        said = flag or f"--{name.replace('_', '-')}"
        return said if value is None or (flag and isinstance(value, bool)) else f"{said} {value}"
    return name if value is None else f"{name}={value!r}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'openvino'?", or nothing where no known name is like `name`.

    Case, dashes and underscores make no difference.
    """
    plain = {_plain(one): one for one in known}
    found = get_close_matches(_plain(name), list(plain), n=1, cutoff=0.6)
    return f"; did you mean '{plain[found[0]]}'?" if found else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
