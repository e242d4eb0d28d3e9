"""The page in a real browser: what is clicked arrives, what is shown is seen."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from samedge.drawing.colours import PALETTE
from samedge.errors import SourceError
from samedge.families import FAMILIES
from samedge.sources.frame import Frame
from samedge.stream.live.controls import Click, Drag, Hold, Record, Remove, Rename
from samedge.stream.live.item import LiveObject, Status
from samedge.stream.live.states import Alarm, Kind, State
from tests.browser import Browser
from tests.stream.viewer.made import Mask, Stream, disc, found, frame_of, picture, viewer
from tests.stream.viewer.screen import Screen, beating, screen

FRAME = frame_of(picture(240, 320), spacing_mm=(0.5, 0.5))
CORNERS = [(0, 0), (319, 239), (0, 239)]
SEEN = 20  # grey levels between the channels where a mask is


def blob(x: float = 160, y: float = 120, radius: float = 40, number: int = 1) -> LiveObject:
    return found(FRAME, disc(FRAME, x, y, radius), number)


class TestPrompts:
    @pytest.mark.parametrize(
        ("x", "y"), [(250, 200), *(pytest.param(*at, marks=pytest.mark.slow) for at in CORNERS)]
    )
    def test_a_click_arrives_at_its_pixel_and_the_mask_is_seen_there(
        self, browser: Browser, x: float, y: float
    ) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, states=[State.PROMPT])
            assert seen.word == "PROMPT NEEDED"
            seen.page.click(*seen.at(x, y))
            (click,) = seen.stream.commands()
            assert isinstance(click, Click)
            assert (click.inside, click.object, click.fresh) == (True, 0, False)
            assert (click.x, click.y) == (pytest.approx(x, abs=0.5), pytest.approx(y, abs=0.5))
            seen.show(FRAME, [blob(click.x, click.y, 12)])
            shot = seen.page.screenshot()
            near, far = (
                seen.colour(shot, min(x + 4, 315), min(y + 4, 235)),
                seen.colour(shot, 130, 80),
            )
            assert near[2] - near[0] > SEEN  # sky blue over grey
            assert abs(far[2] - far[0]) <= 2

    def test_a_mask_covers_its_pixels_and_no_others(self, browser: Browser) -> None:
        mask: Mask = np.zeros((240, 320), np.uint8)
        mask[100:140, 50:90] = 1
        mask[110:130, 60:80] = 0  # a hole
        with screen(browser) as seen:
            seen.show(FRAME, [found(FRAME, mask)])
            seen.page.evaluate("stage.line = 0.01, stage.fill = 1, stage.drawMasks()")
            shot = seen.page.screenshot()
            for x, y, inside in [
                (52, 102, 1),
                (87, 137, 1),
                (47, 120, 0),
                (92, 120, 0),
                (70, 97, 0),
                (70, 142, 0),
                (70, 120, 0),
                (62, 112, 0),
                (57, 120, 1),
                (82, 120, 1),
            ]:
                colour = seen.colour(shot, x, y)
                assert (colour.max() - colour.min() > SEEN) == bool(inside), (x, y)

    @pytest.mark.slow
    def test_other_buttons_and_keys_are_other_points(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, [blob()])
            seen.page.click(*seen.at(10, 20), button="right")
            seen.page.click(*seen.at(30, 40), modifiers=("shift",))
            seen.page.click(*seen.at(50, 60), modifiers=("alt",))
            clicks = seen.stream.commands(3)
            kinds = [(c.inside, c.fresh, c.object) for c in clicks if isinstance(c, Click)]
            assert kinds == [(False, False, 1), (False, False, 1), (True, True, 1)]

    def test_a_drag_is_a_box_that_is_seen_while_it_is_drawn(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, [blob()])
            seen.page.drag(*seen.at(99.5, 89.5), *seen.at(39.5, 29.5), release=False)
            assert seen.colour(seen.page.screenshot(), 70, 29.5).min() > 120
            seen.page._mouse("mouseReleased", *seen.at(39.5, 29.5), "left")
            (box,) = seen.stream.commands()
            assert isinstance(box, Drag)
            assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((40, 30, 100, 90), abs=0.6)
            assert box.object == 1

    @pytest.mark.slow
    def test_a_drag_beyond_the_picture_ends_at_its_edge(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME)
            seen.page.drag(*seen.at(200, 100), 1279, 799)
            (box,) = seen.stream.commands()
            assert isinstance(box, Drag)
            assert (box.x1, box.y1) == (320, 240)

    @pytest.mark.slow
    def test_touch(self, browser: Browser) -> None:
        with screen(browser, width=390, height=844, touch=True) as seen:
            seen.show(FRAME, [blob()])
            seen.page.touch("touchStart", seen.at(100, 50))
            seen.page.touch("touchEnd")
            seen.page.touch("touchStart", seen.at(120, 60))
            (tap, press) = seen.stream.commands(2)  # the second comes while the finger is down
            seen.page.touch("touchEnd")
            assert isinstance(tap, Click)
            assert isinstance(press, Click)
            assert (tap.inside, press.inside) == (True, False)
            assert (tap.x, tap.y) == pytest.approx((100, 50), abs=1)
            seen.page.touch("touchStart", seen.at(20, 30))
            for share in (0.3, 0.6, 1.0):
                seen.page.touch("touchMove", seen.at(20 + 100 * share, 30 + 80 * share))
            seen.page.touch("touchEnd")
            (box,) = seen.stream.commands()
            assert isinstance(box, Drag)
            assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((20, 30, 120, 110), abs=2)
            assert seen.page.evaluate("scrollY") == 0

    @pytest.mark.slow
    def test_the_cross_of_the_keyboard(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, [blob()])
            seen.page.evaluate("document.querySelector('#stage').focus()")
            for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
                seen.page.key(key)
            seen.page.key("Enter")
            seen.page.key("Enter", "shift")
            first, second = seen.stream.commands(2)
            assert isinstance(first, Click)
            assert isinstance(second, Click)
            assert (first.x, first.y) == pytest.approx((165.9, 121.9))
            assert (first.inside, second.inside) == (True, False)

    def test_points_that_come_before_a_new_object_has_a_number_wait_for_it(
        self, browser: Browser
    ) -> None:
        with screen(browser) as seen:
            seen.show(FRAME)
            seen.page.click(*seen.at(100, 100))
            seen.page.click(*seen.at(110, 110))
            (first,) = seen.stream.commands()
            seen.show(FRAME, [blob(number=5)])
            (second,) = seen.stream.commands()
            assert isinstance(first, Click)
            assert isinstance(second, Click)
            assert (first.object, second.object) == (0, 5)
            assert second.x == pytest.approx(110, abs=0.5)

    @pytest.mark.slow
    def test_a_point_outside_of_nothing_is_refused_with_words(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME)
            seen.page.click(*seen.at(100, 100), button="right")
            seen.page.wait(
                "document.querySelector('#toasts').innerText.includes('inside it first')"
            )
            assert seen.stream.controls.take() == []

    @pytest.mark.slow
    def test_what_the_stream_refuses_is_shown_to_who_said_it(self, browser: Browser) -> None:
        with viewer() as stream, screen(browser, stream) as seen, screen(browser, stream) as other:
            seen.show(FRAME, [blob()])
            seen.page.evaluate("import('./app.js').then((m) => m.link.send({command: 'rm'}))")
            seen.page.wait(
                "document.querySelector('#toasts').innerText.includes('no such command')"
            )
            assert other.page.text("#toasts") == ""

    @pytest.mark.slow
    def test_a_model_without_prompts_takes_none(self, browser: Browser) -> None:
        family = next(f for f in FAMILIES.values() if f.classes and not f.prompts)
        with viewer(family) as stream, screen(browser, stream) as seen:
            seen.show(FRAME, [blob()])
            seen.page.click(*seen.at(100, 100))
            seen.page.wait("document.querySelector('#toasts').innerText.includes('by itself')")
            assert stream.controls.take() == []
            assert seen.page.evaluate("document.querySelector('#add').hidden")


class TestObjects:
    def test_sizes_and_scores(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, [found(FRAME, disc(FRAME, 160, 120, 40), name="atrium", score=0.875)])
            area = int(disc(FRAME, 160, 120, 40).sum())
            words = seen.page.text("#objects")
            assert f"{area / 4:,.0f} mm²" in words
            assert f"{area:,} px" in words
            assert "score 0.88" in words

    @pytest.mark.slow
    def test_without_spacing_there_are_no_millimetres(self, browser: Browser) -> None:
        with screen(browser) as seen:
            frame = frame_of(picture())
            seen.show(frame, [found(frame, disc(frame, 50, 50, 9))])
            assert "px" in seen.page.text("#objects")
            assert "mm" not in seen.page.text("#objects")

    def test_select_rename_add_and_remove(self, browser: Browser) -> None:
        with screen(browser) as seen:
            objects = [blob(60, 60, 20, 1), blob(200, 150, 20, 4)]
            seen.show(FRAME, objects)
            seen.page.key("2")
            seen.page.click(*seen.at(210, 150))
            seen.page.key("Delete")
            seen.page.press("#add")
            seen.page.click(*seen.at(20, 200))
            sent = seen.stream.commands(3)
            assert [getattr(c, "object", None) for c in sent] == [4, 4, 0]
            assert isinstance(sent[1], Remove)
            seen.show(FRAME, [*objects, blob(20, 200, 10, 5)])
            seen.page.evaluate("document.querySelector('.object .name').focus()")
            seen.page.evaluate("document.querySelector('.object .name').select()")
            seen.page.type("<b>left & right</b>")
            seen.show(FRAME, objects)  # what is being typed stays
            seen.page.key("Enter")
            assert seen.stream.commands() == [Rename(1, "<b>left & right</b>")]
            seen.page.press(".object .remove")
            assert seen.stream.commands() == [Remove(1)]
            seen.show(FRAME, [blob(number=4)])
            assert seen.page.evaluate("document.querySelectorAll('.object').length") == 1

    @pytest.mark.slow
    def test_names_are_text(self, browser: Browser) -> None:
        name = "<img src=x onerror=alert(1)>"
        with screen(browser) as seen:
            lost = found(FRAME, None, 1, Status.LOST, name=name, reason="<i>gone</i>")
            seen.show(FRAME, [lost], [State.LOST])
            seen.says("LOST")
            assert name in seen.page.text("#meaning")
            assert "<i>gone</i>" in seen.page.text("#objects")
            assert seen.page.evaluate("document.querySelector('img, i')") is None

    def test_a_doubtful_mask_is_an_outline_and_is_not_measured(self, browser: Browser) -> None:
        with screen(browser) as seen:
            doubtful = found(
                FRAME, disc(FRAME, 160, 120, 40), 1, Status.DOUBTFUL, reason="it jumped"
            )
            seen.show(FRAME, [doubtful], [State.DOUBTFUL])
            seen.says("DOUBTFUL")
            assert seen.tint(160, 120) <= 2
            shot = seen.page.screenshot()
            rim = [
                seen.colour(shot, 160 + 40 * np.cos(a), 120 + 40 * np.sin(a))
                for a in np.arange(0, 6.2, 0.05)
            ]
            marked = np.array([c.max() - c.min() > SEEN for c in rim])
            assert 0.25 < marked.mean() < 0.95  # dashes
            assert "px" not in seen.page.text("#objects")
            assert "it jumped" in seen.page.text("#objects")


class TestControls:
    def test_buttons_and_keys(self, browser: Browser) -> None:
        with screen(browser) as seen, beating(seen.stream):
            seen.show(FRAME, [blob()])
            seen.page.press("#hold")
            assert seen.stream.commands() == [Hold(True)]
            seen.page.key("r")
            assert seen.stream.commands() == [Record(True)]
            seen.page.wait("document.querySelector('#record').innerText.startsWith('Recording')")
            seen.page.key("r")
            assert seen.stream.commands() == [Record(False)]
            seen.show(FRAME, [blob()], [State.HELD])
            seen.says("HELD")
        with screen(browser) as seen, beating(seen.stream, State.HELD):
            seen.show(FRAME, [blob()], [State.HELD])
            seen.page.key(" ")
            assert seen.stream.commands() == [Hold(False)]

    @pytest.mark.slow
    def test_help(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME)
            seen.page.key("?")
            assert seen.page.evaluate("document.querySelector('#help').open")
            seen.page.key("n")
            seen.show(FRAME, states=[State.STALLED])  # danger is not to be covered
            seen.page.wait("!document.querySelector('#help').open")
            seen.page.key("h")
            assert seen.page.evaluate("document.querySelector('#help').open")

    @pytest.mark.slow
    def test_fill(self, browser: Browser) -> None:
        with screen(browser) as seen:
            seen.show(FRAME, [blob()])
            tints = []
            for key, times in (("[", 10), ("]", 3), ("]", 7)):
                for _ in range(times):
                    seen.page.key(key)
                tints.append(seen.tint(160, 120))
            assert tints[0] <= 2
            assert tints[0] < tints[1] < tints[2]
            blue = np.array(PALETTE[0])
            assert np.abs(seen.colour(seen.page.screenshot(), 160, 120) - blue).max() <= 3

    @pytest.mark.slow
    def test_numbers(self, browser: Browser) -> None:
        with screen(browser) as seen:
            for _ in range(6):
                seen.show(FRAME, age_s=0.2, drops=17)
            seen.page.wait("Number(document.querySelector('#latency').innerText) >= 200")
            assert "median" in seen.page.text("#percentiles")
            assert seen.page.text("#drops") == "17"
            assert float(seen.page.text("#rate")) > 0

    @pytest.mark.slow
    def test_alarms_are_listed(self, browser: Browser) -> None:
        with screen(browser) as seen:
            alarm = Alarm(Kind.PROMPT, "there is no object 7", time.monotonic())
            seen.show(FRAME, alarms=[alarm])
            assert "there is no object 7" in seen.page.text("#toasts")
            seen.page.press(".events summary")
            assert "there is no object 7" in seen.page.text("#events")


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
    server._thread.join(5)


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
                seen.says("STARTING")
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
        thread.join(5)
        assert len(seen_numbers) > 5
