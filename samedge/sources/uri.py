"""`SCHEME:WHERE?KEY=VALUE`: how live sources and sinks are named on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

from samedge._wording import did_you_mean
from samedge.errors import SamEdgeError, SourceError

T = TypeVar("T")

_SCHEME = re.compile(r"([a-z][a-z0-9+-]*):(.*)", re.DOTALL)


@dataclass(frozen=True)
class Uri:
    """A source or a sink by name.

    Attributes:
        text: as it was given.
        scheme: "camera", "igtl", ...; "path" where it is a file or folder.
        where: what follows the scheme, without "//" and the options: an address, a path, nothing.
        options: key -> value.
    """

    text: str
    scheme: str
    where: str
    options: Mapping[str, str]

    def take(
        self,
        key: str,
        convert: Callable[[str], T],
        default: T,
        expected: str,
        error: type[SamEdgeError] = SourceError,
    ) -> T:
        """The value of an option.

        Args:
            key: its name.
            convert: text -> value; a ValueError or SamEdgeError of it becomes `error`.
            default: where the option is not given.
            expected: what it takes, for the message.
        """
        given = self.options.get(key)
        if given is None:
            return default
        try:
            return convert(given)
        except (ValueError, SamEdgeError) as problem:
            raise error(f"{self.text}: {key} is '{given}'; expected {expected}") from problem

    def check_options(self, known: Iterable[str], error: type[SamEdgeError] = SourceError) -> None:
        """Refuse options that the scheme does not have."""
        names = list(known)
        for key in self.options:
            if key not in names:
                meant = did_you_mean(key, names) or (
                    f"; it has {', '.join(names)}" if names else "; it has none"
                )
                raise error(f"{self.text}: there is no option '{key}' of {self.scheme}:{meant}")


def parse_uri(text: str, schemes: Iterable[str], error: type[SamEdgeError] = SourceError) -> Uri:
    """Take a name apart.

    What has no scheme of `schemes` before its first colon is the path of a file, as it stands: also
    a name with a colon or a question mark in it. `path:NAME?KEY=VALUE` gives a path options.

    Raises:
        error: two values for one option, or an option without a value; for a word of letters before
            `://` that is no scheme, with what was meant.
    """
    names = [*schemes, "path"]
    found = _SCHEME.fullmatch(text)
    scheme = found[1] if found else ""
    if not found or scheme not in names:
        if found and found[2].startswith("//"):
            meant = did_you_mean(scheme, names) or f"; expected one of {', '.join(names)}"
            raise error(f"{text}: there is no '{scheme}:'{meant}")
        return Uri(text, "path", text, {})
    where, _, query = found[2].partition("?")
    where = where[2:] if where.startswith("//") else where
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not equals or not key or key in options:
            raise error(
                f"{text}: '{part}' after the question mark; expected KEY=VALUE, each key once"
            )
        options[key] = unquote(value)
    return Uri(text, scheme, where, options)


def positive(text: str) -> float:
    """A finite number above 0.

    Raises:
        ValueError: it is none.
    """
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(text)
    return value


def yes_no(text: str) -> bool:
    """`1`, `yes`, `true` or `0`, `no`, `false`.

    Raises:
        ValueError: something else.
    """
    word = text.lower()
    if word in ("1", "yes", "true"):
        return True
    if word in ("0", "no", "false"):
        return False
    raise ValueError(text)
