"""Tracking with the model that comes along, on simulated loops whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

import samedge
from samedge.cli.demo import ready_bundle
from samedge.prompts.gate import GatedTracker, GateSettings, Question, Verdict
from samedge.prompts.tracking import interior_point
from samedge.runtime import Session
from samedge.sources.simulator import Leave, SimulatorSource, Way
from samedge.stream.live.item import Status
from samedge.stream.live.settings import LiveSettings
from samedge.stream.live.stream import LiveStream

RATE = 30.0
WITHIN = 5  # frames in which an object that left has to be lost


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with samedge.load(ready_bundle(), threads=1) as session:
        yield session


@dataclass
class Told:
    """What came of following one object: one entry per frame."""

    verdicts: list[Verdict] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    there: list[bool] = field(default_factory=list)


def dice(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def at(point: tuple[float, float]) -> Question:
    return Question(np.asarray([point], np.float64), np.ones(1, np.int64))


def followed(session: Session, source: SimulatorSource, frames: int) -> Told:
    """From one click in the first frame."""
    tracker = GatedTracker(at(source.start_point), GateSettings(), use_logits=False)
    height, width = source.size or (0, 0)
    told = Told()
    for index in range(frames):
        asked = tracker.ask()
        answer = session.segment(source.picture(index), asked.points, asked.labels)
        mask, score = answer.masks[0], float(answer.scores[0])
        now, area = index / RATE, (0, 0, width, height)
        verdict = tracker.update(mask, score, answer.low_res_logits[0], now, area)
        truth = source.truth(index)
        told.verdicts.append(verdict)
        # A lost object has no mask, whatever the network drew.
        told.dice.append(0.0 if verdict is Verdict.LOST else dice(mask, truth))
        told.there.append(bool(truth.any()))
    return told


def clicked_in_every_frame(session: Session, source: SimulatorSource) -> float:
    """Mean Dice over a beat with a click into the truth's middle."""
    found = []
    for index in range(len(source.prepare().cine.images)):
        truth = source.truth(index)
        point = interior_point(truth)
        assert point is not None
        found.append(dice(session.segment(source.picture(index), [point]).masks[0], truth))
    return float(np.mean(found))


def check_that_it_leaves_and_returns(told: Told) -> None:
    gone = told.there.index(False)
    back = len(told.there) - told.there[::-1].index(False)
    lost = told.verdicts.index(Verdict.LOST)
    assert lost < gone + WITHIN
    assert Verdict.GOOD not in told.verdicts[gone + WITHIN : back]
    assert told.verdicts[-1] is Verdict.GOOD
    found = told.verdicts.index(Verdict.GOOD, back)
    assert float(np.mean(told.dice[found:])) > float(np.mean(told.dice[:20])) - 0.03


@pytest.mark.parametrize(("view", "seed"), [("apical", 20)])
def test_one_click_is_as_good_as_a_click_in_every_frame(
    session: Session, view: str, seed: int
) -> None:
    source = SimulatorSource(view, seed, (240, 320), fps=0)
    told = followed(session, source, 40)
    assert set(told.verdicts) == {Verdict.GOOD}
    assert float(np.mean(told.dice)) > clicked_in_every_frame(session, source) - 0.03


@pytest.mark.parametrize(
    "by", ["slide", *(pytest.param(by, marks=pytest.mark.slow) for by in ("scene", "noise"))]
)
def test_an_object_that_leaves_is_lost_and_found_again(session: Session, by: Way) -> None:
    source = SimulatorSource("short-axis", 8, (240, 320), fps=0, leave=Leave(0.7, 1.9, by=by))
    check_that_it_leaves_and_returns(followed(session, source, 80))


@pytest.mark.slow
@pytest.mark.parametrize(("view", "seed"), [("apical", 9), ("vessel", 6)])
def test_300_frames_from_one_click(session: Session, view: str, seed: int) -> None:
    """Seeds on which nothing was tuned."""
    source = SimulatorSource(view, seed, fps=0)
    told = followed(session, source, 300)
    assert Verdict.LOST not in told.verdicts
    assert float(np.mean(told.dice)) > clicked_in_every_frame(session, source) - 0.03


@pytest.mark.slow
@pytest.mark.parametrize(("view", "seed"), [("apical", 7), ("vessel", 7)])
def test_it_leaves_by_a_slide_at_full_size(session: Session, view: str, seed: int) -> None:
    """Back from frame 83 on. A chamber has to keep still for 0.4 s, which may take a beat."""
    source = SimulatorSource(view, seed, fps=0, leave=Leave(1.0, 2.5))
    check_that_it_leaves_and_returns(followed(session, source, 83 + 12 + 33))


@pytest.mark.slow
def test_the_vein_that_passes_by_is_not_taken_for_the_artery(session: Session) -> None:
    """The probe slides back slowly, and the vein beside it is as round and as dark."""
    source = SimulatorSource("vessel", 0, (240, 320), fps=0, leave=Leave(0.5, 4.5, slide_s=1.3))
    told = followed(session, source, 155)
    good = [d for d, v in zip(told.dice, told.verdicts, strict=True) if v is Verdict.GOOD]
    assert min(good) > 0.8
    assert told.verdicts[-1] is Verdict.GOOD


class OnAScreen(SimulatorSource):
    """The simulator's picture in a larger frame, as a grabber gives it."""

    def picture(self, index: int) -> NDArray[np.uint8]:
        screen = np.zeros((480, 640), np.uint8)
        screen[100:340, 200:520] = super().picture(index)
        return screen


@pytest.mark.parametrize(
    ("shift", "expected"), [((200, 100), Status.FOUND), ((-270, -170), Status.LOST)]
)
def test_a_stream_that_looks_for_the_ultrasound_image_itself(
    session: Session, shift: tuple[int, int], expected: Status
) -> None:
    """A click into the menus beside it is no end of the stream: the object is lost."""
    source = OnAScreen("short-axis", 8, (240, 320), fps=0)
    x, y = source.start_point
    click = max(x + shift[0], 5), max(y + shift[1], 5)
    settings = LiveSettings(crop="auto", track=True, every_frame=True)
    with LiveStream(session, source, [click], settings=settings, frames=45) as stream:
        found = [(item.crop, item.objects[0].status) for item in stream if item.objects]
    assert len(found) > 30
    assert all(status is expected for _, status in found)
    x0, y0, x1, y1 = found[-1][0] or (0, 0, 640, 480)
    assert 100 < x0 < 300
    assert x1 < 600
    assert y0 > 40
    assert y1 < 400
