"""One WebSocket message per frame, which holds the frame, its masks and its state.

    4 bytes    length of the header, big-endian
    header     JSON, UTF-8
    picture    JPEG, `header["picture"]["bytes"]` bytes
    masks      of each object of `header["objects"]` that has a "mask", in order: the rows of its
               "box" (x0, y0, x1, y1, right and bottom exclusive), 8 px per byte, the leftmost in
               the highest bit, each row filled up to whole bytes; "bytes" in all

It is encoded once for all browsers. What depends on the moment of sending stands at the end of the
header and is added then: see `Message.packed`. All times in it are in ms of this machine's
`time.monotonic`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import OutputError
from samedge.sources.frame import Frame
from samedge.stream.live.item import LiveFrame, LiveObject
from samedge.stream.live.states import State

QUALITY = 85
MOST_SIDE = 1920  # larger pictures are scaled down on their way; masks stay as they are
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, eq=False)
class Message:
    """An encoded frame.

    Attributes:
        number: of the delivery.
        is_new: the frame was not shown before.
        captured_s, expires_s: as in `LiveFrame`.
        head: the header without its end.
        body: the picture and the masks.
    """

    number: int
    is_new: bool
    captured_s: float
    expires_s: float
    head: bytes
    body: bytes

    def packed(self, now_s: float, extra: Mapping[str, Any]) -> bytes:
        """The message as it is sent.

        Args:
            now_s: `time.monotonic`; becomes "sent_ms", and the time that the masks have left,
                "remaining_ms" (null: no limit; 0: none, do not show them).
            extra: further fields, which only one browser gets.
        """
        left = self.expires_s - now_s
        tail = {
            "sent_ms": ms(now_s),
            "remaining_ms": None if math.isinf(left) else max(0.0, ms(left)),
            **extra,
        }
        end = json.dumps(tail, separators=(",", ":"))[1:].encode()
        return b"".join(
            [_LENGTH.pack(len(self.head) + 1 + len(end)), self.head, b",", end, self.body]
        )


class Encoder:
    """Makes messages of deliveries; a picture that was delivered before is not encoded again."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._jpeg = b""

    def message(self, item: LiveFrame, is_new: bool, at_s: float) -> Message:
        """Encode a delivery.

        Args:
            item: the delivery.
            is_new: whether the frame is.
            at_s: when this was how things stand, in seconds of `time.monotonic`.
        """
        if item.frame is not self._frame:
            self._jpeg = jpeg(item.frame.picture)
            self._frame = item.frame
        objects, masks = [], []
        for one in item.objects:
            packed = _packed_mask(one.mask)
            objects.append(_object(one, packed))
            masks.append(packed[1])
        header = {
            "number": item.number,
            "new": is_new,
            "at_ms": ms(at_s),
            "captured_ms": ms(item.times.captured),
            "width": item.frame.width,
            "height": item.frame.height,
            "spacing_mm": _finite(item.frame.spacing_mm),
            "crop": None if item.crop is None else [int(v) for v in item.crop],
            "states": state_names(item.states),
            "drops": item.drops,
            "objects": objects,
            "picture": {"bytes": len(self._jpeg)},
        }
        head = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()[:-1]
        captured = item.times.captured
        body = b"".join([self._jpeg, *masks])
        return Message(item.number, is_new, captured, item.expires_s, head, body)


def ms(seconds: float) -> float:
    """In ms, to a tenth."""
    return round(seconds * 1000, 1)


def state_names(states: frozenset[State]) -> list[str]:
    """The states that hold, the most urgent first; "live" where none does."""
    return [one.value for one in State if one in states] or [State.LIVE.value]


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """uint8 `[H, W]` or `[H, W, 3]` RGB as JPEG, no side above `MOST_SIDE`.

    Raises:
        OutputError: it could not be encoded.
    """
    longest = max(picture.shape[:2])
    if longest > MOST_SIDE:
        height, width = (max(1, round(v * MOST_SIDE / longest)) for v in picture.shape[:2])
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    if picture.ndim == 3:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise OutputError(f"the viewer could not encode a picture of {picture.shape} as JPEG")
    return data.tobytes()


def unpack(data: bytes) -> tuple[dict[str, Any], bytes, list[NDArray[np.uint8] | None]]:
    """A message taken apart again: for programs that show a stream, and for tests.

    Returns:
        the header, the JPEG, and per object uint8 `[H, W]`, 0 or 1, or None without a mask.
    """
    (length,) = _LENGTH.unpack_from(data)
    header: dict[str, Any] = json.loads(data[4 : 4 + length])
    start = 4 + length
    picture = data[start : start + header["picture"]["bytes"]]
    start += len(picture)
    masks: list[NDArray[np.uint8] | None] = []
    for one in header["objects"]:
        if one["mask"] is None:
            masks.append(None)
            continue
        x0, y0, x1, y1 = one["mask"]["box"]
        mask = np.zeros((header["height"], header["width"]), np.uint8)
        rows = np.frombuffer(data, np.uint8, one["mask"]["bytes"], start)
        rows = rows.reshape(y1 - y0, -(-(x1 - x0) // 8))
        mask[y0:y1, x0:x1] = np.unpackbits(rows, axis=1)[:, : x1 - x0]
        start += one["mask"]["bytes"]
        masks.append(mask)
    return header, picture, masks


def _packed_mask(mask: NDArray[np.uint8] | None) -> tuple[Sequence[int] | None, bytes]:
    """The box around a mask's pixels and its bits in there; None: there is no mask."""
    if mask is None:
        return None, b""
    x0, y0, width, height = cv2.boundingRect(mask)
    box = (x0, y0, x0 + width, y0 + height)
    return box, np.packbits(mask[y0 : box[3], x0 : box[2]], axis=1).tobytes()


def _object(one: LiveObject, packed: tuple[Sequence[int] | None, bytes]) -> dict[str, Any]:
    box, bits = packed
    return {
        "number": one.number,
        "name": one.name,
        "colour": list(one.colour),
        "status": one.status.value,
        "score": _finite(one.score),
        "area_px": one.area_px,
        "area_mm2": _finite(one.area_mm2),
        "reason": one.reason,
        "prompt": dict(one.prompt),
        "mask": None if box is None else {"box": box, "bytes": len(bits)},
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN; what is none of a number is unknown."""
    if value is None or not np.all(np.isfinite(value)):
        return None
    return [float(v) for v in value] if isinstance(value, tuple) else float(value)
