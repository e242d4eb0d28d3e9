"""A viewer's page in the browser, in px of the frame that it shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.sources.frame import Frame
from samedge.stream.live.item import LiveObject
from samedge.stream.live.states import State
from tests.browser import Browser, Page
from tests.stream.viewer.made import Stream, disc, found, frame_of, picture, viewer

BEAT_S = 0.1
FRAME = frame_of(picture(240, 320), spacing_mm=(0.5, 0.5))
CORNERS = [(0, 0), (319, 239), (0, 239)]
SEEN = 20  # grey levels between the channels where a mask is


def blob(x: float = 160, y: float = 120, radius: float = 40, number: int = 1) -> LiveObject:
    return found(FRAME, disc(FRAME, x, y, radius), number)


class Screen:
    """What a user sees and does."""

    def __init__(self, page: Page, stream: Stream) -> None:
        self.page, self.stream = page, stream

    def show(self, frame: Frame, *arguments: Any, **fields: Any) -> None:
        """Deliver a frame and wait until it is drawn."""
        number = self.stream.show(frame, *arguments, **fields)
        self.drawn(frame, number)

    def drawn(self, frame: Frame, number: int) -> None:
        self.page.wait(f"window.shown === {number}")
        left, top, width, height = self.page.box("#sheet")
        self._origin = left, top
        self._scale = width / frame.width, height / frame.height

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where the middle of a pixel of the frame is on the screen, in CSS px."""
        (left, top), (across, down) = self._origin, self._scale
        return left + (x + 0.5) * across, top + (y + 0.5) * down

    def colour(self, shot: NDArray[np.uint8], x: float, y: float) -> NDArray[np.int64]:
        """(R, G, B) of a screenshot at a pixel of the frame; the mean of its surroundings."""
        column, row = (round(v) for v in self.at(x, y))
        return np.asarray(shot[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1)), np.int64)

    def tint(self, x: float, y: float) -> float:
        """How far from grey the screen is at a pixel of the frame: 0 without a mask."""
        colour = self.colour(self.page.screenshot(), x, y)
        return float(colour.max() - colour.min())

    @property
    def word(self) -> str:
        return self.page.text("#word")

    def says(self, word: str) -> None:
        self.page.wait(f"document.querySelector('#word').innerText === {word!r}")


@contextmanager
def screen(browser: Browser, stream: Stream | None = None, **window: Any) -> Iterator[Screen]:
    """A page on a stream; of a viewer of its own if none is given. It is an error if the page
    meets one."""
    if stream is None:
        with viewer() as own, screen(browser, own, **window) as shown:
            yield shown
        return
    page = browser.open(stream.sink.url, **window)
    try:
        page.evaluate(
            "import('./app.js').then(({ stage, link }) => { Object.assign(window, { stage, link });"
            " window.shown = stage.frame?.header.number ?? null;"
            " stage.addEventListener('drawn', (e) => { window.shown = e.detail.header.number; });"
            " })"
        )
        page.wait("!['CONNECTING'].includes(document.querySelector('#word').innerText)")
        yield Screen(page, stream)
        assert not page.errors
    finally:
        page.close()


@contextmanager
def beating(stream: Stream, state: State = State.LIVE) -> Iterator[None]:
    """The stream lives on, without frames."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            stream.sink.idle(state)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
