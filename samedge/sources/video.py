"""Video files, decoded frame by frame with the FFmpeg inside cv2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from samedge.errors import SourceError
from samedge.sources.foreign import quiet_cv2
from samedge.sources.frame import Frame, Source, Warn, check_size

DEFAULT_RATE = 25.0


class VideoSource(Source):
    """A video file; frames are RGB, turned upright by the file's rotation mark.

    Raises:
        SourceError: the file cannot be decoded, or its frames are too small or too large.
    """

    kind = "video"
    is_loop = True

    def __init__(self, path: Path, warn: Warn | None = None) -> None:
        super().__init__(path.name, warn)
        self._path = path
        self.total = None
        capture = self._open()
        rate = float(capture.get(cv2.CAP_PROP_FPS))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        self.total = frames if 0 < frames < 10_000_000 else None
        if 0 < rate <= 1000:
            self.rate = rate
        else:
            self.warn(f"{self.name} does not say its frame rate; {DEFAULT_RATE:g} / s is assumed")
            self.rate = DEFAULT_RATE

    def _open(self) -> cv2.VideoCapture:
        with quiet_cv2():
            try:
                capture = cv2.VideoCapture(str(self._path), _backend())
            except cv2.error:
                capture = cv2.VideoCapture()
        if not capture.isOpened():
            raise SourceError(
                f"{self.name} looks like a video, but cannot be decoded: it is damaged or its "
                "codec is unknown here. Convert it, for instance to MP4 with H.264."
            )
        return capture

    def __iter__(self) -> Iterator[Frame]:
        capture = self._open()
        index = 0
        try:
            while True:
                with quiet_cv2():
                    try:
                        good, picture = capture.read()
                    except cv2.error:
                        good, picture = False, None
                if not good or picture is None:
                    break
                yield self._frame(picture, index)
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise SourceError(f"{self.name} holds no frame that can be decoded")
        if self.total is not None and index < self.total:
            self.warn(f"{self.name} promises {self.total} frames, but only {index} can be decoded")

    def _frame(self, picture: np.ndarray, index: int) -> Frame:
        check_size(self.name, picture.shape[0], picture.shape[1])
        if picture.ndim == 2:
            pixels = np.asarray(picture, np.uint8)
        else:
            pixels = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        assert self.rate is not None
        stem = f"{self._path.stem}_{index:05d}"
        return Frame(pixels, index, index / self.rate, self.name, stem)


def _backend() -> int:
    """FFmpeg alone where cv2 has it: the others print on damaged files and guess at names."""
    has_ffmpeg = cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG)
    return cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY
