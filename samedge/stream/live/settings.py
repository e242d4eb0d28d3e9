"""How a live stream behaves: every limit of it, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from samedge.errors import SessionError, SourceError
from samedge.prompts.gate import GateSettings
from samedge.sources.frame import Box


@dataclass(frozen=True)
class LiveSettings:
    """Limits of a live stream, in seconds where nothing else is said.

    Attributes:
        crop: what the network sees: (x0, y0, x1, y1) in px, "auto" (the ultrasound image is looked
            for), or None for the whole frame.
        hide_text: with crop="auto": what lies outside the ultrasound image (burned-in text, marks)
            is black for the network.
        track: prompts follow their objects, behind the quality gate.
        deadline_s: a mask that is handed to the sinks later after its frame was captured is late.
        expire_s: the time to live: a mask older than this is not shown.
        signal_s: without a frame for so long there is no signal.
        watchdog_s: an inference that takes longer ends the stream with an error.
        stall_s: the same buffer again for so long: the source is stalled.
        retry_s: first pause before a lost source is opened again; it doubles up to `retry_most_s`.
        retry_most_s: longest of these pauses.
        give_up_s: a lost source is given up after so long; infinite: never.
        failures: so many frames one after the other on which the network fails end the stream.
        freeze_tolerance: largest difference, in grey levels, of pixels that count as the same.
        scene_change: 1 - correlation of small pictures of neighbouring frames from which on the
            scene is another (0: the same picture, 1: nothing in common); 0 here: never.
        every_frame: no frame is dropped: the source waits for the session. For files.
        gate: of the tracking.
    """

    crop: Box | str | None = None
    hide_text: bool = True
    track: bool = False
    deadline_s: float = 0.1
    expire_s: float = 0.5
    signal_s: float = 1.0
    watchdog_s: float = 10.0
    stall_s: float = 1.0
    retry_s: float = 0.1
    retry_most_s: float = 5.0
    give_up_s: float = math.inf
    failures: int = 30
    freeze_tolerance: int = 0
    scene_change: float = 0.3
    every_frame: bool = False
    gate: GateSettings = field(default_factory=GateSettings)

    def __post_init__(self) -> None:
        for name in ("deadline_s", "expire_s", "signal_s", "watchdog_s", "stall_s", "retry_s"):
            value = getattr(self, name)
            if not value > 0:
                raise SessionError(f"{name} is {value}; expected seconds above 0")
        if isinstance(self.crop, str) and self.crop != "auto":
            raise SessionError(f"crop is '{self.crop}'; expected 'auto' or (x0, y0, x1, y1)")

    def replaying(self, recorded: Mapping[str, Any]) -> LiveSettings:
        """These, with what the masks of a recorded stream depended on, and no frame dropped.

        Raises:
            SourceError: the recorded settings are none.
        """
        try:
            crop = recorded["crop"]
            return replace(
                self,
                every_frame=True,
                crop=crop if crop is None or isinstance(crop, str) else _box(crop),
                **{name: _like(recorded[name], getattr(self, name)) for name in _REPLAYED},
                gate=replace(
                    self.gate,
                    **{k: _like(recorded["gate"][k], v) for k, v in asdict(self.gate).items()},
                ),
            )
        except (KeyError, TypeError, ValueError, SessionError) as error:
            raise SourceError("the settings of the recorded stream are damaged") from error

    def to_json(self) -> dict[str, Any]:
        """As JSON values: infinity is null."""
        values = asdict(self)
        values["crop"] = list(self.crop) if isinstance(self.crop, tuple) else self.crop
        return {k: None if v == math.inf else v for k, v in values.items()}


# What the masks depend on, besides the crop and the gate.
_REPLAYED = ("hide_text", "track", "freeze_tolerance", "scene_change")


def _like(value: Any, known: Any) -> Any:
    """A JSON value that has the type of one that is known."""
    wanted = (int, float) if isinstance(known, float) else type(known)
    if isinstance(value, bool) != isinstance(known, bool) or not isinstance(value, wanted):
        raise ValueError(value)
    return type(known)(value)


def _box(values: Any) -> Box:
    x0, y0, x1, y1 = (_like(v, 0) for v in values)
    return x0, y0, x1, y1
