"""What a live stream can be in, and what it has to alarm about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """What is shown with a frame; several may hold at once. The order is that of urgency."""

    NO_SIGNAL = "no signal"  # no frame has come for a while
    STALLED = "stalled"  # the source gives the same buffer again and again
    FAILED = "failed"  # the network failed on this frame: there is no mask of it
    LOST = "lost"  # an object is not found any more: prompt it again
    LATE = "late"  # masks come after their deadline, or too late to be shown
    DOUBTFUL = "doubtful"  # an object's mask did not pass the gate
    PROMPT = "prompt"  # nothing was prompted yet
    HELD = "held"  # the user stopped the picture
    FROZEN = "frozen"  # the operator stopped the picture: the frames are all the same
    STARTING = "starting"  # before the first frame
    LIVE = "live"


URGENCY = tuple(State)


def most_urgent(states: Iterable[State]) -> State:
    """The one to show where there is room for one."""
    return min(states, key=URGENCY.index, default=State.LIVE)


class Kind(str, Enum):
    """Kinds of alarms."""

    NO_SIGNAL = "no signal"
    SOURCE = "source failed"
    STALLED = "stalled source"
    LATE = "late mask"
    EXPIRED = "expired mask"
    FRAME = "frame refused"
    INFERENCE = "inference failed"
    WATCHDOG = "inference hangs"
    SCENE = "scene changed"
    SIZE = "size changed"
    AREA = "no ultrasound area"
    LOST = "object lost"
    SINK = "sink failed"
    SINK_SLOW = "sink hangs"
    PROMPT = "prompt refused"


@dataclass(frozen=True)
class Alarm:
    """Something that a user has to know.

    Attributes:
        kind: for programs.
        message: for people; nothing of a patient's file in it.
        at_s: when, in seconds of `time.monotonic`.
    """

    kind: Kind
    message: str
    at_s: float
