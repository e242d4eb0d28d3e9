"""MP4 files that browsers play: H.264 through PyAV; without it MPEG-4 through cv2."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import OutputError
from samedge.files.whole import output_error, whole_path
from samedge.sources.foreign import quiet_cv2
from samedge.sources.frame import Warn

Picture = NDArray[np.uint8]


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
        warn: told if the file will not play in a browser.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float, warn: Warn | None = None) -> None:
        self.path, self._rate = path, rate
        self._stack = ExitStack()
        self._encoder: _H264 | _Mpeg4 | None = None
        self._size: tuple[int, ...] = ()
        self._h264 = _has_h264()
        if not self._h264 and warn is not None:
            warn(
                f"{path.name} is written as MPEG-4 part 2, which browsers do not play; "
                "for H.264: pip install 'samedge[stream]'"
            )

    def __enter__(self) -> Mp4Writer:
        self._part = self._stack.enter_context(whole_path(self.path))
        return self

    def write(self, picture: Picture) -> None:
        """Append one RGB picture, uint8 `[H, W, 3]`; all must have the first one's size."""
        picture = pad_to_even(picture)
        if self._encoder is None:
            self._size = picture.shape
            make = _H264 if self._h264 else _Mpeg4
            self._encoder = make(self._part, self._rate, picture.shape[1], picture.shape[0])
        if picture.shape != self._size:
            raise OutputError(
                f"{self.path.name}: a frame of {picture.shape[1]} x {picture.shape[0]} px after "
                f"frames of {self._size[1]} x {self._size[0]} px; a video has one size"
            )
        with self._as_output_error():
            self._encoder.write(picture)

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
        if isinstance(error, (ValueError, cv2.error)):
            raise OutputError(f"cannot encode {self._path.name}: {error}") from error


def _has_h264() -> bool:
    if find_spec("av") is None:
        return False
    import av

    return "libx264" in av.codecs_available


class _H264:
    def __init__(self, path: Path, rate: float, width: int, height: int) -> None:
        import av

        self._av = av
        # The index goes to the front, so that a browser can start before it has the whole file.
        self._container: Any = av.open(
            str(path), "w", format="mp4", options={"movflags": "+faststart"}
        )
        self._stream: Any = self._container.add_stream(
            "libx264", rate=Fraction(rate).limit_denominator(1001)
        )
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"  # what every browser decodes
        # One thread: the bytes do not depend on the machine's cores.
        self._stream.codec_context.thread_count = 1
        self._stream.options = {"crf": "16", "preset": "medium"}

    def write(self, picture: Picture) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()


class _Mpeg4:
    def __init__(self, path: Path, rate: float, width: int, height: int) -> None:
        self._path = path
        with quiet_cv2():
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(path), code, rate, (width, height))
        if not self._writer.isOpened():
            raise OutputError("cv2 cannot write MP4 here; install: pip install 'samedge[stream]'")

    def write(self, picture: Picture) -> None:
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def close(self) -> None:
        self._writer.release()
        if not self._path.exists():  # cv2 does not say that a disk is full
            raise OSError(28, "the video could not be written")
