"""Frames of a device or a stream in the network, read by PyAV (FFmpeg) in a thread of their own.

FFmpeg waits inside the operating system, some drivers without an end. Whoever iterates here waits
on a queue instead: he can be interrupted at once, and hears in time that nothing comes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.files.limits import FRAME_SIDE
from samedge.sources.frame import Frame, Source, Warn, check_size

_MAX_PIXELS = str(FRAME_SIDE.most**2)
_PLACES = 4  # of the queue; whoever takes frames at once leaves it empty
_TICK_S = 0.1
_JOIN_S, _JOINS = 0.25, 3
_FAILURES = 10  # of JPEG pictures, from the first one on: then they are all so
_DAMAGED = "frames that came damaged are left out"
_TOLERANT = (
    "all its JPEG pictures have a fault, so that damaged ones cannot be told from whole ones, and "
    "are shown; another format may help (format=yuyv422)"
)
_GREY = {"gray", "gray10le", "gray12le", "gray16le", "gray10be", "gray12be", "gray16be", "y16le"}

Explain = Callable[[Exception], str]
# (container, stop, seconds) -> when a frame can be read without waiting
Ready = Callable[[threading.Event, float], None]


@dataclass(frozen=True)
class Input:
    """What FFmpeg opens, and how long it may take.

    Attributes:
        url: for FFmpeg alone; it may hold a password.
        format: FFmpeg's name of it; None: by the address.
        options: of FFmpeg's.
        open_s: until the first frame is there.
        silent_s: between two frames.
        explain: what an error of FFmpeg's means, and what to do, as a sentence; it must not quote
            the error, which holds the address.
        ready: waits until a frame can be read, where FFmpeg itself would wait without an end;
            raises an OSError if the device is gone. Made when the input is open.
        unblock: ends a wait inside the driver; called when the reading is to end.
    """

    url: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    open_s: float = 5.0
    silent_s: float = 2.0
    explain: Explain = lambda error: f"it cannot be read ({type(error).__name__})"
    ready: Callable[[], Ready | None] = lambda: None
    unblock: Callable[[], None] = lambda: None


class AvSource(Source):
    """What comes out of an `Input`, as it comes. Grey devices give grey frames, others RGB.

    `captured_s` is when a frame's last bytes were here, before it was decoded; `stamp_s` is the
    device's or the sender's own time. `index` goes on rising when it is iterated again.

    Args:
        name: for users: without passwords.
        stem: for names of files.
        given: what is opened, each time that this is iterated.
        warn: told what is not as expected.
    """

    kind = "camera"
    is_live = True
    is_loop = True
    total = None

    def __init__(self, name: str, stem: str, given: Input, warn: Warn | None = None) -> None:
        super().__init__(name, warn)
        self._stem, self._given = stem, given
        self._stop = threading.Event()
        self._feed: _Feed | None = None
        self._index = 0
        self._start_s: float | None = None

    @property
    def stem(self) -> str:
        return self._stem

    def interrupt(self) -> None:
        self._stop.set()
        if self._feed is not None:
            self._feed.stop()

    def close(self) -> None:
        self.interrupt()

    def __iter__(self) -> Iterator[Frame]:
        """Open it and yield frames until `interrupt`.

        Raises:
            SourceError: it cannot be opened, is gone, or is silent for too long.
        """
        feed = self._feed = _Feed(self._given)
        try:
            if not self._stop.is_set():
                feed.start()
            while not self._stop.is_set():
                got = feed.take(self.name)
                if got is None:
                    return
                self._note(got)
                yield self._frame(got)
        finally:
            feed.stop()
            if not self._stop.is_set():
                feed.join()

    def _note(self, got: Decoded) -> None:
        if got.rate is not None and self.rate is None:
            self.rate = got.rate
        if got.problem:
            self.warn(f"{self.name}: {got.problem}")
        if got.interlaced:
            self.warn(
                f"{self.name} is interlaced: moving borders are combed. Let the device send whole "
                "frames"
            )

    def _frame(self, got: Decoded) -> Frame:
        check_size(self.name, got.pixels.shape[0], got.pixels.shape[1])
        self._start_s = got.captured_s if self._start_s is None else self._start_s
        index, self._index = self._index, self._index + 1
        return Frame(
            got.pixels,
            index,
            got.captured_s - self._start_s,
            self.name,
            f"{self._stem}_{index:05d}",
            captured_s=got.captured_s,
            stamp_s=got.stamp_s,
        )


class _NoVideo(Exception):
    """It can be read, and holds no pictures."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A frame and what is known of it: the rate that is promised, and what is wrong."""

    pixels: NDArray[np.uint8]
    captured_s: float
    stamp_s: float | None
    rate: float | None
    interlaced: bool
    problem: str


class _Feed:
    """One connection, and the thread that reads it."""

    def __init__(self, given: Input) -> None:
        self._given = given
        self._stopped = threading.Event()
        self._queue: queue.Queue[Decoded | Exception | None] = queue.Queue(_PLACES)
        self._thread = threading.Thread(target=self._run, name="samedge-av", daemon=True)
        self._is_first = True

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the one who waits in `take` go, and the thread end when FFmpeg lets it."""
        self._stopped.set()
        with contextlib.suppress(queue.Full):  # then nobody waits
            self._queue.put_nowait(None)
        self._given.unblock()

    def join(self) -> None:
        """Wait for the thread, for a while: it holds the device, which is to be opened again."""
        for _ in range(_JOINS):
            if not self._thread.is_alive():
                return
            self._thread.join(_JOIN_S)
            self._given.unblock()

    def take(self, name: str) -> Decoded | None:
        """The next frame; None: stopped.

        Raises:
            SourceError: it cannot be opened, is gone, or is silent for too long.
        """
        limit_s = self._given.open_s if self._is_first else self._given.silent_s
        begin_s = time.monotonic()
        try:
            # FFmpeg has the same limit, and knows better what is wrong: it comes first.
            got = self._queue.get(timeout=limit_s + 2 * _TICK_S)
        except queue.Empty:
            raise _silent(name, limit_s, self._is_first) from None
        if self._stopped.is_set() or got is None:
            return None
        if isinstance(got, _NoVideo):
            raise SourceError(f"{name} sends no video")
        if isinstance(got, Exception):
            if _is_timeout(got):
                raise _silent(name, time.monotonic() - begin_s, self._is_first) from None
            raise SourceError(f"{name}: {self._given.explain(got)}") from None
        self._is_first = False
        return got

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # of whatever kind: it is told where the frames are waited for
            self._put(error)

    def _put(self, what: Decoded | Exception) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(what, timeout=_TICK_S)
                return
            except queue.Full:
                continue

    def _read(self) -> None:
        import av

        given = self._given
        with av.open(
            given.url,
            format=given.format,
            options={"max_pixels": _MAX_PIXELS},
            # Not to the decoder as well, to which a device's size would be the one that was asked
            # for and not the one that it has.
            container_options=dict(given.options),
            metadata_errors="replace",
            timeout=(given.open_s, given.silent_s),
        ) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise _NoVideo
            self._decode(container, stream, given.ready())

    def _decode(self, container: Any, stream: Any, ready: Ready | None) -> None:
        rate = stream.average_rate or stream.guessed_rate
        packets, decoder = container.demux(stream), _Decoder(stream)
        while not self._stopped.is_set():
            if ready is not None:
                ready(self._stopped, self._given.silent_s)
                if self._stopped.is_set():
                    return
            packet = next(packets, None)
            captured_s = time.monotonic()
            if packet is None:
                raise EOFError
            for frame in decoder.frames(packet):
                found = _decoded(frame, captured_s, float(rate) if rate else None, decoder.problem)
                self._put(found)


class _Decoder:
    """Packets in, frames out; damaged ones are left out.

    A decoder for JPEG fills up what is missing, and does not say so. It can refuse such pictures
    instead; but there are cameras of which all pictures lack their end, so that it must not refuse
    everything. Codecs whose frames build on each other say what they know to be damaged.

    Attributes:
        problem: what is not as it should be, in words; else empty.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self.problem = stream, ""
        self._context = stream.codec_context
        self._strict = self._context.name == "mjpeg"
        self._failures: int | None = 0  # of the first pictures; None: one was good
        self._set_up()

    def _set_up(self) -> None:
        import av

        options = {"max_pixels": _MAX_PIXELS}
        if self._strict:
            options["err_detect"] = "explode"
        self._context.options = options
        # Threads over frames would hold back as many frames as there are threads.
        self._context.thread_type, self._context.thread_count = "SLICE", 2
        self._context.flags |= av.codec.context.Flags.low_delay

    def frames(self, packet: Any) -> list[Any]:
        """The whole frames that are finished with this packet."""
        import av

        try:
            found = self._context.decode(packet)
        except av.error.FFmpegError:
            self._note_damage()
            return []
        good = [frame for frame in found if not frame.is_corrupt]
        if len(good) < len(found):
            self.problem = _DAMAGED
        if good:
            self._failures = None
        return good

    def _note_damage(self) -> None:
        import av

        if self._failures is None or not self._strict:
            self.problem = _DAMAGED
            return
        self._failures += 1
        if self._failures >= _FAILURES:
            self._context = av.CodecContext.create(self._context.name, "r")
            self._strict, self.problem = False, _TOLERANT
            self._set_up()


def _decoded(frame: Any, captured_s: float, rate: float | None, problem: str) -> Decoded:
    how = "gray" if frame.format.name in _GREY else "rgb24"
    return Decoded(
        np.ascontiguousarray(frame.to_ndarray(format=how), np.uint8),
        captured_s,
        None if frame.pts is None else frame.time,
        rate,
        bool(frame.interlaced_frame),
        problem,
    )


def _is_timeout(error: Exception) -> bool:
    """FFmpeg's own limit ran out, or a socket's."""
    import av

    return isinstance(error, av.error.ExitError | TimeoutError)


def _silent(name: str, limit_s: float, first: bool) -> SourceError:
    words = "gave no picture" if first else "has sent no picture"
    return SourceError(
        f"{name} {words} for {limit_s:.1f} s: is it switched on, and does it get a signal itself?"
    )
