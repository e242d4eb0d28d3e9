"""Figures that are no latencies: tables with numbers in them, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samedge._wording import printable
from samedge.files.cells import plain
from samedge.files.whole import write_bytes, write_json
from samedge.machine.fingerprint import fingerprint
from samedge.tables import render_table

SCHEMA = 1
Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """What stands below each other.

    Attributes:
        name: unique in its table, with the unit of the numbers; JSON and CSV have it.
        form: format of a number in the table, as `format` takes it: ".1f", ".3%".
        head: heading of the table; the name by default.
        scale: a number is multiplied by it for the table: 1e-6 for bytes that are shown as MB.
        optional: left out of a table that has no room for it.
    """

    name: str
    form: str = ""
    head: str = ""
    scale: float = 1
    optional: bool = False

    def text(self, value: Cell) -> str:
        """A cell of the table; empty for what is not known."""
        if value is None:
            return ""
        if isinstance(value, str):
            return printable(value)
        return format(value if self.scale == 1 else value * self.scale, self.form)


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        title: above it.
        columns: of the cells.
        rows: a cell for each column; numbers as they were found, None for what is not known.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    @property
    def heads(self) -> list[str]:
        """Headings."""
        return [column.head or column.name for column in self.columns]

    def texts(self) -> list[list[str]]:
        """Cells as a table shows them."""
        return [
            [column.text(value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def records(self) -> list[dict[str, Cell]]:
        """Rows by the names of the columns."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]

    def markdown(self) -> str:
        """As a table of a page."""
        rules = ["---:" if column.form else "---" for column in self.columns]
        lines = [self.heads, *self.texts()]
        rows = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([rows[0], "|" + "|".join(rules) + "|", *rows[1:]])

    def render(self, width: int | None = None) -> str:
        """As text; `width` as for `render_table`."""
        optional = [c.head or c.name for c in self.columns if c.optional]
        return render_table(
            printable(self.title), self.heads, self.texts(), width, optional=optional
        )


@dataclass(frozen=True)
class Sheet:
    """What a script has found.

    Attributes:
        kind: of the script: "memory", "families".
        tables: at least one.
        about: plain values that are no table: sizes, precision, options.
        notes: below the tables.
        head: lines above them.
        machine, command, made: fingerprint, the command that repeats it, and the time (UTC); see
            `signed`.
    """

    kind: str
    tables: Sequence[Table]
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    head: Sequence[str] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    made: str = ""

    def signed(self, command: str) -> Sheet:
        """The same, made by `command` on this machine, now."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return replace(self, machine=fingerprint(), command=command, made=now)

    def render(self, width: int | None = None) -> str:
        """As text; `width` as for `render_table`."""
        tables = "\n\n".join(table.render(width) for table in self.tables)
        return "\n".join([*self.head, *([""] if self.head else []), tables, *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": SCHEMA,
            "kind": f"samedge bench {self.kind}",
            **dict(self.about),
            "tables": [{"title": t.title, "rows": t.records()} for t in self.tables],
            "head": list(self.head),
            "notes": list(self.notes),
            "machine": dict(self.machine),
            "command": self.command,
            "made": self.made,
        }

    def to_csv(self) -> str:
        """A line per row; of several tables with the title in the first column."""
        several = len(self.tables) > 1
        names = dict.fromkeys(column.name for table in self.tables for column in table.columns)
        text = io.StringIO()
        writer = csv.DictWriter(text, ["table"] * several + list(names), lineterminator="\n")
        writer.writeheader()
        for table in self.tables:
            for record in table.records():
                line = {"table": table.title, **record} if several else record
                writer.writerow({k: plain(v) if isinstance(v, str) else v for k, v in line.items()})
        return text.getvalue()

    def write(self, json: Path | None = None, csv: Path | None = None) -> None:
        """Write it to each file that is named, whole or not at all.

        Raises:
            OutputError: one cannot be written.
        """
        if json is not None:
            write_json(json, self.to_json())
        if csv is not None:
            write_bytes(csv, self.to_csv().encode())
