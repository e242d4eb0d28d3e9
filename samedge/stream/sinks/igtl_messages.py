"""Live frames as OpenIGTLink messages: the mask with the input's time and place, and the state."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.openigtlink.header import Message
from samedge.openigtlink.image import Image, centre_matrix
from samedge.openigtlink.markups import Place
from samedge.openigtlink.messages import MAX_TEXT, Text, Transform, message
from samedge.openigtlink.stamps import ticks_at
from samedge.sources.frame import Frame, Origin
from samedge.stream.live.item import LiveFrame

VALUES = ("binary", "labels", "probability")


@dataclass(frozen=True)
class IgtlNames:
    """What is sent, and under which names of devices (up to 20 characters).

    Attributes:
        mask: of the IMAGE with the mask.
        transform: of the TRANSFORM that came with the input.
        status: of the STRING with the state.
        image: of an IMAGE with the frame itself; empty: it is not sent.
        values: "binary": 0 and 1. "labels": numbers of objects or classes. "probability": 255 times
            the probability of the likeliest object.
        doubtful: masks that did not pass the gate as well.
    """

    mask: str = "Prediction"
    transform: str = "PredToReference"
    status: str = "SamedgeStatus"
    image: str = ""
    values: str = "binary"
    doubtful: bool = False


def origin_of(frame: Frame, captured_s: float) -> Origin:
    """The frame's origin. For a source without one: this machine's clock at capture, steps of the
    frame's spacing (1 mm where it is unknown) along the axes, and the first pixel at 0, 0, 0."""
    if frame.origin is not None:
        return frame.origin
    row, column = frame.spacing_mm or (1.0, 1.0)
    first = np.diag([column, row, 1.0, 1.0])
    matrix = centre_matrix(first, (frame.width, frame.height, 1))
    return Origin(ticks_at(captured_s), matrix)


def place_of(item: LiveFrame, in_reference: bool) -> Place:
    """Where the frame lies, for points that come.

    Args:
        in_reference: points lie in the frame that the transform leads to.
    """
    origin = origin_of(item.frame, item.times.captured)
    usable = in_reference and origin.transform_valid
    return Place(
        origin.matrix,
        (item.frame.width, item.frame.height),
        origin.axes,
        origin.transform if usable else None,
    )


class Packet:
    """All messages of one frame, packed when they are sent: by then the masks may be too old.

    Args:
        item: the frame.
        names: of the devices.
        status: what the state message says, as JSON values.
        empty: the mask is empty in any case.
        probability: makes the pixels of values="probability".
    """

    def __init__(
        self,
        item: LiveFrame,
        names: IgtlNames,
        status: Mapping[str, Any],
        empty: bool = False,
        probability: Callable[[LiveFrame, bool], NDArray[np.uint8]] | None = None,
    ) -> None:
        self._probability = probability
        self._item, self._names, self._status = item, names, status
        self._empty = empty or not item.has_masks
        self._origin = origin_of(item.frame, item.times.captured)
        self._lock = threading.Lock()
        self._packed: dict[tuple[int, bool], bytes] = {}

    def pack(self, version: int, now_s: float | None = None) -> bytes:
        """The messages one behind the other, for clients of a header version.

        Args:
            version: 1 or 2.
            now_s: time of sending (`time.monotonic`); after `expires_s` the mask is empty.
        """
        now_s = time.monotonic() if now_s is None else now_s
        expired = not self._empty and now_s > self._item.expires_s
        with self._lock:
            found = self._packed.get((version, expired))
            if found is None:
                found = b"".join(one.pack(version) for one in self._messages(version, expired))
                self._packed[version, expired] = found
            return found

    def _messages(self, version: int, expired: bool) -> list[Message]:
        names, origin, found = self._names, self._origin, []
        if origin.transform is not None and (origin.transform_valid or version >= 2):
            ticks = origin.ticks if origin.transform_ticks is None else origin.transform_ticks
            # Version 1 cannot say that a transform is invalid, so there it is not sent.
            status = "OK" if origin.transform_valid else "INVALID"
            valid = "true" if origin.transform_valid else "false"
            found.append(
                message(
                    Transform(origin.transform), names.transform, ticks,
                    {"TransformStatus": status, "TransformValid": valid},
                )
            )  # fmt: skip
        if names.image:
            found.append(self._image(names.image, self._item.frame.picture))
        found.append(self._image(names.mask, self._mask(expired)))
        text = status_text({**self._status, "expired": True} if expired else self._status)
        found.append(message(Text(text), names.status, origin.ticks))
        return found

    def _image(self, name: str, pixels: NDArray[np.uint8]) -> Message:
        height, width = pixels.shape[:2]
        image = Image(
            pixels.reshape(1, height, width, -1), self._origin.matrix, (width, height, 1),
            axes=self._origin.axes,
        )  # fmt: skip
        return message(image, name, self._origin.ticks)

    def _mask(self, expired: bool) -> NDArray[np.uint8]:
        if expired or self._empty:
            return np.zeros((self._item.frame.height, self._item.frame.width), np.uint8)
        if self._names.values == "probability" and self._probability is not None:
            return self._probability(self._item, self._names.doubtful)
        labels = self._item.label_map(self._names.doubtful)
        return labels if self._names.values == "labels" else (labels != 0).astype(np.uint8)


class Pace:
    """Frames per second, of the last second."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=1000)

    def add(self, at_s: float) -> None:
        self._times.append(at_s)

    def per_second(self, now_s: float) -> float:
        while self._times and now_s - self._times[0] > 1.0:
            self._times.popleft()
        return float(len(self._times))


def status_of(item: LiveFrame, fps: float, now_s: float) -> dict[str, Any]:
    """What the state message says of a frame, as JSON values."""
    return {
        "state": item.state.value,
        "states": sorted(state.value for state in item.states),
        "frame": item.frame.index,
        "fps": fps,
        "latency_ms": round((now_s - item.times.captured) * 1e3, 1),
        "drops": item.drops,
        "alarms": [alarm.kind.value for alarm in item.alarms],
        "objects": [
            {
                "number": one.number,
                "name": one.name,
                "status": one.status.value,
                "score": _number(one.score),
                "area_px": one.area_px,
                "area_mm2": _number(one.area_mm2),
            }
            for one in item.objects
        ],
    }


def status_text(status: Mapping[str, Any]) -> str:
    """As JSON that fits a STRING message: objects at the end are left out if there are too many."""
    said = dict(status)
    text = json.dumps(said, allow_nan=False)
    while len(text) > MAX_TEXT and said.get("objects"):
        said["objects"] = said["objects"][: len(said["objects"]) // 2]
        said["objects_left_out"] = len(status["objects"]) - len(said["objects"])
        text = json.dumps(said, allow_nan=False)
    return text


def _number(value: float | None) -> float | None:
    return round(value, 4) if value is not None and math.isfinite(value) else None
