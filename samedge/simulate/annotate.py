"""What machines burn into their pictures: text, depth marks, grey bars, callipers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.simulate.draws import Draws
from samedge.simulate.probe import Placement, Probe

_WORDS = (
    "Gen", "THI", "MI", "TIS", "P21", "Crd", "FR 28Hz", "2D", "Gn 60", "C 61", "11cm", "LT", "RT",
    "0.9", "0.7", "CINE", "Sim", "B", "DR 60", "PLA", "SAX", "A4C", "Res", "L12", "C5-1", "19",
)  # fmt: skip
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_PLAIN)


def annotate(
    picture: NDArray[np.uint8],
    seen: NDArray[np.bool_],
    probe: Probe,
    placement: Placement,
    draws: Draws,
) -> None:
    """Draw what belongs around the beams, in place.

    Args:
        picture: `[H, W]`.
        seen: `[H, W]`, the pixels that beams reach; words stay clear of most of them.
        probe, placement: of the marks.
        draws: which marks, and where.
    """
    ink = draws.integer(90, 255)
    if draws.chance(0.6):
        _words(picture, seen, ink, draws)
    if draws.chance(0.5):
        _depth_marks(picture, probe, placement, ink, draws)
    if draws.chance(0.3):
        _grey_bar(picture, seen, draws)
    if draws.chance(0.3):
        _probe_mark(picture, probe, placement, ink, draws)
    if draws.chance(0.12):
        _status_line(picture, draws)
    if draws.chance(0.1):
        _callipers(picture, ink, draws)


def _words(picture: NDArray[np.uint8], seen: NDArray[np.bool_], ink: int, draws: Draws) -> None:
    """Words in columns near the corners, where the picture is empty."""
    height, width = picture.shape
    font = draws.pick(_FONTS)
    size = draws.between(0.22, 0.42) * height / 256 * (2 if font == cv2.FONT_HERSHEY_PLAIN else 1)
    step = round(draws.between(9, 13) * height / 256)
    for _ in range(draws.integer(1, 4)):
        x = draws.pick((2, round(width * draws.between(0.78, 0.92)), draws.integer(0, width // 2)))
        y = draws.pick((step, round(height * draws.between(0.1, 0.95))))
        for row in range(draws.integer(1, 5)):
            place = (x, y + row * step)
            if place[1] < height and not seen[place[1] - step // 2, min(x + step, width - 1)]:
                cv2.putText(picture, draws.pick(_WORDS), place, font, size, ink, 1, cv2.LINE_AA)


def _depth_marks(
    picture: NDArray[np.uint8], probe: Probe, placement: Placement, ink: int, draws: Draws
) -> None:
    """A mark every centimetre beside the beams."""
    height, width = picture.shape
    x0, _, x1, _ = probe.extent()
    x = placement.left + placement.per_x * draws.pick((x0, x1)) * 1.04
    x = round(min(max(x, 3), width - 4))
    long = draws.integer(0, 4)
    for number in range(int(probe.depth // 10) + 1):
        y = round(placement.top + placement.per_y * 10 * number)
        if 0 <= y < height:
            reach = long + 2 if number % 5 == 0 else long
            cv2.line(picture, (max(x - reach, 0), y), (x, y), ink, 1)


def _grey_bar(picture: NDArray[np.uint8], seen: NDArray[np.bool_], draws: Draws) -> None:
    """The grey map, beside the beams."""
    height, width = picture.shape
    wide, tall = draws.integer(3, 8), round(height * draws.between(0.2, 0.45))
    x = draws.pick((1, width - wide - 2))
    y = draws.integer(2, height - tall - 2)
    if not seen[y : y + tall, x : x + wide].any():
        ramp = np.linspace(255, 0, tall).astype(np.uint8)
        picture[y : y + tall, x : x + wide] = ramp[:, None]


def _probe_mark(
    picture: NDArray[np.uint8], probe: Probe, placement: Placement, ink: int, draws: Draws
) -> None:
    """The dot or letter that tells the probe's side."""
    away = draws.pick((-1, 1)) * draws.between(0.15, 0.5) * probe.width_at(probe.depth)
    x = round(placement.left + placement.per_x * away)
    y = round(placement.top - draws.between(-2, 6))
    cv2.circle(picture, (x, y), draws.integer(1, 4), ink, -1, cv2.LINE_AA)


def _status_line(picture: NDArray[np.uint8], draws: Draws) -> None:
    """A bar of buttons along the bottom."""
    height, width = picture.shape
    tall = round(height * draws.between(0.04, 0.07))
    paper, ink = draws.integer(20, 60), draws.integer(80, 160)
    y = height - draws.integer(0, 6) - tall
    left, right = draws.integer(0, width // 6), width - draws.integer(0, width // 5)
    picture[y : y + tall, left:right] = paper
    for x in range(left + 4, right - 20, max(24, (right - left) // draws.integer(4, 7))):
        word = draws.pick(_WORDS)
        cv2.putText(picture, word, (x, y + tall - 3), _FONTS[0], tall / 45, ink, 1, cv2.LINE_AA)


def _callipers(picture: NDArray[np.uint8], ink: int, draws: Draws) -> None:
    """Two crosses of a measurement somewhere, with a dotted line."""
    height, width = picture.shape
    ends = [
        np.asarray([draws.between(0.2, 0.8) * width, draws.between(0.2, 0.8) * height])
        for _ in range(2)
    ]
    for end in ends:
        cv2.drawMarker(picture, end.astype(int).tolist(), ink, cv2.MARKER_CROSS, 5)
    for share in np.linspace(0, 1, 14)[1:-1]:
        x, y = (ends[0] + share * (ends[1] - ends[0])).astype(int)
        picture[y, x] = ink
