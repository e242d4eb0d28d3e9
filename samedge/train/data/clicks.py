"""Prompts made from a label: clicks and boxes, as SAMUS makes them. numpy only.

All coordinates are (x, y) in px of the label that is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Label = NDArray[np.uint8]
Click = tuple[NDArray[np.int64], NDArray[np.int64]]


def fixed_click(label: Label, class_id: int = 1) -> Click:
    """The middle one of a class's pixels in row-major order, SAMUS's `fixed_click`.

    Args:
        label: `[H, W]`.
        class_id: which class.

    Returns:
        point int64 `[1, 2]`, and its label int64 `[1]`: 1; without any pixel of the class, the
        middle pixel of everything else with label 0.
    """
    places, inside = _places(label, class_id)
    return _click(label, int(places[len(places) // 2]), inside)


def random_click(label: Label, rng: np.random.Generator, class_id: int = 1) -> Click:
    """A random pixel of a class, all equally likely, SAMUS's `random_click`; else as
    `fixed_click`."""
    places, inside = _places(label, class_id)
    return _click(label, int(places[rng.integers(len(places))]), inside)


def several_clicks(label: Label, rng: np.random.Generator, count: int) -> Click:
    """Clicks as a user sets them one after the other: inside first, then inside or outside.

    Half of those outside lie close to the object, where a mask would have leaked.

    Args:
        label: `[H, W]`, 1 inside the object.
        rng: where they come from.
        count: how many.

    Returns:
        points int64 `[count, 2]`, labels int64 `[count]`: 1 inside, 0 outside.
    """
    inside, outside = np.flatnonzero(label == 1), np.flatnonzero(label != 1)
    near = np.flatnonzero((_grown(label) == 1) & (label != 1))
    places, labels = [], []
    for number in range(count):
        background = len(outside) and (not len(inside) or (number and rng.random() < 0.5))
        pool = inside
        if background:
            pool = near if len(near) and rng.random() < 0.5 else outside
        places.append(divmod(int(pool[rng.integers(len(pool))]), label.shape[1]))
        labels.append(0 if background else 1)
    return np.asarray(places, np.int64)[:, ::-1].copy(), np.asarray(labels, np.int64)


def loose_box(
    box: NDArray[np.int64], rng: np.random.Generator, size: tuple[int, int]
) -> NDArray[np.int64]:
    """A box as a hand draws it: each side up to 5 % of the box too far in, or 12 % too far out.

    Args:
        box: `[4]`, (x0, y0, x1, y1).
        rng: where the shifts come from.
        size: (width, height) that the box stays in.
    """
    wide, tall = box[2] - box[0] + 1, box[3] - box[1] + 1
    shift = np.rint(rng.uniform(-0.05, 0.12, 4) * [wide, tall, wide, tall]).astype(np.int64)
    moved = box + shift * [-1, -1, 1, 1]
    return np.asarray(np.clip(moved, 0, [*size, *size]), np.int64)


def box_of(label: Label, class_id: int = 1) -> NDArray[np.int64]:
    """The smallest box around a class's pixels, SAMUS's `fixed_bbox`.

    Args:
        label: `[H, W]`.
        class_id: which class.

    Returns:
        int64 `[4]`, (x0, y0, x1, y1), the outermost pixels themselves; (-1, -1, W, H) without any.
    """
    found = label == class_id
    rows, columns = (np.flatnonzero(found.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.array([-1, -1, label.shape[1], label.shape[0]], np.int64)
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.int64)


def grown_box(
    box: NDArray[np.int64], rng: np.random.Generator, reach: int, size: tuple[int, int]
) -> NDArray[np.int64]:
    """A box whose sides moved outwards by 0 to `reach` px each, as MedSAM trains with.

    Args:
        box: `[4]`, (x0, y0, x1, y1).
        rng: where the shifts come from.
        reach: px, at least 0.
        size: (width, height) that the box stays in.
    """
    shift = rng.integers(0, reach + 1, 4)
    low, high = box[:2] - shift[:2], box[2:] + shift[2:]
    limit = np.array(size, np.int64)
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])


def _grown(label: Label) -> Label:
    """The object and what is around it within about an eighth of its size."""
    reach = max(2, round(0.25 * float(np.sqrt(np.count_nonzero(label == 1) / np.pi))))
    rows, columns = label.shape
    out = (label == 1).astype(np.uint8)
    for axis, length in ((0, rows), (1, columns)):
        total = np.cumsum(out, axis, dtype=np.int32)
        high = np.minimum(np.arange(length) + reach, length - 1)
        low = np.arange(length) - reach - 1
        lower = np.where(
            np.expand_dims(low, 1 - axis) >= 0, np.take(total, np.maximum(low, 0), axis), 0
        )
        out = (np.take(total, high, axis) > lower).astype(np.uint8)
    return np.asarray(out, np.uint8)


def _places(label: Label, class_id: int) -> tuple[NDArray[np.int64], bool]:
    """Flat places of a class's pixels, or else of all others; and which of the two."""
    places = np.flatnonzero(label == class_id)
    return (places, True) if len(places) else (np.arange(label.size), False)


def _click(label: Label, place: int, inside: bool) -> Click:
    y, x = divmod(place, label.shape[1])
    return np.array([[x, y]], np.int64), np.array([int(inside)], np.int64)
