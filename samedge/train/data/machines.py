"""What other machines, presets and archives would have made of an image.

Strong changes for networks that start from scratch and have to do with images from anywhere: gains
and curves, speckle, shadows, blackened corners, burnt-in words, a window of another size and shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Levels = NDArray[np.float32]
Change: TypeAlias = Callable[[Levels, np.random.Generator], Levels]

_ZOOM, _ASPECT = (0.65, 1.6), 1.35
_KEPT = 0.65  # share of the object that a window must leave
_WORDS = ("TIS 0.4", "MI 1.1", "FR 31", "12 cm", "LT", "2D 78%", "G 52", "DR 60", "A", "B", "+")


def windowed(image: Image, label: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """Another window: enlarged or made smaller on black, stretched, turned a little, moved.

    Args:
        image: uint8 `[H, W]` or `[H, W, 3]`.
        label: uint8 `[H, W]`.
        rng: the same state gives the same window.

    Returns:
        both at their old sizes; as they came if too little of the object would be left.
    """
    height, width = label.shape
    zoom = np.exp(rng.uniform(*np.log(_ZOOM)))
    aspect = np.exp(rng.uniform(-1, 1) * np.log(_ASPECT) / 2)
    turn = np.radians(rng.uniform(-25, 25)) if rng.random() < 0.4 else 0.0
    x, y = zoom * aspect, zoom / aspect
    linear = np.asarray(
        [[x * np.cos(turn), -y * np.sin(turn)], [x * np.sin(turn), y * np.cos(turn)]]
    )
    middle = np.asarray([width - 1, height - 1]) / 2
    room = np.abs(np.asarray([x, y]) - 1) * np.asarray([width, height]) / 2
    shift = middle - linear @ middle + rng.uniform(-room, room)
    matrix = np.column_stack([linear, shift])
    size = (width, height)
    moved = cv2.warpAffine(label, matrix, size, flags=cv2.INTER_NEAREST)
    if np.count_nonzero(moved) < _KEPT * x * y * np.count_nonzero(label):
        return image, label
    return (
        np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), np.uint8),
        np.asarray(moved, np.uint8),
    )


def other_machine(image: Image, rng: np.random.Generator) -> Image:
    """The same body, seen by another machine; a random few of all the changes.

    Args:
        image: uint8 `[H, W]` or `[H, W, 3]`; is not changed.
        rng: the same state gives the same image.
    """
    levels: Levels = np.asarray(image.astype(np.float32) / 255, np.float32)
    for change, chance in _CHANGES:
        if rng.random() < chance:
            levels = change(levels, rng)
    out = np.clip(np.rint(levels * 255), 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _blacken(out, rng)
    if rng.random() < 0.2:
        _write(out, rng)
    if rng.random() < 0.15:
        quality = (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90)))
        _, data = cv2.imencode(".jpg", out, quality)
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)
    return out


def _spread(field: NDArray[np.floating], levels: Levels) -> Levels:
    """A field `[H or 1, W or 1]` with as many axes as the image."""
    out = np.asarray(field, np.float32)
    return out if levels.ndim == 2 else out[..., None]


def _cut(levels: NDArray[np.floating]) -> Levels:
    return np.asarray(np.clip(levels, 0, 1), np.float32)


def _smooth(shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator) -> Levels:
    coarse = rng.standard_normal((max(cells[0], 1), max(cells[1], 1))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _curve(levels: Levels, rng: np.random.Generator) -> Levels:
    return np.asarray(np.power(levels, np.float32(np.exp(rng.uniform(-0.7, 0.7)))), np.float32)


def _range(levels: Levels, rng: np.random.Generator) -> Levels:
    """Another dynamic range and gain: black and white elsewhere."""
    low, high = rng.uniform(-0.12, 0.12), rng.uniform(0.6, 1.25)
    return _cut((levels - np.float32(low)) / np.float32(high - low))


def _time_gain(levels: Levels, rng: np.random.Generator) -> Levels:
    """Gain along the depth and across; black stays black, as decibels move grey levels."""
    height, width = levels.shape[:2]
    down = rng.uniform(0.05, 0.3) * _smooth((height, 1), (int(rng.integers(2, 6)), 1), rng)
    across = rng.uniform(0.0, 0.2) * _smooth((1, width), (1, int(rng.integers(2, 6))), rng)
    seen = np.minimum(levels * 8, 1)
    return _cut(levels + seen * _spread(down + across, levels))


def _speckle(levels: Levels, rng: np.random.Generator) -> Levels:
    """Grain of another size, stronger where it is bright."""
    grain = rng.standard_normal(levels.shape[:2]).astype(np.float32)
    wide, tall = rng.uniform(0.5, 2.2), rng.uniform(0.4, 1.2)
    grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), wide, sigmaY=tall), np.float32)
    grain *= np.float32(rng.uniform(0.08, 0.35)) / max(float(grain.std()), 1e-6)
    return _cut(levels * (1 + _spread(grain, levels)))


def _blur(levels: Levels, rng: np.random.Generator) -> Levels:
    wide, tall = rng.uniform(0.4, 1.8, 2)
    return np.asarray(cv2.GaussianBlur(levels, (0, 0), wide, sigmaY=tall), np.float32)


def _coarse(levels: Levels, rng: np.random.Generator) -> Levels:
    """Fewer pixels, as from a small stored image."""
    height, width = levels.shape[:2]
    share = rng.uniform(0.4, 0.9)
    size = (max(round(width * share), 8), max(round(height * share), 8))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _sharpen(levels: Levels, rng: np.random.Generator) -> Levels:
    soft = cv2.GaussianBlur(levels, (0, 0), rng.uniform(1, 2.5))
    return _cut(levels + np.float32(rng.uniform(0.2, 1.0)) * (levels - soft))


def _noise(levels: Levels, rng: np.random.Generator) -> Levels:
    noise = rng.standard_normal(levels.shape[:2]).astype(np.float32)
    return _cut(levels + _spread(noise * rng.uniform(0.01, 0.06), levels))


def _shadows(levels: Levels, rng: np.random.Generator) -> Levels:
    """Dark bands with soft sides, from some depth downwards."""
    height, width = levels.shape[:2]
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(height)
    x = np.arange(width, dtype=np.float32)[None] / np.float32(width)
    out = levels
    for _ in range(int(rng.integers(1, 4))):
        half, lean = rng.uniform(0.02, 0.12), rng.uniform(-0.3, 0.3)
        off = np.abs(x - np.float32(rng.uniform()) - np.float32(lean) * y)
        band = np.clip((np.float32(half) - off) / np.float32(0.03) + 1, 0, 1)
        below = np.clip((y - np.float32(rng.uniform(0, 0.7))) / np.float32(0.08), 0, 1)
        out = out * _spread(1 - np.float32(rng.uniform(0.3, 0.95)) * band * below, levels)
    return np.asarray(out, np.float32)


_CHANGES: tuple[tuple[Change, float], ...] = (
    (_curve, 0.4),
    (_range, 0.4),
    (_time_gain, 0.4),
    (_blur, 0.25),
    (_coarse, 0.2),
    (_sharpen, 0.15),
    (_speckle, 0.35),
    (_shadows, 0.2),
    (_noise, 0.2),
)


def _blacken(image: Image, rng: np.random.Generator) -> None:
    """Black margins, and black boxes in corners, where names stood; in place."""
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        top, bottom = (int(rng.uniform(0, 0.1) * height) for _ in range(2))
        left, right = (int(rng.uniform(0, 0.1) * width) for _ in range(2))
        image[:top] = image[height - bottom :] = 0
        image[:, :left] = image[:, width - right :] = 0
    else:
        for _ in range(int(rng.integers(1, 3))):
            tall, wide = int(rng.uniform(0.08, 0.2) * height), int(rng.uniform(0.1, 0.28) * width)
            y = 0 if rng.random() < 0.5 else height - tall
            x = 0 if rng.random() < 0.5 else width - wide
            image[y : y + tall, x : x + wide] = 0


def _write(image: Image, rng: np.random.Generator) -> None:
    """Words, and the crosses and dots of a measurement; in place."""
    height, width = image.shape[:2]
    ink = (int(rng.integers(110, 256)),) * 3
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 5))):
            word = _WORDS[int(rng.integers(len(_WORDS)))]
            place = (int(rng.uniform(0, 0.9) * width), int(rng.uniform(0.03, 1) * height))
            scale = rng.uniform(0.25, 0.5) * height / 256
            cv2.putText(image, word, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)
    if rng.random() < 0.6:
        first, second = rng.uniform(0.15, 0.85, (2, 2)) * [width, height]
        for end in (first, second):
            place = (int(end[0]), int(end[1]))
            cv2.drawMarker(image, place, ink, cv2.MARKER_CROSS, int(rng.integers(4, 9)))
        for share in np.linspace(0, 1, int(rng.integers(10, 30)))[1:-1]:
            x, y = first + share * (second - first)
            image[int(y), int(x)] = ink[0]
