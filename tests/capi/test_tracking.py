"""Objects that libsamedge follows: the same masks, verdicts, reasons and points as in Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import samedge
from samedge.capi.library import Library, LibraryError
from samedge.capi.session import NativeModel, NativeSession
from samedge.capi.tracking import NativeTracker
from samedge.cli.demo import ready_bundle
from samedge.errors import FrameError, NotSupportedError, PromptError, SessionError
from samedge.prompts.gate import GateSettings
from samedge.prompts.prompt import Prompt
from samedge.runtime import Session
from samedge.sources.frame import Frame
from samedge.sources.simulator import Leave, SimulatorSource
from samedge.stream.live.item import LiveObject
from samedge.stream.live.objects import Objects, command_of
from tests.fold.oracle import random_model
from tests.runtime.cases import CONFIGS, SIZE, Case, random_pixels

RATE = 30.0
Crop = tuple[int, int, int, int]


class PythonTracker:
    """The tracked objects of a stream, without the stream."""

    def __init__(self, session: Session, prompt: Prompt, **settings: Any) -> None:
        self.session, self.prompt = session, prompt
        self.objects = Objects(session.family, True, GateSettings(**settings))
        self.begun = False
        self.kinds: set[tuple[bool, bool]] = set()  # of questions: with a box, with logits

    def track(
        self, pixels: NDArray[np.uint8], time_s: float, crop: Crop | None
    ) -> list[LiveObject]:
        frame = Frame(pixels, 0, None, "", "")
        if not self.begun:
            self.objects.apply(command_of(self.prompt, ()), frame)
            self.begun = True
        area = crop or (0, 0, pixels.shape[1], pixels.shape[0])
        self.session.set_frame(pixels, crop=crop)
        groups = self.objects.groups(area)
        self.kinds |= {(g.prompt.box is not None, g.logits is not None) for g in groups}
        answers = [(group, self.session.predict(**group.arguments())) for group in groups]
        found = self.objects.answer(frame, time_s, area, answers)
        return sorted(found, key=lambda one: one.number)


WORDS = {"found": "good", "doubtful": "doubtful", "lost": "lost"}


class Both:
    """Two trackers of the same objects; every frame has to come to the same."""

    def __init__(
        self, native: NativeSession, session: Session, prompt: Prompt, **settings: Any
    ) -> None:
        self.native = NativeTracker(native, **prompt.arguments(), **settings)
        self.python = PythonTracker(session, prompt, **settings)
        self.verdicts: set[tuple[str, ...]] = set()
        self.reasons: set[str] = set()

    def track(self, pixels: NDArray[np.uint8], time_s: float, crop: Crop | None = None) -> None:
        result, verdicts = self.native.track(pixels, time_s, crop)
        expected = self.python.track(pixels, time_s, crop)
        assert verdicts == [WORDS[one.status.value] for one in expected]
        assert len(result.masks) == len(expected)
        assert result.object_index.tolist() == list(range(len(expected)))
        for index, one in enumerate(expected):
            assert self.native.reason(index) == one.reason
            if one.mask is not None:
                np.testing.assert_array_equal(result.masks[index], one.mask)
                np.testing.assert_allclose(result.low_res_logits[index], one.logits, atol=1e-4)
        for number, one in self.python.objects._objects.items():
            asked = one.ask()
            if (asked.labels == 1).any():
                point = asked.points[asked.labels == 1][0]
                assert self.native.point(number - 1) == tuple(point.tolist())
        self.verdicts.add(tuple(verdicts))
        self.reasons |= {one.reason.split(" ")[0] for one in expected}


@pytest.fixture(scope="module")
def demo(library: Library) -> Iterator[tuple[NativeSession, Session]]:
    path = ready_bundle()
    with (
        NativeModel(library, path, "openvino", "fp32", threads=1) as model,
        samedge.load(path, "openvino", "fp32", threads=1) as session,
    ):
        yield model.session(), session


def test_a_simulated_heart_that_leaves_and_returns(demo: tuple[NativeSession, Session]) -> None:
    """One object, then two with a point outside of each."""
    source = SimulatorSource("short-axis", 8, (120, 160), fps=0, leave=Leave(0.4, 1.2, by="slide"))
    x, y = source.start_point
    both = Both(*demo, Prompt(np.array([[[x, y]]]), np.ones((1, 1), np.int64)))
    for index in range(44):
        both.track(source.picture(index), index / RATE)
    assert both.verdicts >= {("good",), ("doubtful",), ("lost",)}

    points = (np.array([[x, y], [2.0, 2]]), np.array([[150.0, 100]]))
    both = Both(*demo, Prompt(points, (np.array([1, 0]), np.array([1]))))
    for index in range(8):
        both.track(source.picture(index), index / RATE, None if index < 4 else (10, 5, 150, 110))


@pytest.fixture(scope="module")
def tiny(
    library: Library, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[NativeSession, Session]]:
    """A SAM of random weights, which takes points, boxes and logits, and believes in its masks."""
    model = random_model(CONFIGS["sam"])
    with torch.no_grad():
        model.mask_decoder.iou_prediction_head.layers[-1].bias.add_(1.6)
    case = Case(model, tmp_path_factory.mktemp("tracked"))
    with NativeModel(library, case.bundle.path, "openvino", "fp32", threads=1) as native:
        yield native.session(), case.session
    case.session.close()


def test_objects_of_all_kinds_together(tiny: tuple[NativeSession, Session]) -> None:
    """Boxes until the first good mask, logits after it, neither for what is lost; points outside;
    crops that leave objects out."""
    boxes = np.array([[5.0, 5, 60, 60], [30, 20, 110, 85], [90, 60, 118, 88]])
    points = (np.array([[20.0, 30]]), np.array([[70.5, 50], [8, 80]]), np.zeros((0, 2)))
    labels = (np.array([1]), np.array([1, 0]), np.zeros(0, np.int64))
    limits = {"border": 1.0, "score_drop": 1.0, "score_spread": 99.0, "hold_s": 0.05}
    kinds, verdicts, reasons = set(), set(), set()
    for seed, prompt in enumerate(
        (Prompt(points, labels, boxes), Prompt(points[:2], labels[:2]), Prompt(None, None, boxes))
    ):
        rng = np.random.default_rng(seed)
        both = Both(*tiny, prompt, score=0.93, found_s=0.06, overlap=0.3, **limits)
        for index in range(30):
            pixels = random_pixels(*SIZE, seed=100 * seed + index)
            crop = (0, 0, 88, 90) if rng.random() < 0.2 else None
            both.track(pixels, index / RATE, crop)
            if rng.random() < 0.05:
                both.native.lose()
                both.python.objects.lose("the picture is another one")
        kinds |= both.python.kinds
        verdicts |= {word for words in both.verdicts for word in words}
        reasons |= both.reasons
    assert kinds == {(True, False), (False, True), (False, False)}
    assert verdicts == {"good", "doubtful", "lost"}
    assert reasons >= {"", "score", "it"}


def test_outlines_and_times_of_a_tracked_frame(tiny: tuple[NativeSession, Session]) -> None:
    native, _ = tiny
    tracker = NativeTracker(native, points=[[(20, 30)], [(70, 50)]])
    result, _ = tracker.track(random_pixels(*SIZE), 0.0)
    assert native.contours(1)
    timing = native.timing()
    assert timing.total >= timing.encode + timing.decode > 0
    assert result.scores.shape == (2,)


def test_a_failing_call_leaves_the_objects_where_they_were(
    tiny: tuple[NativeSession, Session],
) -> None:
    native, _ = tiny
    tracker = NativeTracker(native, points=[(20, 30)], border=1.0, score=0.1)
    tracker.track(random_pixels(*SIZE), 0.0)
    before, reason = tracker.point(0), tracker.reason(0)
    assert before != (20, 30)
    with pytest.raises(FrameError, match="make a new tracker"):
        tracker.track(random_pixels(64, 64), 0.1)
    with pytest.raises(SessionError, match="no answer"):
        native.contours(0)
    with pytest.raises(LibraryError, match="time_s is nan"):
        tracker.track(random_pixels(*SIZE), float("nan"))
    assert (tracker.point(0), tracker.reason(0)) == (before, reason)
    with pytest.raises(LibraryError, match="no object 1"):
        tracker.point(1)
    tracker.close()
    with pytest.raises(LibraryError, match="HANDLE"):
        tracker.track(random_pixels(*SIZE), 0.2)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"points": [(5, 5)], "labels": [0]}, "a point inside the object"),
        ({"points": [(5, float("nan"))]}, "NaN"),
        ({"points": [(5, 5)], "labels": [2]}, "a label is 2"),
    ],
)
def test_what_cannot_be_followed(
    tiny: tuple[NativeSession, Session], prompt: dict[str, Any], words: str
) -> None:
    with pytest.raises(PromptError, match=words):
        NativeTracker(tiny[0], **prompt)


@pytest.mark.parametrize(
    ("name", "value"), [("score", 1.5), ("overlap", -0.1), ("hold_s", -1.0), ("area_jump", 0.5)]
)
def test_limits_that_cannot_be(
    tiny: tuple[NativeSession, Session], name: str, value: float
) -> None:
    with pytest.raises(LibraryError, match=f"{name} is"):
        NativeTracker(tiny[0], points=[(5, 5)], **{name: value})


def test_a_model_that_finds_its_objects_by_itself_follows_none(
    library: Library, tiny_bundle: Path
) -> None:
    with NativeModel(library, tiny_bundle, threads=1) as model, pytest.raises(NotSupportedError):
        NativeTracker(model.session(), points=[(5, 5)])


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = Case.of("autosamus", tmp_path_factory.mktemp("autosamus"))
    case.session.close()
    return Path(case.bundle.path)
