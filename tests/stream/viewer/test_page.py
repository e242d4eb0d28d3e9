"""The page in a real browser: its states, and masks that are never old."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from samedge.errors import SourceError
from samedge.sources.frame import Frame
from samedge.stream.live.controls import Click
from samedge.stream.live.states import State
from tests.browser import Browser
from tests.stream.viewer.made import Mask, Stream, disc, found, frame_of, picture, viewer
from tests.stream.viewer.screen import BEAT_S, FRAME, SEEN, Screen, beating, blob, screen

LOUD = {
    State.NO_SIGNAL: ("NO SIGNAL", "danger", True),
    State.STALLED: ("STALLED", "danger", True),
    State.LATE: ("LATE", "warn", False),
    State.FAILED: ("FAILED", "danger", False),
    State.LOST: ("LOST", "danger", False),
    State.DOUBTFUL: ("DOUBTFUL", "warn", False),
    State.PROMPT: ("PROMPT NEEDED", "info", False),
    State.HELD: ("HELD", "info", False),
    State.FROZEN: ("FROZEN", "info", False),
    State.STARTING: ("STARTING", "info", False),
    State.LIVE: ("LIVE", "good", False),
}
COLOURS = {"danger": (255, 84, 73), "warn": (255, 190, 60), "info": (109, 184, 255)}


def test_every_state_has_words() -> None:
    assert set(LOUD) == set(State)


def test_states_cannot_be_overlooked(browser: Browser) -> None:
    with screen(browser) as seen:
        for state, (word, level, has_veil) in LOUD.items():
            seen.show(FRAME, [blob()], [state])
            seen.page.wait(f"document.body.dataset.state === {state.value!r}", timeout_s=3)
            assert seen.word == word
            assert seen.page.evaluate("document.body.dataset.level") == level
            shot = seen.page.screenshot()
            left, top, width, height = (round(v) for v in seen.page.box("#stage"))
            edge = shot[top + height // 2, left + 3], shot[top + height - 4, left + width // 2]
            banner = shot[top - 20, left + width - 30]
            if level in COLOURS:
                for place in (*edge, banner):
                    assert np.abs(place.astype(int) - COLOURS[level]).max() <= 3, state
            assert seen.page.evaluate("document.querySelector('#veil').hidden") == (not has_veil)
            hides = has_veil or state is State.FAILED
            assert (seen.tint(160, 120) > SEEN) == (not hides), state


@pytest.mark.slow
def test_the_state_is_spoken(browser: Browser) -> None:
    with screen(browser) as seen:
        seen.show(FRAME, states=[State.NO_SIGNAL])
        seen.page.wait("document.querySelector('[aria-live]').innerText.startsWith('NO SIGNAL')")


class TestTimeToLive:
    def test_a_mask_goes_by_itself(self, browser: Browser) -> None:
        with screen(browser) as seen, beating(seen.stream):
            begin = time.monotonic()
            seen.show(FRAME, [blob()], last_s=1.5)
            assert seen.page.evaluate("stage.isShowingMasks")
            seen.page.wait("!stage.isShowingMasks", timeout_s=5)
            assert time.monotonic() - begin > 1.4
            assert seen.tint(160, 120) <= 2
            seen.says("LATE")
            assert (
                seen.page.evaluate(
                    "getComputedStyle(document.querySelector('.measure')).visibility"
                )
                == "hidden"
            )

    @pytest.mark.slow
    def test_a_mask_that_comes_too_late_is_never_shown(self, browser: Browser) -> None:
        with screen(browser) as seen, beating(seen.stream):
            seen.show(FRAME, [blob()], last_s=-0.1)
            assert seen.tint(160, 120) <= 2

    @pytest.mark.slow
    def test_a_held_mask_stays(self, browser: Browser) -> None:
        with screen(browser) as seen, beating(seen.stream, State.HELD):
            seen.show(FRAME, [blob()], [State.HELD])
            seen.page.wait("performance.now() - link.heard < 1000 && stage.isShowingMasks")
            assert seen.tint(160, 120) > SEEN

    def test_a_mask_goes_when_the_stream_says_nothing_any_more(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, [blob(40, 40)], [State.HELD])
            assert seen.tint(40, 40) > SEEN
            seen.says("NO ANSWER")
            assert seen.tint(40, 40) <= 8  # what is left is the veil's

    def test_a_mask_goes_when_the_connection_does(self, browser: Browser) -> None:
        with viewer() as stream, screen(browser, stream) as seen:
            seen.show(FRAME, [blob(40, 40)])
            cut(stream)
            seen.says("CONNECTION LOST")
            assert seen.tint(40, 40) <= 8
            assert not seen.page.evaluate("stage.isShowingMasks")

    def test_a_page_that_was_put_to_sleep_wakes_up_without_one(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, [blob(40, 40)])
            seen.page.call("Page.setWebLifecycleState", {"state": "frozen"})
            assert not seen.page.evaluate("stage.isShowingMasks")
            seen.page.call("Page.setWebLifecycleState", {"state": "active"})


def cut(stream: Stream) -> None:
    """The server is gone without a word."""
    server = stream.sink._server
    assert server is not None
    server.call(
        lambda: [c.transport.abort() for c in list(server._server.server_state.connections)]
    )  # type: ignore[union-attr]
    server._server.should_exit = True
    server._thread.join(30)


class TestEnd:
    def test_is_told_and_the_page_stays(self, browser: Browser) -> None:
        with viewer() as stream, screen(browser, stream) as seen:
            seen.show(FRAME, [blob(40, 40)])
            stream.sink.close(SourceError("the cable is out"))
            seen.says("STREAM ENDED")
            assert seen.page.text("#meaning") == "the cable is out"
            assert seen.tint(40, 40) <= 8
            seen.page.wait("!link.isUp")
            assert seen.word == "STREAM ENDED"

    @pytest.mark.slow
    def test_the_next_stream_at_the_same_place_is_shown(self, browser: Browser) -> None:
        with viewer() as stream, screen(browser, stream) as seen:
            for _ in range(3):
                seen.show(FRAME, [blob()])
            stream.sink.close(None)
            seen.says("STREAM ENDED")
            port = int(stream.sink.url.rpartition(":")[2].strip("/"))
            with viewer(port=port) as second, beating(second):
                seen.says(
                    "STARTING"
                )  # not live, whatever the stream says: nothing of it is seen yet
                seen.page.wait("stage.frame === null")
                assert seen.colour(seen.page.screenshot(), 160, 200).max() < 50  # it was 90
                time.sleep(3 * BEAT_S)
                assert seen.word == "STARTING"
                number = second.show(FRAME, [blob(60, 60)])
                seen.drawn(FRAME, number)
                assert seen.tint(60, 60) > SEEN
                assert seen.tint(160, 120) <= 2


def test_two_viewers_see_the_same(browser: Browser) -> None:
    with (
        viewer() as stream,
        screen(browser, stream) as one,
        screen(browser, stream) as two,
        beating(stream),
    ):
        one.show(FRAME, [blob()])
        two.drawn(FRAME, 0)
        assert one.tint(160, 120) > SEEN
        assert two.tint(160, 120) > SEEN
        two.page.key("r")
        one.page.wait("document.querySelector('#record').ariaPressed === 'true'")
        assert stream.sink.describe()["most_viewers"] == 2


def test_a_token_opens_the_page(browser: Browser) -> None:
    with viewer(token="a-token-of-this-test") as stream:
        with screen(browser, stream) as seen:
            seen.show(FRAME, [blob()])
            assert seen.tint(160, 120) > SEEN
        page = browser.open(stream.sink.url.partition("?")[0])
        assert "needs its token" in page.text("body")
        page.close()


@pytest.mark.parametrize("spacing", [(0.4, 0.2), (0.2, 0.4), (0.2, 0.2005)])
@pytest.mark.slow
def test_pixels_have_their_true_proportions(browser: Browser, spacing: tuple[float, float]) -> None:
    frame = frame_of(picture(), spacing_mm=spacing)
    with screen(browser) as seen:
        seen.show(frame, [found(frame, disc(frame, 100, 80, 30))])
        _, _, width, height = seen.page.box("#sheet")
        true = 240 * spacing[0] / (320 * spacing[1])
        assert height / width == pytest.approx(true, rel=0.01)
        seen.page.click(*seen.at(100, 80))
        (click,) = seen.stream.commands()
        assert isinstance(click, Click)
        assert (click.x, click.y) == pytest.approx((100, 80), abs=0.6)
        assert seen.tint(100, 80) > SEEN


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (820, 1180), (390, 844), (844, 390)])
@pytest.mark.slow
def test_there_is_room_on_every_screen(browser: Browser, width: int, height: int) -> None:
    with screen(browser, width=width, height=height) as seen:
        seen.show(FRAME, [blob()], [State.LOST, State.LATE, State.FROZEN])
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        for selector in ("#word", "#sheet", "#notice"):
            left, top, wide, high = seen.page.box(selector)
            assert left >= 0
            assert top >= 0
            assert left + wide <= width + 1
            assert top + high <= height + 1
        _, _, wide, high = seen.page.box("#sheet")
        assert max(wide / width, high / height) > 0.35


def strip(number: int, size: int = 16) -> tuple[Frame, Mask]:
    """A frame with its number drawn into its pixels, as bits, and a mask with the same bits."""
    bits = [number >> k & 1 for k in range(10)]
    row = np.repeat(np.array(bits, np.uint8), size)
    pixels, mask = picture(240, 320, 60), np.zeros((240, 320), np.uint8)
    pixels[40 : 40 + size, 40 : 40 + len(row)] = 60 + 120 * row
    mask[120 : 120 + size, 40 : 40 + len(row)] = row
    return frame_of(pixels, number), mask


def numbers_on(seen: Screen) -> tuple[int, int]:
    """The number in the picture and that in the mask, as they are on the screen."""
    shot = seen.page.screenshot()
    middles = [(40 + 16 * k + 8, k) for k in range(10)]
    level = [seen.colour(shot, x, 48) for x, _ in middles]
    tint = [seen.colour(shot, x, 128) for x, _ in middles]
    return (
        sum(int(c.mean() > 120) << k for c, (_, k) in zip(level, middles, strict=True)),
        sum(int(c[2] - c[0] > SEEN) << k for c, (_, k) in zip(tint, middles, strict=True)),
    )


def test_a_mask_is_never_seen_with_another_frame(browser: Browser) -> None:
    with screen(browser) as seen:
        frame, mask = strip(0)
        seen.show(frame, [found(frame, mask)])
        seen_numbers = set()
        over = threading.Event()

        def run() -> None:
            number = 1
            while not over.wait(1 / 60):
                frame, mask = strip(number % 1024)
                seen.stream.show(frame, [found(frame, mask)], last_s=0.5)
                number += 1

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        for _ in range(12):
            shown, masked = numbers_on(seen)
            assert shown == masked
            seen_numbers.add(shown)
        over.set()
        thread.join(30)
        assert len(seen_numbers) > 5
