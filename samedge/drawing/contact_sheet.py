"""A loop or volume on one page: a few frames in a grid, and the area of everything found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import ALERT, FAINT, INK, PAPER, Colour, colour_of
from samedge.drawing.text import draw_text, fit_height, grouped, text_width

WIDTH = 1600
COLUMNS = 4
MAX_CELLS = 12
MAX_CELL_WIDTH = 520  # px; two pictures need not fill the page
_PAD, _GAP = 28, 16
_TITLE, _SMALL = 18.0, 10.0
_CURVE = 190
_RULE = (58, 60, 66)


@dataclass(frozen=True)
class Cell:
    """One picture (RGB) with two lines below it."""

    picture: NDArray[np.uint8]
    title: str
    text: str = ""


def contact_sheet(
    cells: Sequence[Cell],
    title: str,
    subtitle: str = "",
    areas: Sequence[Sequence[float]] = (),
    unit: str = "px",
    notice: str = "",
    legend: Sequence[tuple[str, Colour]] = (),
    colours: Sequence[Colour] = (),
    step: str = "frame",
    steps: int | None = None,
) -> NDArray[np.uint8]:
    """Draw the page.

    Args:
        cells: in order; the grid has at most four columns.
        title, subtitle: the head of the page.
        areas: `[frames][objects]`, in `unit`; drawn as curves if there are at least three frames.
        unit: of the areas.
        notice: in amber under the title, for what a viewer must not miss.
        legend: names and their colours, above the pictures.
        colours: one per curve; default: those of the palette in order.
        step: what one picture is: "frame" or "slice".
        steps: how many there were, if `areas` are of some of them, evenly spaced; counted from 0.

    Returns:
        RGB, uint8 `[H, 1600, 3]`.
    """
    parts = [_head(title, subtitle, notice), *_legend(legend), _grid(cells)]
    if len(areas) >= 3 and areas[0]:
        hues = colours or [colour_of(i) for i in range(len(areas[0]))]
        parts.append(_curves(areas, unit, hues, step, steps or len(areas)))
    return np.concatenate([*parts, _blank(_PAD)])


def _blank(height: int) -> NDArray[np.uint8]:
    return np.full((height, WIDTH, 3), PAPER, np.uint8)


def _head(title: str, subtitle: str, notice: str) -> NDArray[np.uint8]:
    rows = [(title, _TITLE, INK), (subtitle, 11.5, FAINT), (notice, 13.0, ALERT)]
    shown = [row for row in rows if row[0]]
    head = _blank(_PAD + sum(round(letter * 2.2) for _, letter, _ in shown) + 6)
    y = float(_PAD)
    for text, letter, colour in shown:
        y += letter
        draw_text(head, text, (_PAD, y), fit_height(text, letter, WIDTH - 2 * _PAD), colour)
        y += letter * 1.2
    return head


def _legend(entries: Sequence[tuple[str, Colour]]) -> list[NDArray[np.uint8]]:
    """Dots and names in as many rows as they need."""
    rows: list[list[tuple[float, str, Colour]]] = []
    x = float(WIDTH)
    for name, colour in entries:
        width = text_width(name, _SMALL) + _SMALL * 5
        if x + width > WIDTH - _PAD + _SMALL * 3:
            rows.append([])
            x = float(_PAD)
        rows[-1].append((x, name, colour))
        x += width
    if not rows:
        return []
    pitch = round(_SMALL * 2.4)
    strip = _blank(pitch * len(rows) + 8)
    for number, row in enumerate(rows):
        base = pitch * number + _SMALL * 1.2
        for left, name, colour in row:
            middle = (round(left + _SMALL / 2), round(base - _SMALL / 2))
            cv2.circle(strip, middle, round(_SMALL * 0.6), colour, -1, cv2.LINE_AA)
            draw_text(strip, name, (left + _SMALL * 1.8, base), _SMALL, INK)
    return [strip]


def _grid(cells: Sequence[Cell]) -> NDArray[np.uint8]:
    columns = min(COLUMNS, max(len(cells), 1))
    width = (WIDTH - 2 * _PAD - (columns - 1) * _GAP) // columns
    width = min(width, MAX_CELL_WIDTH)
    tallest = max((c.picture.shape[0] / c.picture.shape[1] for c in cells), default=0.0)
    height = min(round(width * tallest), 2 * width)
    pitch = height + round(_SMALL * 5.4)
    page = _blank(pitch * -(-len(cells) // columns))
    for index, cell in enumerate(cells):
        x = _PAD + (index % columns) * (width + _GAP)
        y = (index // columns) * pitch
        _paste(page, cell.picture, x, y, width, height)
        base = y + height + _SMALL * 1.7
        draw_text(page, cell.title, (x, base), fit_height(cell.title, _SMALL, width), INK)
        if cell.text:
            letter = fit_height(cell.text, _SMALL, width)
            draw_text(page, cell.text, (x, base + _SMALL * 1.8), letter, FAINT)
    return page


def _paste(
    page: NDArray[np.uint8], picture: NDArray[np.uint8], x: int, y: int, width: int, height: int
) -> None:
    factor = min(width / picture.shape[1], height / picture.shape[0])
    size = (
        max(1, min(width, round(picture.shape[1] * factor))),
        max(1, min(height, round(picture.shape[0] * factor))),
    )
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
    page[y : y + size[1], x : x + size[0]] = small


def _curves(
    areas: Sequence[Sequence[float]], unit: str, colours: Sequence[Colour], step: str, steps: int
) -> NDArray[np.uint8]:
    """Area over time or along the volume, from 0 to a round number above the largest."""
    panel = _blank(_CURVE + 24)
    values = np.asarray(areas, np.float64)
    top = round_up(float(values.max()))
    label = f"{grouped(top)} {unit}" if top >= 10 else f"{top:g} {unit}"
    left, right = _PAD + 130, WIDTH - _PAD
    upper, lower = 34, 34 + _CURVE - 40
    draw_text(panel, "area", (_PAD, upper + _SMALL / 2), _SMALL, INK)
    draw_text(panel, label, (left - 12, upper + _SMALL / 2), _SMALL, FAINT, right=True)
    draw_text(panel, "0", (left - 12, lower + _SMALL / 2), _SMALL, FAINT, right=True)
    for y in (upper, (upper + lower) // 2, lower):
        cv2.line(panel, (left, y), (right, y), _RULE, 1)
    x = np.linspace(left, right, len(values))
    for index in range(values.shape[1]):
        y_px = lower - values[:, index] / top * (lower - upper)
        # Sixteenths of a pixel, so that a flat curve is not a staircase.
        points = np.round(np.stack([x, y_px], 1) * 16).astype(np.int32)
        cv2.polylines(panel, [points], False, colours[index], 2, cv2.LINE_AA, shift=4)
    draw_text(panel, f"{step} 0", (left, lower + 24), _SMALL, FAINT)
    draw_text(panel, f"{step} {steps - 1}", (right, lower + 24), _SMALL, FAINT, right=True)
    return panel


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... (times a power of ten) that is not below `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(
            step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= value * (1 - 1e-12)
        )
    )
