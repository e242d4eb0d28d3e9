"""A simulated device: a beating heart as a live source, with the truth of every frame."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.counter_strip import draw_counter, strip_height
from samedge.errors import FrameError, SourceError
from samedge.progress import Progress, Step, silent
from samedge.prompts.tracking import interior_point
from samedge.simulate.cine import CINE_KINDS, Beat, check_cine, simulate_beat
from samedge.sources.frame import Frame, Source, Warn
from samedge.sources.uri import Uri, yes_no

RATE = 30.0  # per second, of what is simulated for a source without a rate of its own
SIZE = (480, 640)
SEED = 20  # an apical view in which all four chambers are seen
MOST_FPS = 500.0
_BEHIND_S = 0.5  # whoever is further behind is not caught up with: the schedule begins anew
_NOISE = 8  # pictures of noise that are shown in turn
_OPTIONS = ("seed", "size", "fps", "counter", "leave", "every", "by", "frames")
Way = Literal["slide", "scene", "noise"]
WAYS: tuple[Way, ...] = ("slide", "scene", "noise")


@dataclass(frozen=True)
class Leave:
    """When the object is out of the picture, in seconds from the first frame.

    Attributes:
        start_s, end_s: from when until when.
        every_s: this again after so long; infinite: once.
        by: "slide" (the probe slides to tissue beside it and back), "scene" (from one frame to the
            next there is other tissue) or "noise" (the picture goes; there is noise).
        slide_s: how long the probe slides, out and back; a third of the absence at most.
    """

    start_s: float
    end_s: float
    every_s: float = math.inf
    by: Way = "slide"
    slide_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.slide_s > 0:
            raise SourceError(f"slide_s is {self.slide_s:g}; expected seconds above 0")
        if self.by not in WAYS:
            raise SourceError(f"by is '{self.by}'; expected one of {', '.join(WAYS)}")
        if not (0 <= self.start_s < self.end_s < math.inf and self.end_s <= self.every_s):
            raise SourceError(
                f"the object leaves from {self.start_s:g} to {self.end_s:g} s, every "
                f"{self.every_s:g} s; expected 0 <= FROM < TO <= EVERY"
            )

    def gone(self, time_s: float) -> float:
        """How far out of the picture the object is: 0 in its place, 1 outside."""
        now = time_s % self.every_s if math.isfinite(self.every_s) else time_s
        if not self.start_s <= now < self.end_s:
            return 0.0
        if self.by != "slide":
            return 1.0
        way = min(self.slide_s, (self.end_s - self.start_s) / 3)
        share = min((now - self.start_s) / way, (self.end_s - now) / way, 1.0)
        return (1 - math.cos(math.pi * share)) / 2


class SimulatorSource(Source):
    """One heart cycle (of a bladder: one breath), again and again, paced like a device.

    It is simulated when it is first needed: about 30 ms for each of 16 to 36 frames.

    Args:
        view: one of `samedge.simulate.CINE_KINDS`, or "any" to draw one.
        seed: 0 or more; another one is another heart.
        size: height and width, px.
        fps: frames per second; 0: as fast as they are asked for, while the heart beats as if they
            came at 30.
        counter: draw the frame's number into its bottom (`samedge.drawing.counter_strip`).
        leave: when the object leaves the picture; None: never.
        frames: after so many it ends; None: never.
        warn: called once with each warning.
        progress: told the simulation's steps.

    Raises:
        SourceError: what came cannot be simulated.
    """

    kind = "simulator"
    is_live = True
    is_loop = True

    def __init__(
        self,
        view: str = "apical",
        seed: int = SEED,
        size: tuple[int, int] = SIZE,
        fps: float = RATE,
        counter: bool = False,
        leave: Leave | None = None,
        frames: int | None = None,
        warn: Warn | None = None,
        progress: Progress = silent,
    ) -> None:
        super().__init__("simulator", warn)
        self._view = None if view == "any" else view
        self._seed, self.size, self._fps = seed, size, fps
        self._counter, self._leave, self.total = counter, leave, frames
        self._progress = progress
        self.rate = fps or None
        self._beat_rate = fps or RATE
        self._check()
        self._lock = threading.Lock()
        self._beat: Beat | None = None
        self._noise: list[NDArray[np.uint8]] = []
        self._stop = threading.Event()

    def _check(self) -> None:
        if not (0 <= self._fps <= MOST_FPS):
            raise SourceError(f"fps is {self._fps:g}; expected 1 to {MOST_FPS:g}, or 0")
        if self.total is not None and self.total < 1:
            raise SourceError(f"frames is {self.total}; expected 1 or more")
        height, width = self.size or SIZE
        try:
            check_cine(self._seed, (height, width), self._view, self._beat_rate)
            if self._counter:
                draw_counter(np.zeros((height, width), np.uint8), 0)
        except FrameError as error:
            raise SourceError(f"simulator: {error}") from error

    def prepare(self, progress: Progress | None = None) -> Beat:
        """Simulate now what the frames are made of, if that has not happened; any thread may.

        Args:
            progress: told instead of the one given first.

        Raises:
            SourceError: `interrupt` was called.
        """
        told = progress or self._progress

        def watched(step: Step) -> None:
            if self._stop.is_set():
                raise SourceError("the simulator was stopped before its first frame")
            told(step)

        with self._lock:
            if self._beat is None:
                size = self.size or SIZE
                plain = self._leave is not None and self._leave.by != "noise"
                self._beat = simulate_beat(
                    self._seed, size, self._view, self._beat_rate, plain, watched
                )
            return self._beat

    @property
    def start_point(self) -> tuple[float, float]:
        """A point well inside the object in frame 0: (x, y) in px."""
        point = interior_point(self.prepare().cine.labels[0])
        assert point is not None, "scenes are drawn so that their object is in view"
        return float(point[0]), float(point[1])

    def truth(self, index: int) -> NDArray[np.uint8]:
        """The object in a frame: uint8 `[H, W]`, 0 or 1."""
        beat = self.prepare()
        label = beat.cine.labels[index % len(beat.cine.labels)]
        gone = self._gone(index)
        if gone >= 1:
            label = np.zeros_like(label)
        elif gone:
            label = _shifted(label, gone) * beat.cine.sector
        else:
            label = label.copy()
        if self._counter:
            label[len(label) - strip_height(len(label)) :] = 0
        return np.asarray(label, np.uint8)

    def picture(self, index: int) -> NDArray[np.uint8]:
        """The pixels of a frame, uint8 `[H, W]`; the caller's own."""
        beat = self.prepare()
        cine, gone = beat.cine, self._gone(index)
        picture = cine.images[index % len(cine.images)]
        if gone and self._leave is not None:
            if self._leave.by == "noise":
                pixels = self._noise_picture(index).copy()
            elif gone >= 1:
                pixels = beat.plain[index % len(beat.plain)].copy()
            else:
                pixels = _between(picture, beat.plain[index % len(beat.plain)], cine.sector, gone)
        else:
            pixels = picture.copy()
        if self._counter:
            draw_counter(pixels, index)
        return pixels

    def __iter__(self) -> Iterator[Frame]:
        try:
            beat = self.prepare()
        except SourceError:
            if self._stop.is_set():
                return
            raise
        start, index = time.monotonic(), 0
        while self.total is None or index < self.total:
            if self._fps:
                due = start + index / self._fps
                if time.monotonic() - due > _BEHIND_S:
                    start += time.monotonic() - due
                self._stop.wait(max(due - time.monotonic(), 0))
            if self._stop.is_set():
                return
            yield Frame(
                self.picture(index),
                index,
                index / self._beat_rate,
                self.name,
                f"frame-{index:06d}",
                spacing_mm=beat.cine.spacing,
                captured_s=time.monotonic(),
                stamp_s=index / self._beat_rate,
            )
            index += 1

    def interrupt(self) -> None:
        """See `Source.interrupt`."""
        self._stop.set()

    def _gone(self, index: int) -> float:
        return self._leave.gone(index / self._beat_rate) if self._leave is not None else 0.0

    def _noise_picture(self, index: int) -> NDArray[np.uint8]:
        if not self._noise:
            rng = np.random.default_rng(self._seed)
            noise = rng.normal(6, 6, (_NOISE, *(self.size or SIZE)))
            self._noise = list(np.clip(noise, 0, 255).astype(np.uint8))
        return self._noise[index % _NOISE]


def _shifted(picture: NDArray[np.uint8], gone: float) -> NDArray[np.uint8]:
    """A picture that slid to the right, black on the left."""
    shift = round(gone * picture.shape[1])
    moved = np.zeros_like(picture)
    if shift < picture.shape[1]:
        moved[:, shift:] = picture[:, : picture.shape[1] - shift]
    return moved


def _between(
    picture: NDArray[np.uint8],
    plain: NDArray[np.uint8],
    sector: NDArray[np.bool_],
    gone: float,
) -> NDArray[np.uint8]:
    """What the beams show while the probe slides: tissue comes in on the left, without a seam."""
    seen = cv2.GaussianBlur(_shifted(sector.astype(np.uint8), gone).astype(np.float32), (0, 0), 5.0)
    mixed = plain + np.clip(2 * seen - 1, 0, 1) * (
        _shifted(picture, gone).astype(np.float32) - plain
    )
    return np.where(sector, np.rint(mixed).astype(np.uint8), picture)


def open_simulator(uri: Uri, warn: Warn | None = None) -> SimulatorSource:
    """The source that `simulator:[KIND]?...` names.

    Raises:
        SourceError: an option that there is not, or a value that it does not take.
    """
    uri.check_options(_OPTIONS)
    view = uri.where or "apical"
    if view not in (*CINE_KINDS, "any"):
        raise SourceError(
            f"{uri.text}: there is no '{view}' that moves; expected one of "
            f"{', '.join((*CINE_KINDS, 'any'))}"
        )
    return SimulatorSource(
        view,
        uri.take("seed", _whole, SEED, "a whole number, 0 or more"),
        uri.take("size", _size, SIZE, "HEIGHTxWIDTH in px, such as 480x640"),
        uri.take("fps", _rate, RATE, f"1 to {MOST_FPS:g}, or 0 for as fast as can be"),
        uri.take("counter", yes_no, False, "yes or no"),
        _leave(uri),
        uri.take("frames", _some, None, "a whole number, 1 or more"),
        warn,
    )


def _leave(uri: Uri) -> Leave | None:
    span = uri.take("leave", _span, None, "FROM-TO in seconds, such as 5-8")
    every = uri.take("every", float, math.inf, "seconds")
    by = uri.options.get("by", "slide")
    if span is None:
        if "every" in uri.options or "by" in uri.options:
            raise SourceError(f"{uri.text}: every and by go with leave=FROM-TO")
        return None
    way = next((w for w in WAYS if w == by), None)
    if way is None:
        raise SourceError(f"{uri.text}: by is '{by}'; expected one of {', '.join(WAYS)}")
    try:
        return Leave(*span, every, way)
    except SourceError as error:
        raise SourceError(f"{uri.text}: {error}") from error


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def _some(text: str) -> int | None:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not (value == 0 or 1 <= value <= MOST_FPS):
        raise ValueError(text)
    return value


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})[x,](\d{1,5})", text.strip())
    if not found:
        raise ValueError(text)
    return int(found[1]), int(found[2])


def _span(text: str) -> tuple[float, float] | None:
    first, dash, last = text.partition("-")
    if not dash:
        raise ValueError(text)
    return float(first), float(last)
