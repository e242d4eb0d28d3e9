"""A file played as if it came from a device: each frame at its own time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from samedge.errors import SourceError
from samedge.sources.frame import Frame, Source, Warn

DEFAULT_RATE = 25.0  # per second, of frames that do not say when they were taken
STILL_RATE = 10.0  # of a single picture that is shown again and again
MAX_RATE = 1000.0
LONGEST_GAP_S = 5.0  # between two frames; joined videos leap by hours
_LATE_S = 1.0  # a schedule that is behind by more begins anew


class Paced(Source):
    """Plays the frames of a file; they carry a `captured_s`, as those of a device do.

    Frames come when their source says that they follow each other: videos by their time stamps,
    DICOM loops by their frame times, also uneven ones. Each has its place in one schedule, so that
    delays do not add up. Whoever takes them too slowly delays those that follow.

    A single picture comes once, or in a loop ten times per second.

    Args:
        source: of a file or a folder; closed with this one.
        rate: frames per second instead of the source's own times; 0: each as soon as it is asked
            for.
        loop: begin again after the last frame. `index` and `time_s` go on rising, `stamp_s` begins
            again.

    Raises:
        SourceError: the frames are the slices of a volume, which have no order in time; the source
            is live itself; or `rate` is none.
    """

    is_live = True
    ends = True
    is_loop = True

    def __init__(self, source: Source, rate: float | None = None, loop: bool = False) -> None:
        if source.is_stack:
            raise SourceError(
                f"{source.name} holds the slices of a volume, which do not follow each other in "
                "time; a stream takes loops, videos, folders of frames and pictures. For volumes "
                "there is samedge segment"
            )
        if source.is_live:
            raise SourceError(f"{source.name} is live; only files are paced")
        if rate is not None and not 0 <= rate <= MAX_RATE:
            raise SourceError(
                f"the rate is {rate}; expected 0 (as fast as possible) to {MAX_RATE:g} / s"
            )
        super().__init__(source.name)
        self.kind, self.size, self.layout = source.kind, source.size, source.layout
        self._source, self._rate, self._loop = source, rate, loop
        self._stop = threading.Event()
        self.total = None if loop else source.total
        self.rate = self._nominal()
        # One list: what is found while iterating stands in it as well.
        self.warnings = source.warnings
        if source.total == 1 and not loop:
            self.warn(f"{self.name} is a single picture and comes once; in a loop it stays")

    def _nominal(self) -> float:
        """Frames per second, as far as there is one number for it."""
        if self._rate:
            return self._rate
        if self._source.total == 1:
            return STILL_RATE
        if self._source.rate is None:
            if self._rate is None:
                self.warn(
                    f"{self.name} does not say when its frames were taken; they come at "
                    f"{DEFAULT_RATE:g} / s"
                )
            return DEFAULT_RATE
        return self._source.rate

    @property
    def stem(self) -> str:
        return self._source.stem

    def warn(self, message: str) -> None:
        self._source.warn(message)

    def interrupt(self) -> None:
        self._stop.set()
        self._source.interrupt()

    def close(self) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[Frame]:
        clock = _Schedule(self)
        index, start_s = 0, 0.0  # number and time of the first frame of this round
        while not self._stop.is_set():
            last_s, count = 0.0, 0
            for frame in self._source:
                own_s = self._own_time(frame, count)
                left_s = 0.0 if self._rate == 0 else clock.wait_s(own_s - last_s if count else None)
                if self._stop.wait(left_s):
                    return
                yield self._played(frame, index, start_s + own_s)
                last_s, index, count = own_s, index + 1, count + 1
            if not self._loop or not count:
                return
            start_s += max(last_s, 0.0) + self._step_s

    @property
    def _step_s(self) -> float:
        assert self.rate is not None
        return 1 / self.rate

    def _own_time(self, frame: Frame, count: int) -> float:
        """Seconds from the first frame of the file to this one, the `count`-th."""
        if self._rate or frame.time_s is None:
            return count * self._step_s
        return frame.time_s

    def _played(self, frame: Frame, index: int, time_s: float) -> Frame:
        """The frame as one of a stream."""
        again = index != frame.index
        return replace(
            frame,
            # A loop of one picture is a picture that stands still, not a buffer that got stuck.
            pixels=frame.pixels.copy() if again else frame.pixels,
            index=index,
            time_s=time_s,
            source=self.name,
            name=f"{self.stem}_{index:05d}" if again else frame.name,
            captured_s=time.monotonic(),
        )


class _Schedule:
    """When the next frame is due."""

    def __init__(self, source: Paced) -> None:
        self._source = source
        self._due_s: float | None = None

    def wait_s(self, step_s: float | None) -> float:
        """Go on to the next frame.

        Args:
            step_s: how long after the one before it is due; None: the usual step.

        Returns:
            seconds until then; 0 if the moment is over.
        """
        now = time.monotonic()
        self._due_s = now if self._due_s is None else self._due_s + self._checked(step_s)
        left = self._due_s - now
        if left < -_LATE_S:
            # Else all frames after a pause would come in one burst.
            self._source.warn(
                f"{self._source.name} cannot be played at its own speed here: its frames come later"
            )
            self._due_s = now
        return max(left, 0.0)

    def _checked(self, step_s: float | None) -> float:
        # Times that run backwards, as in joined videos, say nothing of when a frame follows.
        if step_s is None or step_s < 0:
            return 1 / (self._source.rate or DEFAULT_RATE)
        if step_s > LONGEST_GAP_S:
            self._source.warn(
                f"{self._source.name}: its times leap by {step_s:.0f} s in a place; a pause is "
                f"never longer than {LONGEST_GAP_S:g} s"
            )
        return min(step_s, LONGEST_GAP_S)


def open_paced(
    path: str,
    rate: float | None = None,
    loop: bool = False,
    warn: Warn | None = None,
    *,
    window: tuple[float, float] | None = None,
    axis: int | None = None,
    time: bool = False,
) -> Paced:
    """Open a file or folder (`open_source`) to be played.

    Raises:
        SourceError: as `open_source` and `Paced` do.
        NotSupportedError: as `open_source` does.
    """
    from samedge.sources.opening import open_source

    return Paced(open_source(path, warn, window=window, axis=axis, time=time), rate, loop)
