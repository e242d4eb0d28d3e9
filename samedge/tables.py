"""Tables of text within a width: no number is ever broken over two lines.

Words wrap at spaces, headings as well. Where the longest words do not fit beside each other,
columns that can be spared are left out, or every row becomes a block of lines, one for each column.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_PADDING = 2  # columns of text between two cells
_SHORT = 16
_ONE = r"[-+]?(\d[\d,]*(\.\d+)?(e[-+]?\d+)?|inf|nan)%?"
# "12", "> 1e6 x", "0.91 \u00b1 0.02", "1.50 (1.2 to 1.8)", "1.50 (1.2 to ?)", "1.50 (?)",
# "512 x 512", "about 3.5 GB"
_NUMBER = re.compile(
    rf"((>|<|about) )?{_ONE}( (\u00b1|to|of|x) {_ONE})*( \((({_ONE}|\?) to ({_ONE}|\?)|\?)\))?"
    r"( [a-zA-Z]\w{0,5})?"
)


def render_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    terminal: bool = False,
    optional: Sequence[str] = (),
    lines: int | None = None,
) -> str:
    """A table as text.

    Args:
        title: above it.
        columns: headings; a table without any has none.
        rows: cells. Columns whose cells are all numbers, with or without a unit, are aligned to
            the right and never wrapped.
        width: columns of text that there are; None: as many as the table needs.
        terminal: with the escape sequences that a terminal understands.
        optional: headings of columns that are left out, the first one first, until the others
            fit; those that are gone are named below.
        lines: optional columns are left out as well until texts take that many lines at most, as
            far as that helps.

    Returns:
        Lines without spaces at their ends; the last one has no line break.
    """
    found = [_Column.of(head, [row[i] for row in rows]) for i, head in enumerate(columns)]
    shown, gone = found, []
    for head in optional:
        if width is not None and _least(shown, lines) > width:
            shown = [column for column in shown if column.head != head]
            gone.append(head)
    if width is not None and _least(shown) > width:
        shown, gone = found, []
        if len(found) > 2:
            shown = _stacked(found)
    parts = [_drawn(_wrapped(title, width), shown, _widths(shown, width, lines), terminal)]
    if gone:
        parts.append(_wrapped(f"(not shown, for want of room: {'; '.join(gone)})", width))
    return "\n".join(parts)


@dataclass(frozen=True)
class _Column:
    """A column.

    Attributes:
        head: its heading.
        cells: its texts.
        numbers: all of them are.
        least, full: how wide it must be, and how wide it is where there is room.
    """

    head: str
    cells: Sequence[str]
    numbers: bool
    least: int
    full: int

    @classmethod
    def of(cls, head: str, cells: Sequence[str]) -> _Column:
        from rich.cells import cell_len

        numbers = all(is_number(cell) for cell in cells)
        lines = [line for cell in cells for line in cell.split("\n")]
        parts = lines if numbers else [word for cell in cells for word in cell.split()]
        least = max(map(cell_len, [*head.split(), *parts]), default=0)
        return cls(head, cells, numbers, least, max(map(cell_len, [head, *lines])))


def _leasts(columns: Sequence[_Column], lines: int | None = None) -> list[int]:
    """How wide each column must be, with so many lines per text if given."""
    if lines is None:
        return [column.least for column in columns]
    # A third more than their letters, for words do not fill a line; short ones stay whole.
    texts = [min(c.full, max(_SHORT, -(-4 * c.full // (3 * lines)))) for c in columns]
    return [c.least if c.numbers else max(c.least, n) for c, n in zip(columns, texts, strict=True)]


def _least(columns: Sequence[_Column], lines: int | None = None) -> int:
    """The narrowest table that these columns can be."""
    return sum(width + _PADDING for width in _leasts(columns, lines)) - 1


def _stacked(columns: Sequence[_Column]) -> list[_Column]:
    """Every row as lines of its own, without cells that are empty; an empty line between two."""
    pairs: list[tuple[str, str]] = []
    for index in range(len(columns[0].cells)):
        pairs += [("", "")] * bool(pairs)
        row = [(column.head, column.cells[index]) for column in columns]
        pairs += [(head, cell) for head, cell in row if cell.strip()]
    return [_Column.of("", [head for head, _ in pairs]), _Column.of("", [c for _, c in pairs])]


def _drawn(title: str, columns: Sequence[_Column], widths: Sequence[int], terminal: bool) -> str:
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, _PADDING - 1, 0, 0),
        show_edge=False,
        show_header=any(column.head for column in columns),
    )
    for column, size in zip(columns, widths, strict=True):
        table.add_column(
            "\n".join(textwrap.wrap(column.head, max(size, 1))),
            justify="right" if column.numbers and column.cells else "left",
            overflow="fold",
            width=size,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        force_terminal=terminal,
        width=max(sum(widths) + _PADDING * len(widths), *map(cell_len, title.split("\n"))),
        markup=False,
        highlight=False,
        emoji=False,
    )
    console.print(title, style="bold")
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().split("\n"))


def _wrapped(text: str, width: int | None) -> str:
    return text if width is None else "\n".join(textwrap.wrap(text, width))


def _widths(columns: Sequence[_Column], width: int | None, lines: int | None = None) -> list[int]:
    """Of what there is every column gets what it needs at least, and then what it wants; what not
    even two columns have room for is broken in the wider one."""
    if width is None:
        return [column.full for column in columns]
    if _least(columns, lines) > width:
        lines = None
    widths = _leasts(columns, lines)
    left = width - _least(columns, lines)
    if left < 0:
        widest = widths.index(max(widths))
        widths[widest] = max(widths[widest] + left, 1)
    while left > 0 and (wanting := [i for i, c in enumerate(columns) if widths[i] < c.full]):
        # The narrowest of those that want more gets the next one: short texts stay whole.
        widths[min(wanting, key=widths.__getitem__)] += 1
        left -= 1
    return widths


def is_number(text: str) -> bool:
    """Whether a cell is a number, a range or a spread, with a unit perhaps; "-" stands for none."""
    return text.strip() in ("", "-") or _NUMBER.fullmatch(text.strip()) is not None
