"""MP4 files that browsers play: H.264, encoded by PyAV."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import NotSupportedError, OutputError
from samedge.files.whole import output_error, whole_path

Picture = NDArray[np.uint8]

ENCODER: Final = "libx264"
TIME_BASE: Final = 90_000  # steps of the clock per second, as broadcasting has it


def pad_to_even(picture: Picture) -> Picture:
    """Repeat the last row and column where needed: 4:2:0 video has even sides."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class Mp4Writer:
    """Writes RGB pictures of one size; the file appears under its name when it is complete.

    Use it in a `with` block: an exception inside leaves no file behind.

    Args:
        path: of the file to write; an older one is replaced.
        rate: frames per second.

    Raises:
        NotSupportedError: no encoder for H.264 is here; with the remedy.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float) -> None:
        check_h264(path.name)
        self.path, self._rate = path, rate
        self._stack = ExitStack()
        self._encoder: _H264 | None = None
        self._size: tuple[int, ...] = ()

    def __enter__(self) -> Mp4Writer:
        self._part = self._stack.enter_context(whole_path(self.path))
        return self

    def write(self, picture: Picture, time_s: float | None = None) -> None:
        """Append one RGB picture.

        Args:
            picture: uint8 `[H, W, 3]`; all must have the first one's size.
            time_s: when it is shown; None, or not after the one before: one step of `rate` later.
        """
        picture = pad_to_even(picture)
        if self._encoder is None:
            self._size = picture.shape
            self._encoder = _H264(self._part, self._rate, picture.shape[1], picture.shape[0])
        if picture.shape != self._size:
            raise OutputError(
                f"{self.path.name}: a frame of {picture.shape[1]} x {picture.shape[0]} px after "
                f"frames of {self._size[1]} x {self._size[0]} px; a video has one size"
            )
        with self._as_output_error():
            self._encoder.write(picture, time_s)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._encoder is not None:
                with self._as_output_error():
                    self._encoder.close()
            elif error is None:
                raise OutputError(f"{self.path.name}: there was no frame to write")
        except OutputError as problem:
            self._stack.__exit__(type(problem), problem, None)
            if error is None:
                raise
            return  # the first error is the one to show
        self._stack.__exit__(kind, error, traceback)

    def _as_output_error(self) -> _Translate:
        return _Translate(self.path)


class _Translate:
    """PyAV raises subclasses of OSError for a full disk and of ValueError for the rest."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise output_error(error, self._path) from error
        if isinstance(error, ValueError):
            raise OutputError(f"cannot encode {self._path.name}: {error}") from error


def check_h264(name: str) -> None:
    """Refuse to write anything else: browsers do not play MPEG-4 part 2, and nobody would know.

    Raises:
        MissingDependencyError: PyAV is not installed.
        NotSupportedError: its FFmpeg has no encoder for H.264.
    """
    av = require("av", "stream", f"writing {name}")
    if ENCODER not in av.codecs_available:
        raise NotSupportedError(
            f"{name} needs an encoder for H.264 ({ENCODER}), which this PyAV was built without; "
            "install the one of the package index: pip install --force-reinstall av"
        )


class _H264:
    def __init__(self, path: Path, rate: float, width: int, height: int) -> None:
        import av

        self._av = av
        # The index goes to the front, so that a browser can start before it has the whole file.
        self._container: Any = av.open(
            f"file:{path}", "w", format="mp4", options={"movflags": "+faststart"}
        )
        self._stream: Any = self._container.add_stream(
            ENCODER, rate=Fraction(rate).limit_denominator(1001)
        )
        self._stream.width, self._stream.height = width, height
        self._step, self._next = max(round(TIME_BASE / rate), 1), 0
        self._last: int | None = None
        self._stream.codec_context.time_base = Fraction(1, TIME_BASE)
        self._stream.pix_fmt = "yuv420p"  # what every browser decodes
        # One thread: the bytes do not depend on the machine's cores.
        self._stream.codec_context.thread_count = 1
        self._stream.options = {"crf": "16", "preset": "medium"}

    def write(self, picture: Picture, time_s: float | None) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.time_base, frame.duration = Fraction(1, TIME_BASE), self._step
        stamp = self._next if time_s is None else round(time_s * TIME_BASE)
        if self._last is not None and stamp <= self._last:
            stamp = self._next
        frame.pts, self._last, self._next = stamp, stamp, stamp + self._step
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
