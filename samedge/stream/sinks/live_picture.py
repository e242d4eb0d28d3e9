"""Live frames as pictures: masks drawn in, states and areas below, always of one size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import ALERT, FAINT, INK, PAPER, Colour
from samedge.drawing.contours import outline, tint
from samedge.drawing.overlay import Line, add_caption
from samedge.drawing.text import draw_text, fit_height, grouped, text_width
from samedge.stream.live.item import LiveFrame, LiveObject, Status
from samedge.stream.live.states import URGENCY, State
from samedge.stream.sinks.report import NOTICE

MAX_OBJECTS = 4  # that are listed, two in a line
_NARROWEST = 320  # px; smaller pictures are enlarged, for words have to fit below
_CALM = {State.LIVE, State.PROMPT, State.HELD, State.FROZEN, State.STARTING}  # no alarms


def masked(item: LiveFrame, scale: int = 1) -> NDArray[np.uint8]:
    """The frame with its masks.

    Masks that did not pass the quality gate are not filled, and their line is dashed.

    Args:
        item: the frame.
        scale: whole enlargement.

    Returns:
        RGB, uint8 `[scale * H, scale * W, 3]`.
    """
    pixels = item.frame.picture
    rgb = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels.copy()
    picture = _enlarged(np.asarray(rgb, np.uint8), scale)
    # Two px at 480: the colours of a video have half its resolution.
    line = max(1, round(min(picture.shape[:2]) / 240))
    shown = [(one, _enlarged(one.mask, scale)) for one in item.objects if one.mask is not None]
    for one, mask in shown:
        if one.status is Status.FOUND:
            tint(picture, mask, one.colour)
    for one, mask in shown:
        outline(picture, mask, one.colour, line, dashed=one.status is not Status.FOUND)
    return picture


def live_picture(item: LiveFrame, time_s: float, notice: str = "") -> NDArray[np.uint8]:
    """The frame with its masks; below it a band with the states, the objects and a notice.

    Frames of one size give pictures of one size, whatever is in them.

    Args:
        item: the frame.
        time_s: to be shown, since the beginning.
        notice: shown above the one that all results carry.

    Returns:
        RGB, uint8 `[scale * H + strip, scale * W, 3]`.
    """
    picture = masked(item, max(1, -(-_NARROWEST // item.frame.width)))
    clock = f"frame {item.frame.index}   {time_s:.2f} s"
    lines = [*_entries(item), *([Line(notice, ink=ALERT)] if notice else []), Line(NOTICE)]
    return add_caption(np.concatenate([picture, _band(item, clock, picture.shape[1])]), lines)


def _enlarged(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return image if scale == 1 else image.repeat(scale, axis=0).repeat(scale, axis=1)


def states_in_words(item: LiveFrame) -> str:
    """All states that hold, the most urgent first: "LOST, LATE"."""
    found = sorted(item.states, key=URGENCY.index) or [State.LIVE]
    return ", ".join(state.value.upper() for state in found)


def _band(item: LiveFrame, clock: str, width: int) -> NDArray[np.uint8]:
    """The states; on a bright ground if something is wrong, on a grey one if it stands still."""
    paper, ink = PAPER, INK
    if not item.states <= _CALM:
        paper, ink = ALERT, (0, 0, 0)
    elif item.states & {State.HELD, State.FROZEN}:
        paper, ink = FAINT, (0, 0, 0)
    letter = float(np.clip(width / 50, 8, 20))
    pad = round(letter * 0.9)
    band = np.full((round(letter * 2.2), width, 3), paper, np.uint8)
    room = width - 3 * pad - text_width(clock, letter * 0.8)
    words = states_in_words(item)
    baseline = round(letter * 1.6)
    draw_text(band, words, (pad, baseline), fit_height(words, letter, room), ink)
    draw_text(band, clock, (width - pad, baseline), letter * 0.8, ink, right=True)
    return band


def _entries(item: LiveFrame) -> list[Line]:
    """Objects, two in a line; always the same number of lines."""
    shown = [_entry(one) for one in item.objects[:MAX_OBJECTS]]
    if len(item.objects) > MAX_OBJECTS:
        shown[-1] = Line(f"and {len(item.objects) - MAX_OBJECTS + 1} more", ink=FAINT)
    shown += [Line("")] * (MAX_OBJECTS - len(shown))
    return [_pair(shown[i], shown[i + 1]) for i in range(0, MAX_OBJECTS, 2)]


def _pair(left: Line, right: Line) -> Line:
    return Line(left.left, "", left.colour, left.ink, right)


def _entry(one: LiveObject) -> Line:
    colour: Colour = one.colour
    if one.mask is None:
        return Line(f"{one.name}   {one.status.value}", "", colour, ALERT)
    # A doubtful area is not to be read as a measurement.
    if one.status is not Status.FOUND:
        return Line(f"{one.name}   doubtful", "", colour, ALERT)
    words = f"{one.name}   {grouped(one.area_px)} px"
    if one.area_mm2 is not None:
        precise = f"{one.area_mm2:.1f}" if one.area_mm2 < 100 else grouped(one.area_mm2)
        words += f" = {precise} mm2"
    return Line(words, "", colour)
