"""Are JSON values what the fields of a dataclass take? Its own checks expect the right types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

_MOST = 10**9  # nothing that is counted here comes near it; floats and torch take no larger ones


def _whole(value: Any) -> bool:
    return type(value) is int and abs(value) <= _MOST


def _real(value: Any) -> bool:
    return _whole(value) or (type(value) is float and math.isfinite(value))


_FITS: dict[type, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: type(value) is bool, "true or false"),
    int: (_whole, f"a whole number up to {_MOST:g}"),
    float: (_real, "a finite number"),
    str: (lambda value: type(value) is str, "a text"),
    type(None): (lambda value: value is None, "nothing"),
}


def wrong_field(kind: type, values: Mapping[str, Any]) -> str | None:
    """What is wrong with values that are to become fields of `kind`; None if nothing is.

    Args:
        kind: a dataclass with fields of plain types, of tuples of those, or of one or another.
        values: as JSON holds them (lists for tuples); names that are no fields are passed over.
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            return f"'{name}' is {value!r:.60}; expected {_words(hints[name])}"
    return None


def _fits(value: Any, hint: Any) -> bool:
    if hint in _FITS:
        return _FITS[hint][0](value)
    if getattr(hint, "__origin__", None) is tuple:
        inner = get_args(hint)[0]
        return isinstance(value, list | tuple) and all(_fits(each, inner) for each in value)
    return any(_fits(value, each) for each in get_args(hint))


def _words(hint: Any) -> str:
    if hint in _FITS:
        return _FITS[hint][1]
    if getattr(hint, "__origin__", None) is tuple:
        return f"a list, and each of it {_words(get_args(hint)[0])}"
    return " or ".join(_words(each) for each in get_args(hint))
