"""The simulator as a device: paced, with the truth of every frame, and an object that may leave."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from samedge.drawing.counter_strip import read_counter
from samedge.errors import SourceError
from samedge.progress import Step
from samedge.sources.simulator import WAYS, Leave, SimulatorSource, Way, open_simulator
from samedge.sources.uri import parse_uri

SIZE = (96, 128)


def opened(text: str) -> SimulatorSource:
    return open_simulator(parse_uri(text, ["simulator"]))


def test_frames_come_at_their_rate_without_drift() -> None:
    """Each is due at its own moment, however long the one before took: no test of speed, for none
    may come before it is due, and their times say when that was."""
    source = SimulatorSource("vessel", 1, SIZE, fps=30, frames=12)
    source.prepare()
    start = time.monotonic()
    times = []
    for frame in source:
        assert frame.captured_s is not None
        times.append(frame.captured_s - start)
        if frame.index == 3:
            threading.Event().wait(0.05)
    assert len(times) == 12
    assert all(at >= number / 30 for number, at in enumerate(times))


def test_what_a_frame_says() -> None:
    with SimulatorSource("apical", 1, SIZE, fps=0, frames=40) as source:
        frames = list(source)
    assert [f.index for f in frames] == list(range(40))
    assert [f.stamp_s for f in frames] == [f.time_s for f in frames]
    assert frames[3].time_s == pytest.approx(0.1)
    captured = [f.captured_s or 0 for f in frames]
    assert captured == sorted(captured)
    assert len({f.name for f in frames}) == 40
    assert frames[0].pixels.shape == source.size == SIZE
    assert frames[0].spacing_mm is not None
    assert source.is_live
    assert source.is_loop
    assert source.describe() == {
        "name": "simulator", "kind": "simulator", "frames": 40, "rate_fps": None,
    }  # fmt: skip


def test_it_goes_round_without_a_seam() -> None:
    source = SimulatorSource("short-axis", 1, SIZE, fps=0)
    beat = len(source.prepare().cine.images)
    frames = list(itertools.islice(source, beat + 2))
    assert np.array_equal(frames[0].pixels, frames[beat].pixels)
    assert np.array_equal(source.truth(1), source.truth(beat + 1))
    again = next(iter(source))
    assert again.index == 0, "iterating begins anew"


def test_the_truth_and_where_to_click() -> None:
    source = SimulatorSource("vessel", 3, SIZE, fps=0)
    x, y = source.start_point
    truth = source.truth(0)
    assert truth[int(y), int(x)] == 1
    assert set(np.unique(truth)) == {0, 1}
    truth[...] = 0
    assert source.truth(0).any(), "the caller's own"


def test_the_counter_is_in_the_pixels_and_no_part_of_the_truth() -> None:
    source = SimulatorSource("vessel", 3, SIZE, fps=0, counter=True, frames=50)
    assert [read_counter(f.pixels) for f in source] == list(range(50))
    assert not source.truth(0)[-4:].any()


@pytest.mark.parametrize("by", WAYS)
def test_the_object_leaves_and_comes_back(by: Way) -> None:
    source = SimulatorSource("short-axis", 3, SIZE, fps=0, leave=Leave(0.5, 1.5, 2.0, by))
    here = [bool(source.truth(i).any()) for i in range(120)]
    for round_ in (0, 60):
        assert all(here[round_ : round_ + 15])
        assert not any(here[round_ + 25 : round_ + 35])
        assert all(here[round_ + 45 : round_ + 60])
    gone = source.picture(30).astype(int)
    assert np.abs(gone - source.picture(14)).mean() > 5
    assert not np.array_equal(gone, source.picture(31)), "it is no frozen picture"
    x, y = source.start_point
    assert source.truth(0)[int(y), int(x)]


def test_the_probe_slides() -> None:
    """The object moves to the side and out, a little more with every frame."""
    source = SimulatorSource("vessel", 3, SIZE, fps=0, leave=Leave(1.0, 3.0))
    places = []
    for index in range(30, 45):
        columns = np.flatnonzero(source.truth(index).any(axis=0))
        places += [columns.min()] if len(columns) else []
    assert places == sorted(places)
    assert places[-1] - places[0] > 30


@pytest.mark.parametrize("slide_s", [0.0, -1.0, float("nan")])
def test_a_slide_takes_time(slide_s: float) -> None:
    with pytest.raises(SourceError, match="slide_s is"):
        Leave(1, 2, slide_s=slide_s)


def test_interrupt_ends_a_wait_at_once() -> None:
    source = SimulatorSource("vessel", 1, SIZE, fps=1)
    frames = iter(source)
    next(frames)
    ended = threading.Event()

    def read() -> None:
        assert next(frames, None) is None
        ended.set()

    thread = threading.Thread(target=read, daemon=True)
    start = time.monotonic()
    thread.start()
    source.interrupt()
    assert ended.wait(30)
    assert time.monotonic() - start < 0.9, "before the next frame was due"
    assert list(source) == [], "and it does not begin again"


def test_interrupt_ends_the_simulation() -> None:
    steps: list[Step] = []

    def watch(step: Step) -> None:
        steps.append(step)
        source.interrupt()

    source = SimulatorSource("bladder", 1, SIZE, progress=watch)
    assert list(source) == []
    assert len(steps) == 1
    with pytest.raises(SourceError, match="stopped"):
        source.prepare()


def test_progress_is_told_once() -> None:
    steps: list[Step] = []
    source = SimulatorSource("vessel", 1, SIZE, progress=steps.append, leave=Leave(1, 2))
    source.prepare()
    count = len(steps)
    assert steps[0].done == 1
    assert str(steps[0]).startswith("simulating a loop, 1 of")
    source.prepare()
    assert len(steps) == count


def test_options() -> None:
    source = opened("simulator:vessel?seed=4&size=96x128&fps=12.5&counter=yes&frames=3")
    assert source.prepare().cine.kind == "vessel"
    assert (source.size, source.rate, source.total) == (SIZE, 12.5, 3)
    assert [read_counter(f.pixels) for f in source] == [0, 1, 2]
    assert opened("simulator:").size == (480, 640)
    assert opened("simulator:?fps=0").rate is None
    opened("simulator:any?seed=6&size=96x128")
    leaving = opened("simulator:vessel?size=96x128&leave=1-2&every=3&by=noise&fps=0")
    assert not leaving.truth(45).any()
    assert leaving.truth(95).any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("simulator:cyst", "there is no 'cyst' that moves"),
        ("simulator:?speed=2", "no option 'speed'"),
        ("simulator:?seed=-1", "seed is '-1'; expected a whole number"),
        ("simulator:?seed=x", "seed is 'x'"),
        ("simulator:?size=480", "HEIGHTxWIDTH"),
        ("simulator:?size=10x10", "size"),
        ("simulator:?size=99999x99999", "size"),
        ("simulator:?fps=0.5", "fps is '0.5'; expected 1 to 500, or 0"),
        ("simulator:?fps=nan", "fps is 'nan'"),
        ("simulator:?fps=501", "fps is '501'"),
        ("simulator:?counter=maybe", "yes or no"),
        ("simulator:?counter=1&size=48x96", "too small for a counter"),
        ("simulator:?frames=0", "frames is '0'"),
        ("simulator:?leave=5", "FROM-TO in seconds"),
        ("simulator:?leave=8-5", "expected 0 <= FROM < TO"),
        ("simulator:?leave=1-nan", "expected 0 <= FROM < TO"),
        ("simulator:?leave=1-5&every=4", "TO <= EVERY"),
        ("simulator:?leave=1-5&by=magic", "by is 'magic'; expected one of slide, scene, noise"),
        ("simulator:?every=5", "go with leave=FROM-TO"),
    ],
)
def test_what_cannot_be_is_explained(text: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        opened(text)
    assert words in str(caught.value)
