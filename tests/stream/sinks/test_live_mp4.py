"""Recordings of live streams as MP4."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from samedge.errors import OutputError
from samedge.stream.live.states import State
from samedge.stream.sinks import recording
from samedge.stream.sinks.live_mp4 import Mp4Sink
from samedge.stream.sinks.opening import open_sink
from tests.stream.sinks.live_items import STEP_S, about, item, picture


def frames_of(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times and pictures of a video."""
    times, pictures = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            times.append(frame.time)
            pictures.append(frame.to_ndarray(format="rgb24"))
    return times, pictures


def record(sink: Mp4Sink, items: object) -> Mp4Sink:
    sink.open(about())
    for one in items:  # type: ignore[attr-defined]
        sink.write(one)
    sink.close(None)
    return sink


def test_frames_with_masks_at_their_own_times(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    sink = record(Mp4Sink(path), map(item, [0, 1, 2, 10, 11]))
    assert os.listdir(tmp_path) == ["a.mp4"]
    times, pictures = frames_of(path)
    assert times == pytest.approx([i * STEP_S for i in (0, 1, 2, 10, 11)], abs=1e-4)
    frame = pictures[3][: 4 * 64 : 4, : 4 * 96 : 4].astype(int)  # enlarged four times
    plain = picture(10).astype(int)
    assert np.abs(frame[:, 40:] - plain[:, 40:]).mean() < 8
    inside = frame[26:34, 16:24] - plain[26:34, 16:24]
    assert inside[..., 2].mean() > inside[..., 0].mean() + 15  # the first colour is a blue
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.frames == 5  # a usual MP4 file, which knows how many it has
        assert (stream.codec_context.name, stream.format.name) == ("h264", "yuv420p")
    assert sink.describe() == {"kind": "mp4", "files": ["a.mp4"], "frames": 5, "recovered": []}


def test_a_state_that_changes_on_a_picture_that_stays(tmp_path: Path) -> None:
    first = item(0)
    again = item(0, frame=first.frame, is_new=False, objects=(), states=frozenset({State.LATE}))
    record(Mp4Sink(tmp_path / "a.mp4"), [first, again, item(1)])
    times, pictures = frames_of(tmp_path / "a.mp4")
    assert times == pytest.approx([0, 0.02, STEP_S], abs=1e-4)
    band = [one[4 * 64 + 4, 4:380].mean(axis=0) for one in pictures]
    assert band[1][0] > 200 > 100 > band[0][0]  # nobody overlooks it
    assert pictures[1].shape == pictures[0].shape


def test_another_size_begins_another_file(tmp_path: Path) -> None:
    (tmp_path / "a-2.mp4").touch()  # is somebody's
    small = [item(i, pixels=picture(i, (49, 63))) for i in (2, 3)]
    sink = record(Mp4Sink(tmp_path / "a.mp4"), [item(0), item(1), *small, item(4)])
    assert [path.name for path in sink.files] == ["a.mp4", "a-3.mp4", "a-4.mp4"]
    assert [len(frames_of(path)[0]) for path in sink.files] == [2, 2, 1]
    assert frames_of(sink.files[1])[0][0] == 0
    assert (tmp_path / "a-2.mp4").read_bytes() == b""


def test_recording_by_request(tmp_path: Path) -> None:
    sink = open_sink(f"mp4:{tmp_path}/a.mp4?record=request")
    assert isinstance(sink, Mp4Sink)
    sink.open(about())
    for index in range(12):
        if index % 3 == 0:
            sink.record(index % 2 == 1)  # 3 to 5, and 9 to 11
        sink.write(item(index))
    sink.close(RuntimeError("the stream ended so"))
    assert [path.name for path in sink.files] == ["a.mp4", "a-2.mp4"]
    assert [len(frames_of(path)[0]) for path in sink.files] == [3, 3]


def test_nothing_was_recorded(tmp_path: Path) -> None:
    record(Mp4Sink(tmp_path / "a.mp4"), [])
    record(Mp4Sink(tmp_path / "b.mp4", by_request=True), [item(0)])
    assert os.listdir(tmp_path) == []


def test_time_that_stands_still_or_runs_backwards(tmp_path: Path) -> None:
    record(Mp4Sink(tmp_path / "a.mp4"), map(item, [5, 5, 3, 6]))
    times, _ = frames_of(tmp_path / "a.mp4")
    assert len(times) == 4
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.avi", "ends in .mp4"), ("taken.mp4", "replaces nothing"), ("no/a.mp4", "no folder")],
)
def test_names_that_cannot_be(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "taken.mp4").touch()
    with pytest.raises(OutputError, match=words):
        Mp4Sink(tmp_path / name).open(about())
    assert os.listdir(tmp_path) == ["taken.mp4"]


def noise(count: int) -> list:
    """Frames that take room: 30 are a second."""
    rng = np.random.default_rng(0)
    return [
        item(i, pixels=rng.integers(0, 255, (48, 320, 3)).astype(np.uint8)) for i in range(count)
    ]


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """`after` bytes are left, and then none; what is there already can be written over."""
    real, left = os.write, [after]

    def write(handle: int, data: memoryview) -> int:
        place = os.lseek(handle, 0, os.SEEK_CUR)
        if place + len(data) <= os.fstat(handle).st_size:
            return real(handle, data)
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(handle, data[: left[0]])
        left[0] -= count
        return count

    monkeypatch.setattr(recording.os, "write", write)


@pytest.mark.parametrize("by", ["write", "close"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """What was recorded until then can be played; also where it is found at the end."""
    whole = record(Mp4Sink(tmp_path / "whole.mp4"), noise(100)).files[0].stat().st_size
    fill_disk(monkeypatch, whole * 2 // 3 if by == "write" else whole - 100)
    sink = Mp4Sink(tmp_path / "a.mp4")
    sink.open(about())

    def run() -> None:
        for one in noise(100):
            sink.write(one)
        assert by == "close"
        sink.close(None)

    with pytest.raises(OutputError, match=r"no space left for a\.mp4.*until then is in a\.mp4"):
        run()
    sink.close(None)  # the stream does that in any case
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "whole.mp4"]
    assert [path.name for path in sink.files] == ["a.mp4"]
    times, _ = frames_of(tmp_path / "a.mp4")
    assert len(times) >= (30 if by == "write" else 60)
    assert np.diff(times) == pytest.approx(STEP_S, abs=1e-4)


def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, 0)
    sink = Mp4Sink(tmp_path / "a.mp4")
    sink.open(about())
    with pytest.raises(OutputError, match="nothing was written"):
        any(map(sink.write, noise(100)))
    sink.close(None)
    assert os.listdir(tmp_path) == []


_KILLED = """
import sys
from pathlib import Path
from samedge.stream.sinks.live_mp4 import Mp4Sink
from tests.stream.sinks.live_items import about
from tests.stream.sinks.test_live_mp4 import noise
sink = Mp4Sink(Path(sys.argv[1]))
sink.open(about())
for one in noise(100):
    sink.write(one)
print("here", flush=True)
sys.stdin.read()
"""


def test_a_killed_process(tmp_path: Path) -> None:
    """The next recording finds what it left, and keeps it."""
    path = tmp_path / "a.mp4"
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        # While somebody writes it, nobody takes it away.
        assert recording.recover(path) == []
        process.send_signal(signal.SIGKILL)
    assert os.listdir(tmp_path) == [".a.part.mp4"]
    sink = record(Mp4Sink(path), map(item, range(3)))
    assert sink.recovered == ["a-cut.mp4"]
    assert sorted(os.listdir(tmp_path)) == ["a-cut.mp4", "a.mp4"]
    assert len(frames_of(tmp_path / "a-cut.mp4")[0]) >= 60
    assert len(frames_of(path)[0]) == 3


@pytest.mark.parametrize(
    "start",
    [
        b"",
        bytes(3000),
        b"\0\0\0\x08ftyp\0\0\0\x08moof",
        b"\0\0\0\x08ftyp\0\0\1\0mdat",
        b"\0\0\0\x01mdat" + bytes(7) + b"\xff",
    ],
)
def test_without_a_whole_fragment_nothing_is_kept(tmp_path: Path, start: bytes) -> None:
    draft = tmp_path / ".a.part.mp4"
    draft.write_bytes(start)
    assert recording.recover(tmp_path / "a.mp4") == []
    assert os.listdir(tmp_path) == []


def test_others_drafts_stay(tmp_path: Path) -> None:
    for name in (".b.part.mp4", ".ab.part.mp4", ".a-x.part.mp4", ".a.part.png"):
        (tmp_path / name).write_bytes(b"\0\0\0\x08mdat")
    assert recording.recover(tmp_path / "a.mp4") == []
    assert len(os.listdir(tmp_path)) == 4
    (tmp_path / ".a-2.part.mp4").write_bytes(b"\0\0\0\x08mdat")
    assert [path.name for path in recording.recover(tmp_path / "a.mp4")] == ["a-cut.mp4"]


def test_grey_and_deep_frames(tmp_path: Path) -> None:
    deep = (picture(0, channels=1).astype(np.uint16)) * 257
    items = [item(0, pixels=picture(0, channels=1)), item(1, pixels=deep)]
    record(Mp4Sink(tmp_path / "a.mp4"), items)
    _, pictures = frames_of(tmp_path / "a.mp4")
    assert np.abs(pictures[0][:256].astype(int) - pictures[1][:256]).mean() < 2
