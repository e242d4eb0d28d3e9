"""JSON that a person can read and a disk can hold: lists of plain values stand on one line."""

from __future__ import annotations

import json
from typing import Any

_DIGITS = 9  # a nanosecond of a second; what a clock says beyond that is noise


def compact_json(value: Any) -> str:
    """One JSON value as text; floats have nine digits.

    Raises:
        ValueError: it holds NaN or infinity.
    """
    return _written(value, "") + "\n"


def _written(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{_one(str(k))}: {_written(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(v, dict | list | tuple) for v in value):
        lines = [inner + _written(v, inner) for v in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_one, value)) + "]"
    return _one(value)


def _one(value: Any) -> str:
    if isinstance(value, float):
        value = float(f"{value:.{_DIGITS}g}")
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
