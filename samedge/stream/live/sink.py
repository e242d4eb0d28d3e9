"""What takes the frames of a live stream: the protocol of a sink."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from samedge.families import Family
from samedge.stream.live.controls import Controls
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.states import State


@dataclass(frozen=True)
class About:
    """What runs, for sinks that show or record it.

    Attributes:
        source: name of the source, without folders or passwords.
        session: as `Session.describe` says.
        family: of the model.
        title: of the bundle.
        notice: what has to be said with every picture.
        controls: takes what users of this sink say.
        settings: of the stream, as JSON values.
        rate: frames per second that the source promises, or None.
        input_size: side of the network's input, px; None: the family's.
        bundle: its name and the hash of its manifest; empty where a session was given.
    """

    source: str
    session: Mapping[str, Any]
    family: Family
    title: str
    notice: str
    controls: Controls
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    rate: float | None = None
    input_size: int | None = None
    bundle: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class LiveSink:
    """Where live frames go; subclass it. `open`, `write` and `close` are called in a thread of the
    sink's own, one after the other, so that a slow sink holds nobody up.

    An exception of any of them ends this sink: the stream goes on without it, says so, and ends
    with that error. A `write` that waits for somebody else waits for a bounded time.

    Attributes:
        name: for messages and records: no folders, no passwords.
        every_frame: False: the newest frame is what counts, older ones that were not written yet
            are dropped and counted. True (recordings): up to `backlog` frames wait; what does not
            fit is dropped, counted and alarmed.
        backlog: see there.
        wants_repeats: also deliveries with `is_new` False: states, expired masks, answered clicks.
    """

    name = "sink"
    every_frame = False
    backlog = 30
    wants_repeats = True

    def open(self, about: About) -> None:
        """Before the first frame; what cannot work (a port in use, a full disk) fails here, and
        the stream does not start."""

    def write(self, item: LiveFrame) -> None:
        """Take one frame. Masks are not shown beyond `item.expires_s`; the stream says when that
        happens, with a delivery without masks."""
        raise NotImplementedError

    def idle(self, state: State) -> None:
        """Called every 0.1 s or so while there is no frame to write, with the stream's state."""

    def record(self, on: bool) -> None:
        """The user wants a recording to begin or to end; other sinks need not listen."""

    def close(self, error: BaseException | None) -> None:
        """After the last frame; `error` is what ended the stream, if it was one. A recording is
        finished in any case: what was recorded until then counts."""

    def describe(self) -> Mapping[str, Any]:
        """What came of it, as JSON values: files, frames, clients."""
        return {}
