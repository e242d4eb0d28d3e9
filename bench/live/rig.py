"""A stream from a simulated device into the viewer and OpenIGTLink, with clients at their ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from samedge import files
from samedge.errors import DeviceError
from samedge.openigtlink.address import Address
from samedge.sources.simulator import SimulatorSource
from samedge.stream.live.item import LiveFrame, Times
from samedge.stream.live.record import StreamRecord
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.live.states import State
from samedge.stream.live.stream import LiveStream
from samedge.stream.sinks.openigtlink import OpenIgtLinkSink
from samedge.stream.viewer import ViewerSink

DEMO = Path(files.__file__).parents[1] / "data" / "samus-demo.samedge"
_KEPT = 200_000  # frames, two hours at 30 per second


class Timed(LiveSink):
    """A sink, and the latency of each frame that it took: from capture to the end of `write`.

    Args:
        sink: the one that is timed.
        kept: frames that are remembered at most.

    Attributes:
        items: the times of each new frame, and when `write` had ended (seconds of
            `time.monotonic`), in their order.
    """

    def __init__(self, sink: LiveSink, kept: int = _KEPT) -> None:
        self.sink, self.name = sink, sink.name
        self.every_frame, self.backlog = sink.every_frame, sink.backlog
        self.wants_repeats = sink.wants_repeats
        self.items: deque[tuple[Times, float]] = deque(maxlen=kept)

    def open(self, about: About) -> None:
        self.sink.open(about)

    def write(self, item: LiveFrame) -> None:
        self.sink.write(item)
        if item.is_new:
            self.items.append((item.times, time.monotonic()))

    def idle(self, state: State) -> None:
        self.sink.idle(state)

    def record(self, on: bool) -> None:
        self.sink.record(on)

    def close(self, error: BaseException | None) -> None:
        self.sink.close(error)

    def describe(self) -> Mapping[str, Any]:
        return self.sink.describe()


class Rig:
    """Everything, running; use it in a `with` block.

    Args:
        bundle: path of a bundle that takes points.
        size: height and width of the frames, px.
        fps: of the simulated device.
        precision, threads: of the engine.
        more: further sinks.
        kept: frames whose times are remembered at most.

    Attributes:
        stream: the stream.
        sinks: viewer and OpenIGTLink, timed.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] = DEMO,
        size: tuple[int, int] = (480, 640),
        fps: float = 30.0,
        precision: str = "auto",
        threads: int | None = None,
        more: Sequence[LiveSink] = (),
        kept: int = _KEPT,
    ) -> None:
        source = SimulatorSource(seed=11, size=size, fps=fps, counter=True)
        self._viewer, self._igtl = ViewerSink(port=0), OpenIgtLinkSink(Address("127.0.0.1", 0))
        self.sinks = [Timed(self._viewer, kept), Timed(self._igtl, kept)]
        self.stream = LiveStream(
            bundle,
            source,
            [source.start_point],
            sinks=[*self.sinks, *more],
            track=True,
            precision=precision,
            threads=threads,
        )
        self._clients: subprocess.Popen[str] | None = None
        self.told: Mapping[str, Any] = {}
        self.record: StreamRecord | None = None

    def __enter__(self) -> Rig:
        self.stream.start()
        command = [sys.executable, "-m", "samedge.bench.live.clients"]
        command += ["--viewer", self._viewer.url.replace("http", "ws", 1) + "stream"]
        command += ["--igtl", f"127.0.0.1:{self._igtl.port}"]
        self._clients = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._clients is not None
        try:
            out, _ = self._clients.communicate("", timeout=30)
            if error is None:
                self.told = json.loads(out)
        finally:
            self._clients.kill()
            self._clients.wait()
            self.record = self.stream.finish()

    def run(self, seconds: float, every_s: float = 1.0, look: Any = None) -> None:
        """Let it run; `look()` is called about every `every_s`.

        Raises:
            DeviceError: it ended before its time.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(every_s, left))
            if not self.stream.is_running:
                self.stream.finish()
                raise DeviceError("the stream ended before its time")
            if look is not None:
                look()
