"""Cameras. There is none here: what reads them is tested on FFmpeg's own test pictures and on
pipes, and what a driver may answer by the error that it would give."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from samedge.errors import NotSupportedError, SourceError
from samedge.sources.devices import camera
from samedge.sources.devices.av_feed import AvSource, Input
from samedge.sources.devices.camera import CameraSource, devices, explain, waiter
from samedge.sources.frame import Frame
from samedge.sources.live_opening import open_live_source

NULL = Path("/dev/null")  # a device that is no camera


def grabber(pattern: str, **limits: float) -> AvSource:
    """What FFmpeg draws, as it would come from a device."""
    return AvSource("camera:test", "test", Input(pattern, "lavfi", **limits))


def test_frames_come_with_their_times() -> None:
    with grabber("testsrc2=size=128x96:rate=30") as source:
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == 5:
                break
        assert [frame.index for frame in frames] == list(range(5))
        assert {frame.pixels.shape for frame in frames} == {(96, 128, 3)}
        assert np.diff([frame.stamp_s or 0 for frame in frames]) == pytest.approx(1 / 30, abs=1e-3)
        captured = [frame.captured_s or 0 for frame in frames]
        assert captured == sorted(captured)
        assert (source.is_live, source.ends, source.rate, source.total) == (True, False, 30, None)
        # It is opened anew, and its frames go on counting.
        assert next(iter(source)).index == 5


def test_a_grey_device_gives_grey_frames() -> None:
    with grabber("testsrc2=size=64x48:rate=30,format=gray") as source:
        assert next(iter(source)).pixels.shape == (48, 64)


def test_what_is_no_frame_is_refused() -> None:
    with grabber("testsrc2=size=8x8:rate=30") as small, pytest.raises(SourceError, match="8 x 8"):
        next(iter(small))
    with grabber("sine") as sound, pytest.raises(SourceError, match="sends no video"):
        next(iter(sound))
    with grabber("testsrc2=duration=0.1") as short, pytest.raises(SourceError, match="test: it"):
        list(short)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    yield path
    # Whoever still waits for a writer gets one.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def jpegs(count: int) -> bytes:
    pictures = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(count)]
    return b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)


def test_a_device_that_falls_silent_and_one_that_is_unplugged(pipe: Path) -> None:
    """FFmpeg waits in the operating system here, without an end."""
    given = Input(str(pipe), "mjpeg", open_s=5.0, silent_s=0.8, explain=lambda _: "gone")
    source = AvSource("camera:pipe", "pipe", given)
    frames = iter(source)
    got = []

    def read() -> None:
        try:
            for frame in frames:
                got.append(frame)
        except SourceError as error:
            got.append(error)

    for ending in ("has sent no picture for 0.", "camera:pipe: gone"):
        got, frames = [], iter(source)
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        with pipe.open("wb", buffering=0) as file:
            file.write(jpegs(8) * 100)  # FFmpeg reads some to begin with
            if "sent" in ending:
                thread.join(30)
        thread.join(30)
        assert not thread.is_alive()
        assert ending in str(got[-1])
        assert len(got) > 2


@pytest.mark.parametrize("damaged", ["one", "all"])
def test_pictures_of_which_a_part_is_missing(pipe: Path, damaged: str) -> None:
    """They are left out: half of a picture would be grey. Unless a camera sends nothing else."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    half = whole[: len(whole) // 2] + b"\xff\xd9"
    sent = half * 200 if damaged == "all" else whole * 20 + half + whole * 179
    source = AvSource("camera:pipe", "pipe", Input(str(pipe), "mjpeg", open_s=5.0))

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
            file.write(sent)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    frames: list[Frame] = []
    with pytest.raises(SourceError):  # the pipe's end
        frames.extend(source)
    thread.join(30)
    assert len(source.warnings) == 1
    if damaged == "one":
        assert source.warnings == ["camera:pipe: frames that came damaged are left out"]
        assert len(frames) == 199
        assert np.ptp([frame.pixels for frame in frames], axis=0).max() == 0
    else:
        assert "format=yuyv422" in source.warnings[0]
        assert len(frames) >= 150


def test_an_interrupt_ends_a_wait_without_an_end(pipe: Path) -> None:
    """Nobody writes into the pipe: opening it hangs."""
    source = AvSource("camera:pipe", "pipe", Input(str(pipe), "mjpeg", open_s=60.0))
    ended = threading.Event()

    def read() -> None:
        assert list(source) == []
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + 5
    while source._feed is None and time.monotonic() < deadline:
        time.sleep(0.001)
    source.interrupt()
    assert ended.wait(30)


def test_waiting_for_a_driver(pipe: Path) -> None:
    """Nothing waits in the driver: not for a frame, not for ever."""
    handle = os.open(pipe, os.O_RDWR)
    wait, stop = waiter(pipe), threading.Event()
    assert wait is not None
    with pytest.raises(TimeoutError):
        wait(stop, 0.2)
    os.write(handle, b"x")
    wait(stop, 0.2)
    os.read(handle, 1)
    stop.set()
    wait(stop, 60)
    os.close(handle)
    assert waiter(pipe) is None  # nobody has it open


def test_a_device_that_is_gone(pipe: Path) -> None:
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    wait = waiter(pipe)
    os.close(os.open(pipe, os.O_WRONLY))
    assert wait is not None
    with pytest.raises(OSError, match="No such device"):
        wait(threading.Event(), 5)
    os.close(reader)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "usermod -aG video"),
        (errno.EBUSY, "another program uses it"),
        (errno.EINVAL, "--list-formats-ext"),
        (errno.ENODEV, "unplugged"),
        (errno.EDOM, r"cannot be read \(OSError\)"),
    ],
)
def test_what_a_driver_answers(number: int, words: str) -> None:
    error = OSError(number, os.strerror(number))
    error.errno = number
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(explain(error, NULL))


def test_a_wrong_name_lists_the_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in ((10, "Grabber"), (2, "Webcam\n")):
        (tmp_path / f"video{number}").mkdir()
        (tmp_path / f"video{number}" / "name").write_text(name)
    assert devices(tmp_path) == "Cameras here: /dev/video2 (Webcam), /dev/video10 (Grabber)"
    assert devices(tmp_path / "none") == "There is no camera on this machine"
    monkeypatch.setattr(camera, "devices", lambda: "Cameras here: one")
    with pytest.raises(SourceError, match=r"no device /dev/video199.*Cameras here: one"):
        next(iter(CameraSource("199")))
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="is no device"):
        next(iter(CameraSource(str(tmp_path / "file"))))
    with pytest.raises(SourceError, match="no camera"):
        next(iter(CameraSource(str(NULL))))


def test_names() -> None:
    source = open_live_source("camera:0?size=1280x720&format=mjpeg&timeout=0.5", rate=30)
    assert isinstance(source, CameraSource)
    assert (source.name, source.stem) == ("camera:video0", "video0")
    assert source._given.url == "/dev/video0"
    assert source._given.silent_s == 0.5
    assert source._given.options == {
        "fflags": "nobuffer",
        "video_size": "1280x720",
        "framerate": "30",
        "input_format": "mjpeg",
    }
    assert open_live_source("camera:1?fps=60", rate=30)._given.options["framerate"] == "60"  # type: ignore[attr-defined]
    for text, words in (
        ("camera:", "which camera"),
        ("camera:0?size=1280", "WIDTHxHEIGHT"),
        ("camera:0?size=8x8", "WIDTHxHEIGHT"),
        ("camera:0?format=M-JPEG", "FFmpeg's names"),
        ("camera:0?fps=0", "frames per second"),
        ("camera:0?sizes=1x1", "did you mean 'size'"),
    ):
        with pytest.raises(SourceError, match=words):
            open_live_source(text)
    with pytest.raises(SourceError, match="does not take to be repeated"):
        open_live_source("camera:0", loop=True)


def test_an_ffmpeg_without_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(av, "formats_available", {"mp4"})
    with pytest.raises(NotSupportedError, match="Video4Linux"):
        CameraSource("0")
