"""When the frames of a DICOM loop were taken, as its header says.

Times since the first frame alone: dates and times of day belong to the patient's record.
"""

from __future__ import annotations

import math
from typing import Any

FRAME_TIME_VECTOR = 0x00181065
MAX_RATE = 1000.0


def rate(header: Any) -> float | None:
    """Frames per second from FrameTime (ms), FrameTimeVector (ms), CineRate or the display rate."""
    steps = _vector(header)[1:]
    candidates = [
        1000 / step
        for step in (_number(header, "FrameTime"), sum(steps) / len(steps) if steps else 0.0)
        if step > 0
    ]
    candidates += [_number(header, tag) for tag in ("CineRate", "RecommendedDisplayFrameRate")]
    return next((r for r in candidates if 0 < r <= MAX_RATE), None)


def frame_times(header: Any, count: int) -> list[float] | None:
    """Seconds from the first frame to each of `count` frames; None: the header does not say.

    FrameTimeVector has the step before each frame. Where FrameTime is there too,
    FrameIncrementPointer tells which of them holds (PS3.3 C.7.6.6); a vector of another length is
    not used.
    """
    step, vector = _number(header, "FrameTime"), _vector(header)
    fits = len(vector) == count and all(v >= 0 for v in vector[1:]) and sum(vector[1:]) > 0
    pointed = header.get("FrameIncrementPointer", None) == FRAME_TIME_VECTOR
    if fits and (pointed or step <= 0):
        times, now = [0.0], 0.0
        for milliseconds in vector[1:]:
            now += milliseconds
            times.append(now / 1000)
        return times
    return [index * step / 1000 for index in range(count)] if step > 0 else None


def _vector(header: Any) -> list[float]:
    """FrameTimeVector in ms; empty if there is none, or it holds something else than numbers."""
    values = header.get("FrameTimeVector", None)
    if values is None or isinstance(values, str):
        return []
    numbers = [float(v) for v in (values if hasattr(values, "__len__") else [values])]
    return numbers if all(map(math.isfinite, numbers)) else []


def _number(header: Any, tag: str) -> float:
    value = float(header.get(tag, 0) or 0)
    return value if math.isfinite(value) else 0.0
