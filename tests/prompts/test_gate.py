"""The quality gate, and a prompt that follows one object behind it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from samedge.errors import PromptError, SessionError
from samedge.prompts.gate import GatedTracker, GateSettings, Question, Verdict, border_share

SIZE = (120, 160)
AREA = (0, 0, 160, 120)
RATE = 30.0
GOOD, DOUBTFUL, LOST = Verdict.GOOD, Verdict.DOUBTFUL, Verdict.LOST


def disc(x: int = 60, y: int = 50, radius: int = 20) -> NDArray[np.uint8]:
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (x, y), radius, 1, -1)
    return mask


def question(*points: tuple[float, float, int], box: NDArray[np.float64] | None = None) -> Question:
    xy = np.asarray([(x, y) for x, y, _ in points], np.float64).reshape(-1, 2)
    return Question(xy, np.asarray([label for *_, label in points], np.int64), box)


class Film:
    """A tracker that is shown one mask after the other, at a steady rate."""

    def __init__(
        self, asked: Question | None = None, use_logits: bool = False, rate: float = RATE
    ) -> None:
        self.settings = GateSettings()
        first = question((60, 50, 1)) if asked is None else asked
        self.tracker = GatedTracker(first, self.settings, use_logits)
        self.number = 0
        self._rate = rate

    def show(self, mask: NDArray[np.uint8], score: float = 0.9, times: int = 1) -> list[Verdict]:
        verdicts = []
        for _ in range(times):
            logits = np.full((8, 8), self.number, np.float32)
            now = 1000 + self.number / self._rate
            verdicts.append(self.tracker.update(mask, score, logits, now, AREA))
            self.number += 1
        return verdicts

    @property
    def point(self) -> tuple[float, ...]:
        return tuple(self.tracker.ask().points[0].tolist())


def test_it_follows_with_the_interior_point_and_the_logits_of_the_last_good_mask() -> None:
    film = Film(question((55, 45, 1), (70, 52, 1), (5, 5, 0)), use_logits=True)
    first = film.tracker.ask()
    assert len(first.points) == 3
    assert first.logits is None
    for x in range(60, 90, 3):
        assert film.show(disc(x)) == [GOOD]
        asked = film.tracker.ask()
        assert asked.points.tolist() == [[x, 50], [5, 5]]
        assert asked.labels.tolist() == [1, 0]
        assert asked.logits is not None
        assert (asked.logits == film.number - 1).all()
    assert film.tracker.reason == ""


def test_a_box_is_asked_once() -> None:
    box = np.asarray([40.0, 30, 80, 70])
    film = Film(question(box=box))
    assert film.tracker.ask().box is not None
    assert film.show(disc()) == [GOOD]
    assert film.tracker.ask().box is None
    assert film.point == (60, 50)


def test_there_has_to_be_something_to_follow() -> None:
    with pytest.raises(PromptError, match="inside the object"):
        GatedTracker(question((1, 1, 0)), GateSettings(), False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("score", 1.5), ("overlap", -0.1), ("steady", float("nan")), ("hold_s", 0), ("area_jump", 0.5),
     ("found_s", 0), ("score_spread", float("nan"))],
)  # fmt: skip
def test_limits_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(SessionError, match=f"gate: {name} is"):
        GateSettings(**{name: value})  # type: ignore[arg-type]


def test_families_without_mask_prompts_get_no_logits() -> None:
    film = Film()
    film.show(disc())
    assert film.tracker.ask().logits is None


@pytest.mark.parametrize(
    ("mask", "score", "words"),
    [
        (disc(), 0.45, "score 0.45 below 0.7"),
        (disc(), 0.7, "score 0.70 below 0.7"),  # above the limit, far below its usual one
        (disc(), float("nan"), "score nan"),
        (disc(radius=40), 0.9, "area"),
        (disc(radius=8), 0.9, "area"),
        (disc(100, 80), 0.9, "overlap 0.00"),
        (disc(radius=1), 0.9, "px"),
        (np.zeros(SIZE, np.uint8), 0.9, "the mask has 0 px"),
    ],
)
def test_a_doubtful_mask_is_never_fed_back(
    mask: NDArray[np.uint8], score: float, words: str
) -> None:
    film = Film(use_logits=True)
    film.show(disc(), times=10)
    before = film.tracker.ask()
    assert film.show(mask, score, 3) == [DOUBTFUL] * 3
    assert words in film.tracker.reason
    assert film.tracker.ask() is before
    # The first mask after it may be something that passes by.
    assert film.show(disc(), times=3) == [DOUBTFUL, GOOD, GOOD]


def test_a_score_that_varies_much_may_not_fall_by_any_amount() -> None:
    film = Film()
    for score in (0.92, 0.76) * 30:
        assert film.show(disc(), score) == [GOOD]
    assert film.show(disc(), 0.6) == [DOUBTFUL]
    assert "score 0.60 below 0.6" in film.tracker.reason


def test_a_mask_along_the_border_is_doubtful() -> None:
    """What fills the whole view is no object."""
    film = Film(question((80, 60, 1)))
    film.show(np.ones(SIZE, np.uint8))
    assert "of its outline on the border" in film.tracker.reason


@pytest.mark.parametrize("rate", [10.0, 30.0, 60.0])
def test_lost_after_a_while_and_never_before(rate: float) -> None:
    film = Film(rate=rate)
    film.show(disc(), times=30)
    verdicts = film.show(disc(120, 90, 10), 0.3, 20)
    doubtful = verdicts.index(LOST)
    assert verdicts == [DOUBTFUL] * doubtful + [LOST] * (20 - doubtful)
    assert doubtful / rate >= film.settings.hold_s > (doubtful - 1) / rate
    if rate == 30:
        assert doubtful < 5, "five frames at most"


def test_a_lost_object_is_asked_without_logits_where_it_was() -> None:
    film = Film(use_logits=True)
    film.show(disc(60), times=40)
    for x in range(60, 90, 2):
        film.show(disc(x))
    film.show(disc(), 0.1, 10)
    places = set()
    for _ in range(4):
        asked = film.tracker.ask()
        assert asked.logits is None
        places.add(tuple(asked.points[0].tolist()))
        film.show(disc(), 0.1)
    assert places == {(60, 50), (88, 50)}, "where it was last, and before it began to move"


@pytest.mark.parametrize("rate", [10.0, 30.0, 60.0])
def test_found_again_when_it_is_seen_where_it_was_for_a_while(rate: float) -> None:
    film = Film(use_logits=True, rate=rate)
    film.show(disc(), times=60)
    film.show(disc(), 0.2, 30)
    verdicts = film.show(disc(), times=40)
    found = verdicts.index(GOOD)
    assert found / rate == pytest.approx(film.settings.found_s, abs=1 / rate)
    assert set(verdicts[:found]) == {LOST}
    assert set(verdicts[found:]) == {GOOD}
    assert film.tracker.ask().logits is not None


@pytest.mark.parametrize(
    ("mask", "score"),
    [
        (disc(), 0.78),  # what a network draws where nothing is
        (disc(110, 80), 0.9),  # another one of its kind, elsewhere
        (disc(radius=32), 0.9),
    ],
)
def test_something_else_is_not_found_for_it(mask: NDArray[np.uint8], score: float) -> None:
    film = Film()
    film.show(disc(), times=30)
    film.show(np.zeros(SIZE, np.uint8), times=10)
    assert set(film.show(mask, score, 30)) == {LOST}


def test_one_poor_frame_does_not_make_the_search_begin_again() -> None:
    film = Film()
    film.show(disc(), times=30)
    film.show(disc(), 0.2, 30)
    film.show(disc(), times=8)
    where = film.tracker.ask()
    assert film.show(disc(), 0.3) == [LOST]
    assert film.tracker.ask() is where
    assert GOOD in film.show(disc(), times=5)


@pytest.mark.parametrize("step", [1, 2, 6, 12])
def test_a_neighbour_that_passes_by_is_not_taken_for_it(step: int) -> None:
    """The probe slides back, fast or slowly, and what lies beside the object comes first."""
    film = Film()
    film.show(disc(), times=30)
    film.show(np.zeros(SIZE, np.uint8), times=10)
    for x in range(0, 160, step):
        assert film.show(disc(x)) == [LOST]


def test_a_heart_is_found_while_it_beats() -> None:
    film = Film()

    def beat(number: int) -> NDArray[np.uint8]:
        phase = np.sin(2 * np.pi * number / 24)
        return disc(60 + round(2 * phase), 50, round(20 + 4 * phase))

    for number in range(48):
        film.show(beat(number))
    film.show(np.zeros(SIZE, np.uint8), times=40)
    assert GOOD in [film.show(beat(number))[0] for number in range(24)]


def test_an_object_that_never_was_good_stays_doubtful_where_the_user_put_it() -> None:
    asked = question((60, 50, 1), (10, 10, 0))
    film = Film(asked)
    assert film.show(disc(), 0.3, 60) == [DOUBTFUL] * 60
    assert film.tracker.ask() is asked
    assert film.show(disc(), 0.6) == [GOOD]


def test_a_click_on_nothing_is_lost_and_found_when_something_comes() -> None:
    film = Film()
    verdicts = film.show(np.zeros(SIZE, np.uint8), times=10)
    assert verdicts[-1] is LOST
    assert film.point == (60, 50)
    assert film.show(disc(), times=15)[-1] is GOOD


def test_another_scene_loses_it_at_once() -> None:
    film = Film()
    film.show(disc(), times=30)
    film.tracker.lose("another scene")
    assert film.tracker.reason == "another scene"
    assert film.show(disc(100, 80), times=10) == [LOST] * 10
    assert film.show(disc(), times=15)[-1] is GOOD


def test_what_beats_is_not_doubtful() -> None:
    """Areas that double within a beat, and scores that go with them."""
    film = Film()
    for number in range(300):
        phase = np.sin(2 * np.pi * number / 24)
        radius = round(20 + 4 * phase)
        assert film.show(disc(60, 50, radius), 0.8 + 0.05 * phase) == [GOOD]


def test_slow_growth_is_followed() -> None:
    film = Film()
    for radius in np.linspace(12, 40, 200).round().astype(int).tolist():
        assert film.show(disc(60, 60, radius)) == [GOOD]


def test_frames_of_another_size_are_no_error() -> None:
    film = Film()
    film.show(disc(), times=5)
    other = np.zeros((60, 80), np.uint8)
    other[20:40, 20:40] = 1
    verdict = film.tracker.update(other, 0.9, np.zeros((8, 8), np.float32), 1000.2, (0, 0, 80, 60))
    assert verdict is DOUBTFUL


def test_a_clock_that_goes_back_does_not_hold_a_doubtful_object_for_ever() -> None:
    film = Film()
    film.show(disc(), times=5)
    film.show(disc(), 0.2)
    film.number = -1000
    assert film.show(disc(), 0.2) == [LOST]


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), min_size=1, max_size=40))
def test_replaying_the_same_frames_gives_the_same_verdicts(
    frames: list[tuple[int, float]],
) -> None:
    def run() -> list[tuple[Verdict, str, tuple[float, ...]]]:
        film = Film(use_logits=True)
        found = []
        for x, score in frames:
            (verdict,) = film.show(disc(40 + x), score)
            found.append((verdict, film.tracker.reason, film.point))
        return found

    first = run()
    assert first == run()
    assert all((verdict is GOOD) == (reason == "") for verdict, reason, _ in first)


def test_the_caller_may_use_its_arrays_again() -> None:
    film = Film(use_logits=True)
    mask, logits = disc(), np.ones((8, 8), np.float32)
    film.tracker.update(mask, 0.9, logits, 0.0, AREA)
    mask[...], logits[...] = 0, 7
    asked = film.tracker.ask()
    assert asked.logits is not None
    assert (asked.logits == 1).all()
    assert film.tracker.update(disc(), 0.9, logits, 0.03, AREA) is GOOD


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0, 0, 160, 120), 0.0), ((60, 0, 160, 120), 0.3), ((50, 40, 70, 60), 1.0)],
)
def test_share_of_the_outline_on_the_border(
    box: tuple[int, int, int, int], expected: float
) -> None:
    assert border_share(disc(), box) == pytest.approx(expected, abs=0.12)
