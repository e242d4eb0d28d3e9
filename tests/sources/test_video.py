"""Video files."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from samedge.errors import MissingDependencyError, SourceError
from samedge.sources.opening import open_source
from tests.sources.media import write_video


def test_frames_rate_and_time(video: Path) -> None:
    source = open_source(video)
    frames = list(source)
    assert (len(frames), source.total, source.rate, source.is_loop) == (10, 10, 20.0, True)
    assert [f.index for f in frames] == list(range(10))
    assert frames[4].time_s == pytest.approx(0.2)
    assert frames[4].pixels.shape == (48, 64, 3)
    assert abs(int(frames[4].pixels.mean()) - 105) < 4
    assert frames[4].name == "clip_00004"


def test_times_are_the_containers(tmp_path: Path) -> None:
    """Of a recording with a gap; index / rate would be wrong by up to half a second."""
    frames = [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(5)]
    path = write_video(tmp_path / "gap.mp4", frames, 10, times=[3, 4, 6, 7, 12])
    found = list(open_source(path))
    assert [f.time_s for f in found] == pytest.approx([0, 0.1, 0.3, 0.4, 0.9])
    assert np.diff([f.stamp_s or 0 for f in found]) == pytest.approx([0.1, 0.2, 0.1, 0.5])
    assert all(f.captured_s is None for f in found)


@pytest.mark.parametrize("name", ["gap.avi", "gap.mkv", "gap.mp4"])
def test_gaps_are_no_missing_frames(tmp_path: Path, name: str) -> None:
    """AVI counts the steps of its clock: 39 for these 12 frames."""
    frames = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(12)]
    steps = [0, 1, 2, 3, 13, 23, 33, 34, 35, 36, 37, 38]
    source = open_source(write_video(tmp_path / name, frames, 20, times=steps))
    found = list(source)
    assert [f.time_s for f in found] == pytest.approx([i / 20 for i in steps])
    assert source.total in (12, None)
    assert source.warnings == []


def test_a_relative_name_with_a_colon(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(list(open_source(video.rename(tmp_path / "10:30 apical.avi").name))) == 10


def test_videos_are_turned_upright(tmp_path: Path) -> None:
    """As phones write them: the matrix of the track says that it lies on its side."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :20] = 250  # the corner at the upper left
    path = write_video(tmp_path / "a.mp4", [picture] * 2, 10)
    data = bytearray(path.read_bytes())
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    at = data.index(plain, data.index(b"tkhd"))
    data[at : at + 36] = turned
    path.write_bytes(data)
    pixels = next(iter(open_source(path))).pixels
    assert pixels.shape == (64, 48, 3)
    assert pixels[:18, -14:].min() > 200  # clockwise: the upper right
    assert pixels[24:].max() < 50


def test_a_name_that_looks_like_a_protocol(tmp_path: Path, video: Path) -> None:
    path = video.rename(tmp_path / "concat:clip.avi")
    assert len(list(open_source(path))) == 10


def test_damage_in_the_middle_is_said(video: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(video.read_bytes())
    at = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"][4]
    data[at : at + 600] = bytes(600)  # head of the fifth picture
    video.write_bytes(data)
    source = open_source(video)
    frames = list(source)
    assert len(frames) == 9
    assert frames[4].time_s == pytest.approx(0.25)  # the sixth picture keeps its time
    assert any("1 pieces of it cannot be decoded" in w for w in source.warnings)
    assert capfd.readouterr() == ("", "")


def test_without_pyav(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\[stream\]"):
        open_source(video)


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


MATRICES = {  # a, b, c, d of the track's matrix -> what players show of a stored picture
    (1, 0, 0, 1): lambda p: p,
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (-1, 0, 0, -1): lambda p: np.rot90(p, 2),
    (0, -1, 1, 0): lambda p: np.rot90(p),
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).swapaxes(0, 1),
}


def with_matrix(path: Path, matrix: tuple[float, ...]) -> Path:
    """Write other turns into the first track of an MP4 file."""
    data = bytearray(path.read_bytes())
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (round(value * 65536) for value in matrix)
    at = data.index(plain, data.index(b"tkhd"))
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("matrix", MATRICES)
def test_videos_are_turned_and_mirrored(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :20], picture[30:, :8] = 250, 120
    path = write_video(tmp_path / "a.mp4", [picture] * 2, 10)
    stored = next(iter(open_source(path))).pixels
    source = open_source(with_matrix(path, matrix))
    assert np.array_equal(next(iter(source)).pixels, MATRICES[matrix](stored))
    assert source.warnings == []


def test_a_video_that_is_turned_askew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 2, 10)
    source = open_source(with_matrix(path, (0.866, 0.5, -0.5, 0.866)))
    assert next(iter(source)).pixels.shape == (48, 64, 3)
    assert source.warnings == [
        "a.mp4 is turned by no right angle; its frames were taken as they are stored"
    ]


def encoded(
    path: Path, codec: str, pixels: str, size: tuple[int, int] = (64, 48), **more: Any
) -> Path:
    """Three plain frames; `more` are attributes of the stream."""
    options = more.pop("options", {})
    with av.open(str(path), "w") as container:
        for _ in range(more.pop("streams", 1)):
            stream: Any = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            for name, value in more.items():
                setattr(stream.codec_context, name, value)
        for k in range(3):
            rgba = np.full((size[1], size[0], 4), 60 * k, np.uint8)
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pixels)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            for stream in container.streams.video:
                container.mux(stream.encode(frame))
        for stream in container.streams.video:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "more", "words"),
    [
        (
            "a.mp4",
            "libx264",
            "yuv420p",
            {"sample_aspect_ratio": Fraction(2, 1)},
            "not square (2:1)",
        ),
        ("a.mkv", "libx264", "yuv420p", {"options": {"x264-params": "tff=1"}}, "is interlaced"),
        ("a.mov", "qtrle", "argb", {}, "partly transparent"),
        ("a.mkv", "mjpeg", "yuvj420p", {"streams": 2}, "2 video streams"),
    ],
)
def test_what_a_video_does_not_show_is_said(
    tmp_path: Path, name: str, codec: str, pixels: str, more: dict[str, Any], words: str
) -> None:
    source = open_source(encoded(tmp_path / name, codec, pixels, **more))
    assert len(list(source)) == 3
    assert len(source.warnings) == 1
    assert words in source.warnings[0]


def test_full_and_limited_range(tmp_path: Path) -> None:
    """Black is 16 in the one and 0 in the other."""
    for pixels in ("yuv420p", "yuvj420p"):
        path = encoded(tmp_path / "a.mp4", "libx264", pixels, options={"crf": "0"})
        values = [int(frame.pixels.mean().round()) for frame in open_source(path)]
        assert values == pytest.approx([0, 60, 120], abs=1)


def test_joined_videos_of_two_sizes(tmp_path: Path) -> None:
    sizes = ((64, 48), (96, 48))
    parts = [encoded(tmp_path / f"{k}.ts", "libx264", "yuv420p", s) for k, s in enumerate(sizes)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = open_source(path)
    assert {frame.pixels.shape for frame in source} == {(48, 64, 3), (48, 96, 3)}
    said = " ".join(source.warnings)
    assert "not all of one size" in said
    assert "run backwards" in said


def test_titles_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "xyzzy"
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuvj420p")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"xyzzy", "Föhr!".encode("latin-1")))
    assert len(list(open_source(path))) == 1
