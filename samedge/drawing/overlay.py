"""Masks and prompts drawn over a frame, with a caption strip below it.

Nothing is written over the ultrasound image except masks and prompts; numbers go below. Every line
has a dark rim, so that it is seen on bright tissue and in black cavities alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import FAINT, INK, PAPER, Colour, colour_of
from samedge.drawing.text import draw_text, fit_height, text_width
from samedge.prompts.prompt import Prompt

_FILL = 0.26
_SHORT_SIDE = 600  # small frames are enlarged to at least this, so that lines and text are crisp
_LONG_SIDE = 2400  # but not beyond this
_MAX_SCALE = 16
_SQUARE = 0.01  # pixels whose sides differ by less are shown as squares
_ASPECTS = (0.05, 20.0)  # and so are those beyond: such a spacing is a mistake in the file


@dataclass(frozen=True)
class Line:
    """One line of the caption: text on the left (with the object's colour), text on the right.

    `beside` is a second entry in the right half of the line; then there is no room for `right`.
    """

    left: str
    right: str = ""
    colour: Colour | None = None
    ink: Colour = INK
    beside: Line | None = None


def display_scale(height: int, width: int) -> int:
    """Whole factor by which a frame of `height` x `width` px is enlarged for a picture."""
    wanted = -(-_SHORT_SIDE // min(height, width))
    return max(1, min(wanted, _MAX_SCALE, _LONG_SIDE // max(height, width)))


def display_size(
    height: int, width: int, spacing_mm: tuple[float, float] | None = None
) -> tuple[int, int]:
    """Size of the picture of a frame, in true proportions where its pixels are no squares.

    Args:
        height, width: of the frame, in px.
        spacing_mm: (row, column) distance of neighbouring pixels in mm; None: they are squares.

    Returns:
        (height, width) in px.
    """
    known = spacing_mm is not None and min(spacing_mm) > 0
    aspect = spacing_mm[0] / spacing_mm[1] if spacing_mm is not None and known else 1.0
    if abs(aspect - 1) < _SQUARE or not _ASPECTS[0] <= aspect <= _ASPECTS[1]:
        scale = display_scale(height, width)
        return height * scale, width * scale
    tall, wide = height * max(aspect, 1.0), width * max(1 / aspect, 1.0)
    wanted = min(max(_SHORT_SIDE / min(tall, wide), 1.0), _MAX_SCALE)
    factor = min(wanted, max(_LONG_SIDE, height, width) / max(tall, wide))
    return max(1, round(tall * factor)), max(1, round(wide * factor))


def draw_overlay(
    frame: NDArray[np.uint8],
    masks: Sequence[NDArray[np.uint8]],
    prompt: Prompt | None = None,
    scale: int | None = None,
    colours: Sequence[Colour] = (),
    prompt_colours: Sequence[Colour] = (),
    spacing_mm: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """A frame with its masks and prompts.

    Args:
        frame: uint8 `[H, W]` or `[H, W, 3]` RGB.
        masks: uint8 `[H, W]`, one per object, not 0 inside.
        prompt: drawn if given.
        scale: whole enlargement; default: what `display_size` says.
        colours: one per mask; default: those of the palette in order.
        prompt_colours: one per object of the prompt; default: those of the palette in order.
        spacing_mm: (row, column) distance of neighbouring pixels in mm, if they are no squares.

    Returns:
        RGB, uint8: `[scale * H, scale * W, 3]`, or of the size that `display_size` says.
    """
    height, width = frame.shape[:2]
    shown = (height * scale, width * scale) if scale else display_size(height, width, spacing_mm)
    size = shown[1], shown[0]
    colour = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
    same = shown == (height, width)
    shrunk = shown[0] < height or shown[1] < width
    how = cv2.INTER_AREA if shrunk else cv2.INTER_CUBIC
    large = colour if same else cv2.resize(colour, size, interpolation=how)
    picture: NDArray[np.uint8] = np.array(large, np.uint8)
    line = _line_width(*size)
    shapes = [_enlarged(mask, size) for mask in masks]
    colours = colours or [colour_of(i) for i in range(len(shapes))]
    for shape, hue in zip(shapes, colours, strict=True):
        _fill(picture, shape, hue)
    for shape, hue in zip(shapes, colours, strict=True):
        _outline(picture, shape, hue, line)
    if prompt is not None:
        hues = prompt_colours or [colour_of(i) for i in range(prompt.objects)]
        _draw_prompt(picture, prompt, (size[0] / width, size[1] / height), line, hues)
    return picture


def _line_width(width: int, height: int) -> int:
    return max(1, round(min(width, height) / 360))


def _enlarged(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    binary = (mask != 0).astype(np.uint8) * 255
    if binary.shape[::-1] == size:
        return np.asarray(binary, np.uint8)
    # Linear, then cut in the middle: the steps between pixels become smooth, the area stays.
    smooth = np.asarray(cv2.resize(binary, size, interpolation=cv2.INTER_LINEAR))
    return np.asarray((smooth > 127) * np.uint8(255), np.uint8)


def _fill(picture: NDArray[np.uint8], shape: NDArray[np.uint8], colour: Colour) -> None:
    inside = shape != 0
    mixed = picture[inside] * (1 - _FILL) + np.asarray(colour, np.float64) * _FILL
    picture[inside] = np.round(mixed).astype(np.uint8)


def _outline(
    picture: NDArray[np.uint8], shape: NDArray[np.uint8], colour: Colour, line: int
) -> None:
    contours, _ = cv2.findContours(shape, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    length = sum(cv2.arcLength(contour, True) for contour in contours)
    if length * (line + 2) > int(np.count_nonzero(shape)):
        return  # a mask of specks: their outlines would hide the image, the fill shows them
    cv2.drawContours(picture, contours, -1, (0, 0, 0), line + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, colour, line, cv2.LINE_AA)


def _draw_prompt(
    picture: NDArray[np.uint8],
    prompt: Prompt,
    scales: tuple[float, float],
    line: int,
    colours: Sequence[Colour],
) -> None:
    across, down = scales
    for index, colour in enumerate(colours):
        if prompt.box is not None:
            left, top, right, bottom = (float(v) for v in prompt.box[index])
            x0, x1 = round(left * across), round(right * across)
            y0, y1 = round(top * down), round(bottom * down)
            cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 0, 0), line + 2, cv2.LINE_AA)
            cv2.rectangle(picture, (x0, y0), (x1, y1), colour, line, cv2.LINE_AA)
        if prompt.points is not None and prompt.labels is not None:
            for xy, label in zip(prompt.points[index], prompt.labels[index], strict=True):
                # The point lies in the middle of its pixel, also after the enlargement.
                spot = round((float(xy[0]) + 0.5) * across), round((float(xy[1]) + 0.5) * down)
                _draw_point(picture, spot, colour, bool(label == 1), line)


def _draw_point(
    picture: NDArray[np.uint8], spot: tuple[int, int], colour: Colour, inside: bool, line: int
) -> None:
    """A white-ringed disc: with a plus (inside the object) or a minus (outside, and hollow)."""
    radius = max(4, 4 * line)
    cv2.circle(picture, spot, radius + 2, (0, 0, 0), -1, cv2.LINE_AA)
    cv2.circle(picture, spot, radius + 1, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(picture, spot, radius - 1, colour if inside else (0, 0, 0), -1, cv2.LINE_AA)
    arm = max(2, radius // 2)
    ink = (0, 0, 0) if inside else (255, 255, 255)
    x, y = spot
    cv2.line(picture, (x - arm, y), (x + arm, y), ink, line, cv2.LINE_AA)
    if inside:
        cv2.line(picture, (x, y - arm), (x, y + arm), ink, line, cv2.LINE_AA)


def add_caption(picture: NDArray[np.uint8], lines: Sequence[Line]) -> NDArray[np.uint8]:
    """Put a caption strip below a picture.

    Args:
        picture: RGB `[H, W, 3]`.
        lines: all are shown.

    Returns:
        RGB, uint8 `[H + strip, W, 3]`.
    """
    width = picture.shape[1]
    letter = float(np.clip(width / 62, 7, 16))
    pad, pitch = round(letter * 1.1), round(letter * 2.1)
    strip = np.full((pad + pitch * len(lines) + pad // 2, width, 3), PAPER, np.uint8)
    half = width // 2
    for row, line in enumerate(lines):
        baseline = pad + pitch * row + letter
        if line.beside is None:
            _caption_line(strip, line, (pad, width - pad), baseline, letter)
        else:
            _caption_line(strip, line, (pad, half - pad // 2), baseline, letter)
            _caption_line(strip, line.beside, (half, width - pad), baseline, letter)
    return np.concatenate([picture, strip])


def _caption_line(
    strip: NDArray[np.uint8], line: Line, room: tuple[int, int], baseline: float, letter: float
) -> None:
    """Draw one entry between two columns of the strip."""
    x, end = float(room[0]), room[1]
    if line.colour is not None:
        middle = (round(x + letter / 2), round(baseline - letter / 2))
        cv2.circle(strip, middle, round(letter / 2), line.colour, -1, cv2.LINE_AA)
        x += letter * 1.8
    whole = line.left + ("   " + line.right if line.right else "")
    letter = fit_height(whole, letter, end - x)
    draw_text(strip, line.left, (x, baseline), letter, line.ink)
    if line.right and text_width(whole, letter) <= end - x + 1:
        draw_text(strip, line.right, (end, baseline), letter, FAINT, right=True)
