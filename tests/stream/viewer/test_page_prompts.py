"""The page in a real browser: what is clicked arrives, and its mask is seen there."""

from __future__ import annotations

import time

import numpy as np
import pytest

from samedge.drawing.colours import PALETTE
from samedge.families import FAMILIES
from samedge.stream.live.controls import Click, Drag, Hold, Record, Remove, Rename
from samedge.stream.live.item import Status
from samedge.stream.live.states import Alarm, Kind, State
from tests.browser import Browser
from tests.stream.viewer.made import Mask, disc, found, frame_of, picture, viewer
from tests.stream.viewer.screen import CORNERS, FRAME, SEEN, beating, blob, screen


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
        with screen(browser) as seen, beating(seen.stream, State.HELD):
            seen.show(FRAME, [blob()], [State.HELD])
            seen.says("HELD")
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
