"""JSON whose numbers are numbers.

Python reads NaN and Infinity in JSON, which has neither, and makes an infinity of `1e999`. Behind
it no comparison holds and no limit; whoever wrote it meant something else, or harm.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def parse_json(text: str | bytes, **options: Any) -> Any:
    """What `json.loads` gives, with `options` of its own.

    Raises:
        ValueError: no JSON, or a number that is not finite.
        RecursionError: as `json.loads`.
    """
    return json.loads(text, parse_float=finite, parse_constant=_constant, **options)


def finite(text: str) -> float:
    """The number that `text` is.

    Raises:
        ValueError: it is none, or NaN, or infinite: too large for a float.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
