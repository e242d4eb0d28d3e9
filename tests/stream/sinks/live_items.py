"""Live frames for the tests of sinks, without a stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from samedge.drawing.colours import colour_of
from samedge.families import SAMUS
from samedge.sources.frame import Frame
from samedge.stream.live.controls import Controls
from samedge.stream.live.item import LiveFrame, LiveObject, Status, Times, measured
from samedge.stream.live.sink import About
from samedge.stream.live.states import State

STEP_S = 1 / 30
START_S = 5000.0


def about(**changes: Any) -> About:
    """What a sink is told first."""
    given = {
        "source": "test",
        "session": {"backend": "none"},
        "family": SAMUS,
        "title": "Test",
        "notice": "",
        "controls": Controls(),
        "rate": 30.0,
    }
    return About(**{**given, **changes})


def picture(index: int, size: tuple[int, int] = (64, 96), channels: int = 3) -> np.ndarray:
    """Smooth, and another one for each index."""
    y, x = np.mgrid[: size[0], : size[1]]
    grey = (40 + x + 2 * y + 3 * index) % 200
    shape = size if channels == 1 else (*size, channels)
    return np.broadcast_to(grey if channels == 1 else grey[..., None], shape).astype(np.uint8)


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    """A mask."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def found(frame: Frame, number: int = 1, mask: np.ndarray | None = None, **more: Any) -> LiveObject:
    """An object with a mask."""
    if mask is None:
        mask = disc((frame.height, frame.width), 20 + 25 * (number - 1), 30, 10)
    pixels, mm2 = measured(frame, mask)
    given = {
        "name": f"object {number}",
        "colour": colour_of(number - 1),
        "status": Status.FOUND,
        "score": 0.9,
        "area_px": pixels,
        "area_mm2": mm2,
    }
    return LiveObject(number=number, mask=mask, **{**given, **more})


def item(
    index: int, *, pixels: np.ndarray | None = None, frame: Frame | None = None, **more: Any
) -> LiveFrame:
    """A delivery with one object; `more` are other values of its attributes."""
    captured_s = START_S + index * STEP_S
    if frame is None:
        shown = picture(index) if pixels is None else pixels
        frame = Frame(
            shown,
            index,
            index * STEP_S,
            "test",
            f"test_{index:05d}",
            captured_s=captured_s,
            stamp_s=1000 + index * STEP_S,
        )
    given = {
        "number": index,
        "is_new": True,
        "objects": (found(frame),),
        "states": frozenset({State.LIVE}),
        "alarms": (),
        "times": Times(captured_s, published=captured_s + 0.02),
        "expires_s": captured_s + 0.5,
    }
    return LiveFrame(frame=frame, **{**given, **more})
