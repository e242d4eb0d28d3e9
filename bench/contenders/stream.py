"""A session's frames on the stream's own path: from the source, by its threads, to a sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samedge.bench.frames import Footage
from samedge.bench.report.values import Mode
from samedge.bench.schedule import Block
from samedge.families import Family
from samedge.prompts.plan import PromptPlan
from samedge.runtime.session import Session
from samedge.sources.frame import Source
from samedge.sources.live_opening import open_live_source
from samedge.sources.simulator import SimulatorSource
from samedge.stream.live.item import LiveFrame, Times
from samedge.stream.live.sink import LiveSink
from samedge.stream.live.stream import LiveStream

_WARM = 15  # frames that do not count: half a second, in which the threads get going
_MOST = 4  # times as many frames come, before the stream is too slow to be waited for


class Written(LiveSink):
    """A sink that notes when it got each new frame that the network saw.

    Args:
        wanted: how many.

    Attributes:
        items: (times of the frame, the moment it was written), seconds of `time.monotonic`.
        enough: called when there are as many as wanted.
    """

    name = "bench"
    wants_repeats = False

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.items: list[tuple[Times, float]] = []
        self.enough: Callable[[], object] = lambda: None

    def write(self, item: LiveFrame) -> None:
        """As `LiveSink.write`."""
        if item.times.encoded <= item.times.taken:
            return
        self.items.append((item.times, time.monotonic()))
        if len(self.items) == self._wanted:
            self.enough()


@dataclass(frozen=True)
class Streamed:
    """What came out of a stream.

    Attributes:
        mode: latencies from a frame's capture to its being written.
        extra: "stream fps", "stream frames" that the network saw, and "stream dropped", which came
            and were replaced by newer ones before it was free.
    """

    mode: Mode
    extra: Mapping[str, Any]


def streamed(
    session: Session, clip: Footage, source: str | None, fps: float, rounds: int, frames: int
) -> Streamed | None:
    """Send frames through a stream until `rounds * frames` came out; None if hardly any did.

    A frame that comes while the one before is at work waits, and is dropped when a newer one
    comes: a stream that is too slow has few frames, not late ones. What was dropped is counted.

    Args:
        session: open; it stays so.
        clip: whose prompts are asked, for a source of files.
        source: as `samedge stream --source` takes it; None for the simulator.
        fps: at which frames come.
        rounds, frames: blocks, and frames of a block.

    Raises:
        SamEdgeError: what cannot be streamed.
    """
    opened, prompts = _source(session.family, clip, source, fps)
    wanted = rounds * frames + _WARM
    sink = Written(wanted)
    stream = LiveStream(
        session, opened, prompts, sinks=[sink], crop=clip.crop, frames=_MOST * wanted
    )
    sink.enough = lambda: stream.stop("measured")
    try:
        record = stream.run()
    finally:
        opened.close()
    blocks = blocks_of(sink.items[_WARM:wanted], rounds)
    if not blocks:
        return None
    extra = {
        "stream fps": round(record.rate, 2),
        "stream frames": len(sink.items),
        "stream dropped": record.counts["replaced"],
    }
    return Streamed(Mode.of(blocks, blocks[0].arrived[0]), extra)


def _source(
    family: Family, clip: Footage, source: str | None, fps: float
) -> tuple[Source, PromptPlan]:
    given = clip.prompts(family)
    boxes = [tuple(given["box"])] if "box" in given else []
    if source is not None:
        return open_live_source(source, rate=fps, loop=True), PromptPlan(
            given.get("points", ()), boxes=boxes
        )
    height, width = clip.frame(0).shape[:2]
    simulator = SimulatorSource(size=(height, width), fps=fps)
    points = [simulator.start_point] if "points" in given else []
    return simulator, PromptPlan(points, boxes=boxes)


def blocks_of(items: list[tuple[Times, float]], rounds: int) -> list[Block]:
    """Frames as blocks behind each other.

    Args:
        items: the times of each frame, and when it was written (seconds of `time.monotonic`).
        rounds: that many blocks, if there are enough frames.
    """
    size = max(len(items) // rounds, 1)
    parts = [items[at : at + size] for at in range(0, size * rounds, size)]
    return [_block(part) for part in parts if len(part) == size]


def _block(items: list[tuple[Times, float]]) -> Block:
    stages = []
    for times, written in items:
        steps = {
            "wait": times.taken - times.captured,
            "encode": times.encoded - times.taken,
            "decode": times.decoded - times.encoded,
            "publish": times.published - times.decoded,
            "to sink": written - times.published,
        }
        stages.append({name: seconds * 1e3 for name, seconds in steps.items()})
    return Block(
        tuple(times.captured for times, _ in items),
        tuple(times.taken for times, _ in items),
        tuple(written for _, written in items),
        tuple(stages),
    )
