"""Deliveries made by hand, and a viewer that they go to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import colour_of
from samedge.families import SAM, Family
from samedge.sources.frame import Frame, Spacing
from samedge.stream.live.controls import Command, Controls
from samedge.stream.live.item import LiveFrame, LiveObject, Status, Times, measured
from samedge.stream.live.sink import About
from samedge.stream.live.states import Alarm, State
from samedge.stream.viewer import ViewerSink

NOTICE = "Research use only. Not a medical device."
Mask = NDArray[np.uint8]


def picture(height: int = 240, width: int = 320, level: int = 90) -> NDArray[np.uint8]:
    """Grey, all the same."""
    return np.full((height, width), level, np.uint8)


def disc(frame: Frame, x: float, y: float, radius: float) -> Mask:
    """A mask of the pixels whose middles are within `radius` of (x, y)."""
    rows, columns = np.mgrid[: frame.height, : frame.width]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def frame_of(pixels: NDArray[Any], index: int = 0, spacing_mm: Spacing | None = None) -> Frame:
    return Frame(pixels, index, None, "test", f"test_{index}", spacing_mm=spacing_mm)


def found(
    frame: Frame,
    mask: Mask | None,
    number: int = 1,
    status: Status = Status.FOUND,
    **fields: Any,
) -> LiveObject:
    """An object with a mask; its area and its colour follow."""
    area, mm2 = (0, None) if mask is None else measured(frame, mask)
    given = {"name": f"object {number}", "score": None if mask is None else 0.93, **fields}
    return LiveObject(
        number,
        colour=colour_of(number - 1),
        status=status,
        mask=mask,
        area_px=area,
        area_mm2=mm2,
        **given,
    )


class Stream:
    """What stands in for a stream: it numbers deliveries and reads commands."""

    def __init__(self, sink: ViewerSink, about: About) -> None:
        self.sink, self.about, self.controls = sink, about, about.controls
        self.number = 0

    def show(
        self,
        frame: Frame,
        objects: Sequence[LiveObject] = (),
        states: Sequence[State] = (),
        last_s: float = math.inf,
        is_new: bool = True,
        alarms: Sequence[Alarm] = (),
        age_s: float = 0.0,
        drops: int = 0,
    ) -> int:
        """Deliver a frame whose masks are shown for `last_s` from now; its number."""
        now = time.monotonic()
        item = LiveFrame(
            number=self.number,
            frame=frame,
            is_new=is_new,
            objects=tuple(objects),
            states=frozenset(states or [State.LIVE]),
            alarms=tuple(alarms),
            times=Times(now - age_s, now, now, now, now),
            expires_s=now + last_s,
            drops=drops,
        )
        self.number += 1
        self.sink.write(item)
        return item.number

    def commands(self, count: int = 1, timeout_s: float = 5.0) -> list[Command]:
        """The next commands, once so many have come; those that came in time, if they do not."""
        end = time.monotonic() + timeout_s
        taken: list[Command] = []
        while len(taken) < count and time.monotonic() < end:
            taken += self.controls.take()
            time.sleep(0.005)
        return taken


@contextmanager
def viewer(
    family: Family = SAM,
    token: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    **fields: Any,
) -> Iterator[Stream]:
    """A viewer, by default on a free port, without an engine behind it."""
    given: dict[str, Any] = {
        "source": "test",
        "session": {},
        "family": family,
        "title": "a bundle",
        "notice": NOTICE,
        "controls": Controls(),
        "settings": {"deadline_s": 0.1, "expire_s": 0.5},
        "rate": 30.0,
    }
    about = About(**{**given, **fields})
    sink = ViewerSink(host=host, port=port, token=token)
    sink.open(about)
    try:
        yield Stream(sink, about)
    finally:
        sink.close(None)
