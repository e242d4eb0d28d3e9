"""MP4 files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from samedge.errors import NotSupportedError, OutputError
from samedge.stream.sinks.mp4 import Mp4Writer, pad_to_even


def write_video(path: Path, pictures: Iterable[np.ndarray]) -> None:
    with Mp4Writer(path, 25) as writer:
        for picture in pictures:
            writer.write(picture)


def test_odd_sides_are_padded() -> None:
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    padded = pad_to_even(picture)
    assert padded.shape == (6, 8, 3)
    assert (padded[:5, :7] == picture).all()
    assert (padded[5, :7] == picture[4]).all()


def test_mp4_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with Mp4Writer(path, 29.97) as writer:
        for i in range(6):
            writer.write(np.full((65, 33, 3), (200, 40 * i, 0), np.uint8))
    assert os.listdir(tmp_path) == ["a.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.format.name) == ("h264", "yuv420p")
        assert float(stream.average_rate or 0) == pytest.approx(29.97, abs=0.02)
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    assert len(frames) == 6
    assert frames[0].shape == (66, 34, 3)
    assert abs(int(frames[3][30, 16, 0]) - 200) < 25
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser can start at once


def test_frames_are_shown_when_they_were_taken(tmp_path: Path) -> None:
    """A time that does not follow the one before is one step later."""
    path = tmp_path / "a.mp4"
    with Mp4Writer(path, 10) as writer:
        for time_s in (0.0, 0.1, 0.65, 1.15, 0.3, None, 2.0):
            writer.write(np.zeros((32, 32, 3), np.uint8), time_s)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [frame.time for frame in container.decode(stream)]
    assert found == pytest.approx([0.0, 0.1, 0.65, 1.15, 1.25, 1.35, 2.0])


def test_a_name_that_looks_like_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("tcp:a.mp4"), [np.zeros((32, 32, 3), np.uint8)])
    assert os.listdir(tmp_path) == ["tcp:a.mp4"]


def test_an_error_inside_leaves_no_video(tmp_path: Path) -> None:
    def pictures() -> Iterator[np.ndarray]:
        yield np.zeros((32, 32, 3), np.uint8)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_video(tmp_path / "a.mp4", pictures())
    assert os.listdir(tmp_path) == []


def test_a_video_has_one_size_and_at_least_one_frame(tmp_path: Path) -> None:
    pictures = [np.zeros((height, 32, 3), np.uint8) for height in (32, 34)]
    with pytest.raises(OutputError, match="one size"):
        write_video(tmp_path / "a.mp4", pictures)
    with pytest.raises(OutputError, match="no frame"):
        write_video(tmp_path / "b.mp4", [])
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_under_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = av.open
    monkeypatch.setattr(av, "open", lambda _file, *a, **k: real("/dev/full", *a, **k))
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    with pytest.raises(OutputError, match=r"a\.mp4"):
        write_video(tmp_path / "a.mp4", [noise] * 40)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("missing", ["package", "encoder"])
def test_nothing_worse_is_written_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "package":
        monkeypatch.setitem(sys.modules, "av", None)
    else:
        monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(NotSupportedError, match=r"a\.mp4 needs .*pip install"):
        Mp4Writer(tmp_path / "a.mp4", 25)
