"""Video files."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.errors import SourceError
from samedge.sources.opening import open_source


def test_frames_rate_and_time(video: Path) -> None:
    source = open_source(video)
    frames = list(source)
    assert (len(frames), source.total, source.rate, source.is_loop) == (10, 10, 20.0, True)
    assert [f.index for f in frames] == list(range(10))
    assert frames[4].time_s == pytest.approx(0.2)
    assert frames[4].pixels.shape == (48, 64, 3)
    assert abs(int(frames[4].pixels.mean()) - 105) < 4
    assert frames[4].name == "clip_00004"


def test_it_can_be_read_twice(video: Path) -> None:
    source = open_source(video)
    assert len(list(source)) == len(list(source)) == 10


def test_truncated(video: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 4 // 5])
    source = open_source(video)
    assert 0 < len(list(source)) < 10
    assert "can be decoded" in source.warnings[-1]
    assert capfd.readouterr() == ("", "")


def test_not_a_video_after_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(500))
    with pytest.raises(SourceError, match=r"x\.mp4 looks like a video"):
        open_source(path)
    assert capfd.readouterr() == ("", "")
