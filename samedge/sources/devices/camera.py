"""Cameras and video grabbers (UVC and others, through Video4Linux), read by PyAV."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
import struct
import sys
import threading
from pathlib import Path

from samedge._optional import require
from samedge.errors import NotSupportedError, SourceError
from samedge.files.limits import FRAME_SIDE
from samedge.geometry.frame_geometry import MIN_SIDE
from samedge.sources.devices.av_feed import AvSource, Decoded, Input, Ready
from samedge.sources.frame import Frame, Warn
from samedge.sources.uri import Uri, positive

if sys.platform == "linux":
    import fcntl

_OPTIONS = ("size", "fps", "format", "timeout")
_FORMAT = re.compile(r"[a-z0-9_]{1,20}")
_DEVICES = Path("/sys/class/video4linux")
_FDS = Path("/proc/self/fd")
_TICK_MS = 100
_STREAMOFF, _CAPTURE = 0x40045613, 1  # VIDIOC_STREAMOFF, V4L2_BUF_TYPE_VIDEO_CAPTURE
_SILENT_S = 2.0


class CameraSource(AvSource):
    """A camera or a video grabber.

    Frames carry the driver's time stamp as `stamp_s`: seconds of the clock that the driver uses.

    Args:
        device: `/dev/video0`, or a link to it (`/dev/v4l/by-id/...`, which stays the same when it
            is plugged in again), or its number.
        size: (width, height) in px; None: what it has now.
        rate: frames per second; None: what it has now.
        pixel_format: FFmpeg's name of what it sends: "mjpeg", "yuyv422", "gray". None: its first.
        timeout_s: without a frame for so long it is lost.
        warn: told what is not as expected.

    Raises:
        MissingDependencyError: PyAV is not installed.
        NotSupportedError: this machine's FFmpeg has no Video4Linux.
        SourceError: the name or a size cannot be. Iterating says what is wrong with the device.
    """

    def __init__(
        self,
        device: str,
        *,
        size: tuple[int, int] | None = None,
        rate: float | None = None,
        pixel_format: str | None = None,
        timeout_s: float = _SILENT_S,
        warn: Warn | None = None,
    ) -> None:
        av = require("av", "stream", "reading cameras")
        if not any("v4l2" in name.split(",") for name in av.formats_available):
            raise NotSupportedError(
                "cameras are read through Video4Linux, which is not in this machine's PyAV: it is "
                "there on Linux, in the package of the index"
            )
        self._path = Path(f"/dev/video{device}" if device.isdecimal() else device)
        self._wanted = size
        # What was read to look at the stream is old, and would stay ahead of all that follows.
        options = {"fflags": "nobuffer"}
        if size is not None:
            options["video_size"] = f"{size[0]}x{size[1]}"
        if rate is not None:
            options["framerate"] = f"{rate:g}"
        if pixel_format is not None:
            if not _FORMAT.fullmatch(pixel_format):
                raise SourceError(
                    f"camera:{self._path.name}: format is '{pixel_format}'; expected one of "
                    "FFmpeg's names, mjpeg or yuyv422 for instance"
                )
            options["input_format"] = pixel_format
        given = Input(
            str(self._path),
            "v4l2",
            options,
            silent_s=timeout_s,
            explain=self._explain,
            ready=self._ready,
            unblock=self._unblock,
        )
        super().__init__(f"camera:{self._path.name}", self._path.name, given, warn)

    def _frame(self, got: Decoded) -> Frame:
        frame = super()._frame(got)
        if self._wanted not in (None, (frame.width, frame.height)):
            assert self._wanted is not None
            self.warn(
                f"{self.name} does not send {self._wanted[0]} x {self._wanted[1]} px, but "
                f"{frame.width} x {frame.height}; v4l2-ctl --list-formats-ext shows what it can"
            )
        return frame

    def _explain(self, error: Exception) -> str:
        return explain(error, self._path)

    def _ready(self) -> Ready | None:
        return waiter(self._path)

    def _unblock(self) -> None:
        """FFmpeg opens a device by reading a frame. Where none comes, its thread would keep the
        device: without the stream the driver lets it go."""
        handle = _handle_of(self._path)
        if handle is not None:
            with contextlib.suppress(OSError):
                fcntl.ioctl(handle, _STREAMOFF, struct.pack("i", _CAPTURE))


def open_camera(uri: Uri, warn: Warn | None = None) -> CameraSource:
    """The camera of `camera:DEVICE?size=1280x720&fps=30&format=mjpeg&timeout=2`.

    Raises:
        SourceError: it has not these options, or a value cannot be.
        MissingDependencyError, NotSupportedError: as `CameraSource`.
    """
    uri.check_options(_OPTIONS)
    if not uri.where:
        raise SourceError(
            f"{uri.text}: which camera? Expected camera:/dev/video0 or camera:0. {devices()}"
        )
    return CameraSource(
        uri.where,
        size=uri.take("size", _size, None, "WIDTHxHEIGHT in px, 1280x720 for instance"),
        rate=uri.take("fps", positive, None, "frames per second"),
        pixel_format=uri.take("format", str, None, "a pixel format"),
        timeout_s=uri.take("timeout", positive, _SILENT_S, "seconds above 0"),
        warn=warn,
    )


def _size(text: str) -> tuple[int, int]:
    width, height = (int(part) for part in text.lower().split("x"))
    if not all(MIN_SIDE <= side <= FRAME_SIDE.most for side in (width, height)):
        raise ValueError(text)
    return width, height


def devices(folder: Path = _DEVICES) -> str:
    """A sentence that names the cameras of this machine."""
    found = []
    for path in sorted(folder.glob("video*"), key=lambda p: (len(p.name), p.name)):
        try:
            title = (path / "name").read_text(errors="replace").strip()
        except OSError:
            title = "?"
        found.append(f"/dev/{path.name} ({title})")
    return f"Cameras here: {', '.join(found)}" if found else "There is no camera on this machine"


def explain(error: Exception, path: Path) -> str:
    """What an error of FFmpeg's means for a camera, and what to do."""
    number = getattr(error, "errno", None)
    try:
        is_device = stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return f"there is no device {path}, or it is unplugged. {devices()}"
    if not is_device:
        return f"{path} is no device. {devices()}"
    if number in (errno.EACCES, errno.EPERM):
        return (
            "there is no permission to read it: add yourself to its group (sudo usermod -aG video "
            "$USER) and log in again"
        )
    if number == errno.EBUSY:
        return f"another program uses it: close that one (fuser -v {path} says which)"
    if number in (errno.EINVAL, errno.ENOTTY):
        return (
            "it does not take this size, rate or format, or is no camera; v4l2-ctl -d "
            f"{path} --list-formats-ext shows what it can. {devices()}"
        )
    if number in (errno.ENODEV, errno.ENXIO, errno.EIO) or isinstance(error, EOFError):
        return "it is unplugged or does not answer any more"
    return f"it cannot be read ({type(error).__name__})"


def waiter(path: Path) -> Ready | None:
    """Waits for frames of an open device: FFmpeg would wait inside the driver, without an end where
    a grabber has no signal.

    Args:
        path: of the device, which this process has opened.

    Returns:
        None where its handle cannot be found.
    """
    handle = _handle_of(path)
    if handle is None:
        return None
    poll = select.poll()
    poll.register(handle, select.POLLIN)

    def wait(stopped: threading.Event, limit_s: float) -> None:
        for _ in range(max(round(limit_s * 1000 / _TICK_MS), 1)):
            for _, event in poll.poll(_TICK_MS):
                if event & select.POLLIN:
                    return
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            if stopped.is_set():
                return
        raise TimeoutError

    return wait


def _handle_of(path: Path) -> int | None:
    """The newest handle of this process to a file."""
    try:
        target = os.stat(path)
        handles = sorted((int(p.name) for p in _FDS.iterdir()), reverse=True)
    except (OSError, ValueError):
        return None
    for handle in handles:
        try:
            if os.path.samestat(os.fstat(handle), target):
                return handle
        except OSError:  # it was that of the folder's own list
            continue
    return None
