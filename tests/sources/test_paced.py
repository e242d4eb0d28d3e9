"""Files that are played: when their frames come, and how they are numbered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samedge.errors import SourceError
from samedge.sources import paced
from samedge.sources.frame import Frame, Source
from samedge.sources.live_opening import _DEVICES, SCHEMES, open_live_source
from samedge.sources.paced import Paced
from tests.sources.media import PATIENT, write_video


class Times(Source):
    """Frames at given times; reading each takes a while."""

    kind, is_loop = "video", True

    def __init__(self, times: Sequence[float | None], clock: Clock, work_s: float = 0.0) -> None:
        super().__init__("times.avi")
        self._times, self._clock, self._work_s = times, clock, work_s
        self.total, self.rate = len(times), 10.0
        self._pixels = [np.zeros((16, 16), np.uint8) for _ in times]

    def __iter__(self) -> Iterator[Frame]:
        for index, time_s in enumerate(self._times):
            self._clock.now += self._work_s
            yield Frame(
                self._pixels[index], index, time_s, self.name, f"times_{index:05d}", stamp_s=time_s
            )


class Clock:
    """Stands still while nobody waits or works; every wait takes a little longer than asked."""

    late_s = 0.003

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(paced.time, "monotonic", lambda: self.now)

    def play(self, source: Paced, count: int | None = None) -> list[Frame]:
        source._stop.wait = self._wait  # type: ignore[method-assign]
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == count:
                break
        return frames

    def _wait(self, seconds: float | None = None) -> bool:
        assert seconds is not None
        self.now += seconds + self.late_s if seconds else 0
        return False


@pytest.fixture
def clock() -> Iterator[Clock]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Clock(monkeypatch)


def captured(frames: Sequence[Frame]) -> np.ndarray:
    return np.array([frame.captured_s for frame in frames], float)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30))
def test_delays_do_not_add_up(clock: Clock, steps: list[float]) -> None:
    """Uneven times are kept, however long a frame takes to be read within its time."""
    times = np.concatenate([[0.0], np.cumsum(np.array(steps) + 0.02)])
    frames = clock.play(Paced(Times([float(t) for t in times], clock, work_s=0.01)))
    late = captured(frames) - captured(frames)[0] - times
    assert (late > -1e-9).all()
    assert (late < clock.late_s + 1e-9).all()
    assert [frame.time_s for frame in frames] == pytest.approx(list(times))
    assert [frame.stamp_s for frame in frames] == pytest.approx(list(times))


def test_a_rate_comes_before_the_files_own_times(clock: Clock) -> None:
    frames = clock.play(Paced(Times([0, 0.5, 0.6], clock), rate=50))
    assert np.diff(captured(frames)) == pytest.approx(0.02, abs=clock.late_s)
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.02, 0.04])
    source = Paced(Times([0, 0.5, 0.6], clock, work_s=0.001), rate=0)
    assert np.diff(captured(clock.play(source))) == pytest.approx(0.001)


def test_a_loop_goes_on_counting(clock: Clock) -> None:
    source = Paced(Times([0, 0.1, 0.25], clock), loop=True)
    frames = clock.play(source, 7)
    assert [frame.index for frame in frames] == list(range(7))
    assert len({frame.name for frame in frames}) == 7
    assert len({id(frame.pixels) for frame in frames}) == 7  # nothing got stuck
    # One usual step lies between the end and the beginning.
    expected = [0, 0.1, 0.25, 0.35, 0.45, 0.6, 0.7]
    assert [frame.time_s for frame in frames] == pytest.approx(expected)
    assert captured(frames) - captured(frames)[0] == pytest.approx(expected, abs=0.01)
    assert [frame.stamp_s for frame in frames] == [0, 0.1, 0.25, 0, 0.1, 0.25, 0]
    assert (source.total, source.ends, source.is_live) == (None, True, True)


def test_frames_that_come_too_late_do_not_come_in_a_burst(clock: Clock) -> None:
    """Reading takes 2 s for each 0.1 s of the video."""
    source = Paced(Times([0.1 * i for i in range(6)], clock, work_s=2.0))
    frames = clock.play(source)
    assert np.diff(captured(frames)) == pytest.approx(2.0)
    assert source.warnings == [
        "times.avi cannot be played at its own speed here: its frames come later"
    ]
    source = Paced(Times([0.1 * i for i in range(40)], clock))
    playing = iter(source)
    source._stop.wait = clock._wait  # type: ignore[method-assign]
    next(playing)
    clock.now += 60  # whoever takes them was away
    assert np.diff(captured([next(playing) for _ in range(30)]))[1:] == pytest.approx(0.1, abs=0.01)


def test_times_that_leap(clock: Clock) -> None:
    source = Paced(Times([0, 3600, 3600.1, 5, 5.1], clock))
    frames = clock.play(source)
    assert np.diff(captured(frames)) == pytest.approx([5, 0.1, 0.1, 0.1], abs=0.01)
    assert "leap by 3600 s" in source.warnings[0]
    assert [frame.time_s for frame in frames] == [0, 3600, 3600.1, 5, 5.1]


def test_a_single_picture(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((32, 32), 7, np.uint8))
    with open_live_source(str(path)) as source:
        assert len(clock.play(source)) == 1  # type: ignore[arg-type]
        assert "comes once" in source.warnings[0]
    with open_live_source(str(path), loop=True) as source:
        frames = clock.play(source, 4)  # type: ignore[arg-type]
        assert not source.warnings
    assert np.diff(captured(frames)) == pytest.approx(0.1, abs=0.01)
    assert len({id(frame.pixels) for frame in frames}) == 4
    assert len({frame.name for frame in frames}) == 4


def test_files_of_all_kinds(
    tmp_path: Path, video: Path, dicom: Callable[..., Path], clock: Clock
) -> None:
    seen: list[str] = []
    with open_live_source(str(video), warn=seen.append) as source:
        frames = clock.play(source)  # type: ignore[arg-type]
        assert np.diff(captured(frames)) == pytest.approx(0.05, abs=0.01)
        assert (source.name, source.kind, source.total) == ("clip.avi", "video", 10)
    uneven = write_video(tmp_path / "u.avi", [np.zeros((48, 64, 3), np.uint8)] * 3, 10, [0, 1, 5])
    with open_live_source(f"path:{uneven}?loop=yes") as source:
        frames = clock.play(source, 4)  # type: ignore[arg-type]
        assert np.diff(captured(frames))[:2] == pytest.approx([0.1, 0.4], abs=0.01)
    cine = dicom(
        np.zeros((3, 48, 64), np.uint8), "cine.dcm", FrameTimeVector=[0, 100, 300], FrameTime=None
    )
    with open_live_source(str(cine)) as source:
        frames = clock.play(source)  # type: ignore[arg-type]
        assert np.diff(captured(frames)) == pytest.approx([0.1, 0.3], abs=0.01)
        assert PATIENT not in str([frames, source.describe()])
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("f1", "f2", "f10"):
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((32, 32), np.uint8))
    with open_live_source(str(folder), warn=seen.append) as source:
        frames = clock.play(source)  # type: ignore[arg-type]
        assert [frame.name for frame in frames] == ["f1", "f2", "f10"]
        assert np.diff(captured(frames)) == pytest.approx(0.04, abs=0.01)
        assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.08])
    assert seen == ["frames does not say when its frames were taken; they come at 25 / s"]


def test_what_has_no_order_in_time(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    np.save(path, np.zeros((4, 32, 32), np.uint8))
    with pytest.raises(SourceError, match=r"slices of a volume.*samedge segment"):
        open_live_source(str(path))
    with open_live_source(f"path:{path}?time=yes&rate=0") as source:
        assert len(list(source)) == 4
    with pytest.raises(SourceError, match="is live"):
        Paced(source)


def test_an_interrupt_ends_the_wait(video: Path) -> None:
    source = open_live_source(str(video), rate=0.01)
    frames = iter(source)
    next(frames)
    rest: list[Any] = []
    thread = threading.Thread(target=lambda: rest.extend(frames), daemon=True)
    thread.start()
    source.interrupt()
    thread.join(30)
    assert not thread.is_alive()
    assert rest == []
    assert list(source) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("camra:/dev/video0", "there is no 'camra:' and no such file; did you mean 'camera'"),
        ("itgl://host", "did you mean 'igtl'"),
        ("nothing.mp4", "there is no file or folder nothing.mp4"),
        ("path:CLIP?rate=-1", "rate is '-1'"),
        ("path:CLIP?rate=nan", "rate is 'nan'"),
        ("path:CLIP?rate=5000", "the rate is 5000"),
        ("path:CLIP?lop=yes", "did you mean 'loop'"),
        ("path:CLIP?window=5,1", "LOW,HIGH"),
    ],
)
def test_what_is_wrong_is_said(video: Path, text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        open_live_source(text.replace("CLIP", str(video)))


def test_every_scheme_has_its_source() -> None:
    assert {*_DEVICES, "path", "rtsp", "rtsps"} == set(SCHEMES)
    for name in _DEVICES.values():
        module, _, attribute = name.partition(":")
        assert callable(getattr(import_module(module), attribute))


def test_what_takes_no_rate(tmp_path: Path) -> None:
    for text, more, words in (
        ("igtl://host", {"rate": 5.0}, "does not take a rate"),
        ("simulator:", {"loop": True}, "does not take to be repeated"),
        ("replay:x", {"rate": 5.0}, "does not take a rate"),
        ("replay:x", {"rate": 0}, "holds no recording"),
    ):
        with pytest.raises(SourceError, match=words):
            open_live_source(text, **more)
