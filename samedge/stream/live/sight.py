"""What a live frame looks like beside the one before, and which part of it the network sees."""

from __future__ import annotations

from collections.abc import Callable

from samedge.sources.frame import Box, Frame, Pixels
from samedge.stream.live.account import Alarms
from samedge.stream.live.area import UltrasoundArea
from samedge.stream.live.likeness import Change, Likeness
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.states import Kind, State

SAME = (Change.SAME_PIXELS, Change.SAME_BUFFER)
_SETTLES = 15  # frames in which the ultrasound area is found, or is not


class Sight:
    """Looks at every frame once, in their order.

    Args:
        settings: limits.
        alarms: told of another size or scene, and of a source that stalls.
        now: the clock, in s.
    """

    def __init__(self, settings: LiveSettings, alarms: Alarms, now: Callable[[], float]) -> None:
        self._settings, self._alarms, self._now = settings, alarms, now
        self._likeness = Likeness(settings.freeze_tolerance, settings.scene_change)
        self._area = UltrasoundArea(settings.hide_text) if settings.crop == "auto" else None
        self._same_since: float | None = None
        self._stalled = False
        self._frames = 0

    @property
    def crop(self) -> Box | None:
        """What the network sees; None: all of the frame, or not known yet."""
        if self._area is not None:
            return self._area.crop
        crop = self._settings.crop
        return None if isinstance(crop, str) else crop

    @property
    def is_settled(self) -> bool:
        """It is known what the network sees, or was looked for long enough."""
        return self._area is None or self.crop is not None or self._frames > _SETTLES

    def look(self, frame: Frame) -> Change:
        """What is new in a frame."""
        self._frames += 1
        change = self._likeness.compare(frame, self.crop)
        if change is Change.SIZE:
            self._alarms.raise_(
                Kind.SIZE, f"frames are {frame.width} x {frame.height} px now: prompt again"
            )
        elif change is Change.SCENE:
            self._alarms.raise_(Kind.SCENE, "the picture is another one")
        if self._area is not None:
            if change in (Change.SIZE, Change.SCENE):
                self._area.reset()
            before = self._area.note
            self._area.look(frame)
            if self._area.note and not before:
                self._alarms.raise_(Kind.AREA, self._area.note)
        if change not in SAME:
            self._same_since, self._stalled = None, False
        return change

    def state(self, change: Change) -> State | None:
        """The state that a frame like the one before makes: frozen, stalled, or none yet."""
        if change is Change.SAME_PIXELS:
            return State.FROZEN
        now = self._now()
        if self._same_since is None:
            self._same_since = now
        if now - self._same_since < self._settings.stall_s:
            return None
        if not self._stalled:
            self._stalled = True
            self._alarms.raise_(Kind.STALLED, "the source gives the same picture again")
        return State.STALLED

    def for_network(self, pixels: Pixels) -> Pixels:
        """The pixels without what the network should not see."""
        return pixels if self._area is None else self._area.for_network(pixels)
