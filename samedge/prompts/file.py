"""Prompts that differ from frame to frame, from a CSV file.

    frame,x,y               or    frame,x0,y0,x1,y1
    0,120,80                      0,10,20,200,180
    1,121.5,80                    1,12,20,202,180

Frames count from 0. Points may have a `label` (1 inside the object, 0 outside) and an `object`
(from 1); boxes an `object`. Without that column all points of a frame are one object, and each box
of a frame is one. The parser takes nothing else: a prompt that was misread gives a plausible mask
in the wrong place.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from samedge.errors import PromptError
from samedge.files.limits import FRAME_POINTS, PROMPT_FILE_BYTES, PROMPT_ROWS
from samedge.files.paths import read_small, shown
from samedge.prompts.prompt import Prompt

POINT, BOX = ("x", "y"), ("x0", "y0", "x1", "y1")
MAX_FRAME = 10**9
MAX_OBJECT = 255  # label volumes have 8 bits
_HEADERS = "frame,x,y[,label][,object] or frame,x0,y0,x1,y1[,object]"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_COUNT = re.compile(r"\d{1,10}", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One line: a point or a box of one object in one frame."""

    line: int
    frame: int
    numbers: tuple[float, ...]
    label: int
    object: int


@dataclass(frozen=True)
class PromptFile:
    """Prompts by frame.

    Attributes:
        name: of the file, for messages.
        kind: "point" or "box".
        frames: frame number -> its prompt.
        lines: frame number -> its first line in the file.
    """

    name: str
    kind: str
    frames: dict[int, Prompt]
    lines: dict[int, int]

    def check_size(self, height: int, width: int) -> None:
        """Refuse points and boxes outside of frames of this size.

        Raises:
            PromptError: names the frame and its line.
        """
        for frame, prompt in self.frames.items():
            if prompt.box is not None:  # its corners may lie on the frame's far edge
                outside = (prompt.box < 0) | (prompt.box > [width, height, width, height])
            else:
                points = np.concatenate(prompt.points or ())
                outside = (points < 0) | (points >= [width, height])
            if outside.any():
                raise PromptError(
                    f"{self.name}: a {self.kind} of frame {frame} (line {self.lines[frame]} and "
                    f"following) lies outside the frame of {width} x {height} px"
                )


def read_prompts(path: Path) -> PromptFile:
    """Read a file of prompts.

    Raises:
        PromptError: it cannot be read, or a line is not as it should be; names the line.
    """
    try:
        data = read_small(path, PROMPT_FILE_BYTES.most, PromptError)
    except FileNotFoundError:
        raise PromptError(
            f"there is no file {shown(path.name)} of prompts; expected CSV: {_HEADERS}"
        ) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PromptError(f"{path.name} is no text in UTF-8; expected CSV: {_HEADERS}") from None
    return parse_prompts(text, path.name)


def parse_prompts(text: str, name: str) -> PromptFile:
    """Parse the text of a file of prompts; empty lines count, but are skipped.

    Args:
        text: the whole file.
        name: for messages.

    Raises:
        PromptError: names the line.
    """
    rows, columns, kind = _rows(text, name)
    if not rows:
        raise PromptError(f"{name} has a header and no prompts")
    frames: dict[int, list[Row]] = {}
    for row in rows:
        frames.setdefault(row.frame, []).append(row)
    for frame, own in frames.items():
        FRAME_POINTS.check(len(own), f"{name}, frame {frame}", PromptError)
    numbered = "object" in columns
    prompts = {
        frame: _points(own, numbered) if kind == POINT else _boxes(own, numbered, name)
        for frame, own in frames.items()
    }
    first = {frame: own[0].line for frame, own in frames.items()}
    return PromptFile(name, "point" if kind == POINT else "box", prompts, first)


def _rows(text: str, name: str) -> tuple[list[Row], list[str], tuple[str, ...]]:
    """All rows, the names of their columns, and whether they are points or boxes."""
    # Not splitlines(): that also splits at characters that editors do not count as lines.
    lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    PROMPT_ROWS.check(len(lines), name, PromptError)
    if not lines:
        raise PromptError(f"{name} is empty; expected CSV: {_HEADERS}")
    at = 0

    def feed() -> Iterator[str]:
        nonlocal at
        for number, line in lines:
            at = number
            yield line

    reader = csv.DictReader(feed(), strict=True)
    try:
        names = [cell.strip().lower() for cell in reader.fieldnames or ()]
        kind = _kind(names, f"line {at} of {name}")
        reader.fieldnames = names
        rows = [_row(cells, at, kind, name) for cells in reader]
    except csv.Error as error:
        raise PromptError(
            f"line {at} of {name} is no CSV ({error}); expected {_HEADERS}"
        ) from error
    return rows, names, kind


def _kind(columns: Sequence[str], where: str) -> tuple[str, ...]:
    """Whether the columns are of points or of boxes."""
    names = set(columns)
    optional = {POINT: {"label", "object"}, BOX: {"object"}}
    for kind, more in optional.items():
        needed = {"frame", *kind}
        if len(names) == len(columns) and needed <= names <= needed | more:
            return kind
    raise PromptError(f"{where} is no header for prompts; expected {_HEADERS}")


def _row(given: Mapping[Any, Any], line: int, kind: tuple[str, ...], name: str) -> Row:
    """One row from what csv.DictReader makes of it: None is the key of cells without a column, and
    the value of columns without a cell."""
    where = f"line {line} of {name}"
    extra = len(given.get(None, ()))
    cells = {key: text.strip() for key, text in given.items() if isinstance(text, str)}
    columns = len(given) - bool(extra)
    if extra or len(cells) < columns:
        raise PromptError(f"{where} has {len(cells) + extra} cells; its header has {columns}")
    for column in kind:
        if not _NUMBER.fullmatch(cells[column]):
            raise _odd(where, column, cells[column], "a number of pixels")
    numbers = tuple(float(cells[column]) for column in kind)
    if kind == BOX and not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise PromptError(f"{where}: the box is empty; x1 must exceed x0, and y1 y0")
    label = cells.get("label", "1")
    if label not in ("0", "1"):
        raise _odd(where, "label", label, "1 (inside the object) or 0 (outside)")
    frame = _count(cells["frame"], where, "frame", 0, MAX_FRAME)
    owner = _count(cells.get("object", "1"), where, "object", 1, MAX_OBJECT)
    return Row(line, frame, numbers, int(label), owner)


def _count(text: str, where: str, column: str, low: int, high: int) -> int:
    if not _COUNT.fullmatch(text) or not low <= int(text) <= high:
        raise _odd(where, column, text, f"a whole number from {low} to {high}")
    return int(text)


def _odd(where: str, column: str, text: str, expected: str) -> PromptError:
    shown = text if len(text) <= 30 else text[:30] + "..."
    return PromptError(f"{where}: {column} is {shown!r}; expected {expected}")


def _points(rows: Sequence[Row], numbered: bool) -> Prompt:
    """The points of one frame; objects may have different numbers of points."""
    owners = tuple(sorted({row.object for row in rows}))
    own = [[row for row in rows if row.object == owner] for owner in owners]
    return Prompt(
        tuple(np.array([row.numbers for row in part], np.float64) for part in own),
        tuple(np.array([row.label for row in part], np.int64) for part in own),
        numbers=owners if numbered else (),
    )


def _boxes(rows: Sequence[Row], numbered: bool, name: str) -> Prompt:
    """The boxes of one frame, in the order of their objects."""
    if not numbered:
        return Prompt(box=np.array([row.numbers for row in rows], np.float64))
    ordered = sorted(rows, key=lambda row: row.object)
    for before, row in pairwise(ordered):
        if before.object == row.object:
            raise PromptError(
                f"line {max(before.line, row.line)} of {name}: object {row.object} has a box in "
                f"frame {row.frame} already; a box is one object"
            )
    return Prompt(
        box=np.array([row.numbers for row in ordered], np.float64),
        numbers=tuple(row.object for row in ordered),
    )
