"""What sinks get: a frame and its masks, which never part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import Colour
from samedge.sources.frame import Box, Frame
from samedge.stream.areas import mask_area_mm2
from samedge.stream.live.controls import Command
from samedge.stream.live.states import Alarm, State, most_urgent


class Status(str, Enum):
    """How it stands with one object."""

    FOUND = "found"
    DOUBTFUL = "doubtful"  # there is a mask, which did not pass the gate: do not measure it
    LOST = "lost"  # not found for a while; no mask
    WAITING = "waiting"  # not prompted in this picture yet; no mask


@dataclass(frozen=True, eq=False)
class LiveObject:
    """One object, or one structure of a family with classes, in one frame.

    Attributes:
        number: from 1; an object keeps it, a number is not used again for another object. Of
            families with classes the class's number.
        name: what the user or the family calls it.
        colour: (R, G, B).
        status: how it stands.
        mask: uint8 `[H, W]`, 0 or 1, of this very frame; None where there is none.
        score: predicted IoU; None without a mask.
        area_px, area_mm2: of the mask; mm2 only where the spacing is known.
        reason: why it is doubtful or lost, in words; else empty.
        prompt: what was asked, as JSON values: "points" [[x, y]], "labels" [1|0], "box".
        logits: float32 `[L, L]`, low-res logits of the mask (`samedge.stream.live.probability`);
            None without a mask.
    """

    number: int
    name: str
    colour: Colour
    status: Status
    mask: NDArray[np.uint8] | None = None
    score: float | None = None
    area_px: int = 0
    area_mm2: float | None = None
    reason: str = ""
    prompt: Mapping[str, Any] = field(default_factory=dict)
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Times:
    """When what happened to a frame, in seconds of `time.monotonic`; None: not (yet).

    Attributes:
        captured: it came from the source.
        taken: it was taken out of the mailbox.
        encoded: its embedding was there. Equal to `taken` where nothing had to be encoded.
        decoded: its masks were there.
        published: it was handed to the sinks.
        network_s: seconds spent in the session, of all that.
    """

    captured: float
    taken: float = 0.0
    encoded: float = 0.0
    decoded: float = 0.0
    published: float = 0.0
    network_s: float = 0.0


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame with what was found in it.

    Attributes:
        number: of this delivery, from 0; every sink sees them rise.
        frame: with the source's own stamp and origin.
        is_new: False: the frame was delivered before and only the state, the prompts or the masks
            are others (its masks expired, say, or a click was answered on a still picture).
        objects: in the order of their numbers.
        states: all that hold.
        alarms: new since the delivery before.
        times: of this frame.
        expires_s: from this moment (`time.monotonic`) on the masks must not be shown any more,
            unless a later delivery says so; infinite while the picture is held.
        class_map: uint8 `[H, W]`, number of the class of each pixel, of families whose classes
            exclude each other; else None.
        crop: part of the frame that the network saw; None: all of it.
        drops: frames that came and were never shown, up to now.
        commands: what users said that was obeyed with this frame, for records.
        clock_s: the moment that tracking went by: that of the capture, and in a replay that of the
            recorded one.
    """

    number: int
    frame: Frame
    is_new: bool
    objects: tuple[LiveObject, ...]
    states: frozenset[State]
    alarms: tuple[Alarm, ...]
    times: Times
    expires_s: float
    class_map: NDArray[np.uint8] | None = None
    crop: Box | None = None
    drops: int = 0
    commands: tuple[Command, ...] = ()
    clock_s: float = 0.0

    @property
    def state(self) -> State:
        """The most urgent of `states`."""
        return most_urgent(self.states)

    @property
    def has_masks(self) -> bool:
        return any(one.mask is not None for one in self.objects)

    def label_map(self, doubtful: bool = False) -> NDArray[np.uint8]:
        """uint8 `[H, W]`: number of the object or class at each pixel, 0 for none; of objects that
        overlap the later one.

        Args:
            doubtful: masks that did not pass the gate as well.
        """
        if self.class_map is not None:
            return self.class_map
        return self._labels[doubtful]

    @cached_property
    def _labels(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        made = []
        for doubtful in (False, True):
            labels = np.zeros((self.frame.height, self.frame.width), np.uint8)
            for one in self.objects:
                if one.mask is not None and (doubtful or one.status is Status.FOUND):
                    labels[one.mask != 0] = one.number
            made.append(labels)
        return made[0], made[1]


def measured(frame: Frame, mask: NDArray[np.uint8]) -> tuple[int, float | None]:
    """Area of a mask in px, and in mm2 where the spacing is known."""
    pixels = int(np.count_nonzero(mask))
    return pixels, mask_area_mm2(frame, mask, pixels)
