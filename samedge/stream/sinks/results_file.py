"""`results.json`, written so that memory does not grow with the number of frames.

The rows of a source go to a nameless file in the same folder as they come, and from there into the
report at its end.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samedge.files.whole import json_bytes, whole_file
from samedge.stream.sinks.spool import Spool

_INDENT = "    "  # of a row: report > sources > source > results


class ResultRows:
    """JSON values, one per frame, on the disk; they go when it is closed, or with the process.

    Args:
        folder: a folder on the disk where the report will be.

    Raises:
        OutputError: no space, or no permission.
    """

    def __init__(self, folder: Path) -> None:
        self._spool, self.count = Spool(folder), 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row.

        Raises:
            OutputError: no space left.
        """
        text = json.dumps(row, indent=1, ensure_ascii=False, allow_nan=False)
        start = ",\n" if self.count else ""
        self._spool.write(json_bytes(start + _INDENT + text.replace("\n", "\n" + _INDENT)))
        self.count += 1

    def copy_to(self, file: Any) -> None:
        """Append all rows, as the inside of a JSON array, to an open binary file."""
        self._spool.copy_to(file)

    def close(self) -> None:
        """Give the space on the disk back."""
        self._spool.close()


def write_results(
    path: Path,
    head: Mapping[str, Any],
    sources: Sequence[tuple[Mapping[str, Any], ResultRows]],
) -> None:
    """Write the report, whole or not at all.

    Args:
        path: of `results.json`.
        head: what comes before the sources.
        sources: the record of each, and the rows that are its "results"; the record has this key,
            too, in the place where they belong.

    Raises:
        OutputError: it cannot be written.
    """
    marks = [f"rows-{secrets.token_hex(16)}" for _ in sources]
    records = [
        {**record, "results": mark} for (record, _), mark in zip(sources, marks, strict=True)
    ]
    rest = json.dumps({**head, "sources": records}, indent=1, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as file:
        for (_, rows), mark in zip(sources, marks, strict=True):
            before, _, rest = rest.partition(f'"{mark}"')
            file.write(json_bytes(before))
            file.write(b"[\n" if rows.count else b"[")
            rows.copy_to(file)
            file.write(b"\n   ]" if rows.count else b"]")
        file.write(json_bytes(rest + "\n"))
