"""PTX with something taken out of it."""

from __future__ import annotations

import re
from collections.abc import Callable

BARRIER = r"bar\.sync\s+0;"
WAIT = r"cp\.async\.wait_group\s+\d+;"
MMA = r"\n[^\n]*\bmma\.sync[^;]*;"


def drop(pattern: str, number: int) -> Callable[[str], str]:
    """Takes the number-th match of a pattern out."""

    def edit(ptx: str) -> str:
        start, end = list(re.finditer(pattern, ptx))[number].span()
        return ptx[:start] + ptx[end:]

    return edit
