"""Parts of a live stream that do exactly what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.families import FAMILIES, Family
from samedge.runtime.result import Result, Timing
from samedge.sources.frame import Frame, Source
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.sink import About, LiveSink

HEIGHT, WIDTH = 48, 64


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A disc that moves a little, with its number in the first pixels: no two are the same."""
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height / 2) ** 2 + (columns - width / 2 - number % 5) ** 2 < 100
    made = np.where(disc, 200, 40).astype(np.uint8)
    made[0, :8] = [(number >> k) % 2 * 255 for k in range(8)]
    return made


class Script(Source):
    """Plays what a test wrote: pictures, pauses in s (floats), errors to raise, functions to call,
    and "end", after which iterating begins anew with what follows."""

    kind = "script"
    is_live = True
    comes_later = True

    def __init__(self, steps: Sequence[Any], *, live: bool = True) -> None:
        super().__init__("script")
        self.is_live = live
        self._steps = list(steps)
        self._stop = threading.Event()
        self.opened = self.closed = 0

    def __iter__(self) -> Iterator[Frame]:
        self.opened += 1
        while self._steps and not self._stop.is_set():
            step = self._steps.pop(0)
            if isinstance(step, float):
                self._stop.wait(step)
            elif isinstance(step, Exception):
                raise step
            elif callable(step):
                step()
            elif step == "end" if isinstance(step, str) else False:
                return
            elif isinstance(step, Frame):
                yield step
            else:
                yield frame_of(step)
        if not self._stop.is_set() and self.is_live:
            raise SourceError("the script is over")

    def interrupt(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.closed += 1


def frame_of(pixels: NDArray[np.uint8], **values: Any) -> Frame:
    """A frame as a device gives it."""
    known = {"captured_s": time.monotonic(), **values}
    return Frame(pixels, 0, None, "script", "script", **known)


class Model:
    """A session whose mask is what is brighter than 127 around the first point.

    Args:
        on_frame: called with the number of each frame before it is taken in; it may wait or raise.
    """

    manifest: Mapping[str, Any] = {}

    def __init__(
        self,
        on_frame: Callable[[int], object] = lambda _: None,
        on_predict: Callable[[int], object] = lambda _: None,
        family: str = "samus",
    ) -> None:
        self.family: Family = FAMILIES[family]
        self._on_frame, self._on_predict = on_frame, on_predict
        self.frames = self.predictions = 0
        self._pixels = np.zeros((1, 1), np.uint8)
        self.asked: list[Mapping[str, Any]] = []
        self.score = 0.9

    def describe(self) -> Mapping[str, Any]:
        return {"title": "a model", "backend": "test", "precision": "fp32", "notes": []}

    def set_frame(self, frame: Any, crop: Any = None) -> None:
        self.frames += 1
        self._on_frame(self.frames)
        self._pixels = np.array(frame if frame.ndim == 2 else frame[..., 0])

    def predict(
        self,
        points: Any = None,
        labels: Any = None,
        box: Any = None,
        mask: Any = None,
        multimask: bool = False,
    ) -> Result:
        self.predictions += 1
        self._on_predict(self.predictions)
        self.asked.append({"points": points, "labels": labels, "box": box, "mask": mask})
        count = len(points) if points is not None else 1 if box is None else len(box)
        found = (self._pixels > 127).astype(np.uint8)
        found[0] = 0
        return Result(
            np.repeat(found[None], count, 0),
            np.full(count, self.score, np.float32),
            np.zeros((count, 8, 8), np.float32),
            np.arange(count),
            Timing(),
        )

    def segment(self, *args: Any, **kwargs: Any) -> Result:
        raise NotImplementedError

    def segment_slices(self, *args: Any, **kwargs: Any) -> Sequence[Result]:
        raise NotImplementedError


class Collect(LiveSink):
    """Keeps what it gets, and gets all of it; `on_write` may wait or raise."""

    name = "collect"
    every_frame = True
    backlog = 10_000

    def __init__(self, on_write: Callable[[LiveFrame], object] = lambda _: None) -> None:
        self.items: list[LiveFrame] = []
        self.got = threading.Condition()
        self.closed: list[BaseException | None] = []
        self.records: list[bool] = []
        self._on_write = on_write

    def open(self, about: About) -> None:
        self.about = about

    def write(self, item: LiveFrame) -> None:
        self._on_write(item)
        with self.got:
            self.items.append(item)
            self.got.notify_all()

    def record(self, on: bool) -> None:
        self.records.append(on)

    def close(self, error: BaseException | None) -> None:
        self.closed.append(error)

    def wait_for(
        self,
        condition: Callable[[LiveFrame], bool] = lambda _: True,
        after: LiveFrame | None = None,
        seconds: float = 20.0,
    ) -> LiveFrame:
        """The first delivery, `after` another one, of which something is true."""
        seen = 0

        def found() -> bool:
            nonlocal seen
            while seen < len(self.items):
                item = self.items[seen]
                if (after is None or item.number > after.number) and condition(item):
                    return True
                seen += 1
            return False

        with self.got:
            assert self.got.wait_for(found, seconds), "it did not come"
            return self.items[seen]


def number_of(pixels: NDArray[np.uint8]) -> int:
    """What `picture` wrote."""
    return int(sum(int(v > 127) << k for k, v in enumerate(pixels[0, :8])))
