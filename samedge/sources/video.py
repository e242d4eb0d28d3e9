"""Video files, decoded frame by frame by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samedge._optional import require
from samedge.errors import SourceError
from samedge.sources.frame import Frame, Source, Warn, check_size

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

DEFAULT_RATE = 25.0
MAX_RATE = 1000.0
MAX_FRAMES = 10_000_000  # what promises more is damaged


class VideoSource(Source):
    """A video file; frames are RGB, turned upright by the file's rotation mark.

    Frames carry the times that the container gives them, also where those are not even. Where it
    gives none, frames follow each other at the file's rate.

    Raises:
        MissingDependencyError: PyAV is not installed.
        SourceError: the file cannot be decoded, or its frames are too small or too large.
    """

    kind = "video"
    is_loop = True

    def __init__(self, path: Path, warn: Warn | None = None) -> None:
        super().__init__(path.name, warn)
        require("av", "stream", "reading video files")
        self._path = path
        with self._open() as (container, stream):
            frames, rate = stream.frames, stream.average_rate or stream.guessed_rate
            # AVI counts steps of its clock, also those in which there is no frame.
            steps = frames if container.format.name == "avi" else 0
            if steps:
                frames = sum(bool(packet.size) for packet in self._packets(container, stream))
        self.total = frames if 0 < frames < MAX_FRAMES else None
        if rate is not None and 0 < rate <= MAX_RATE:
            self.rate = float(rate)
        else:
            self.warn(f"{self.name} does not say its frame rate; {DEFAULT_RATE:g} / s is assumed")
            self.rate = DEFAULT_RATE
        self._lasts_s = steps / self.rate

    @contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        import av

        try:
            # Named as a file: FFmpeg takes "x:y.mp4" for a protocol called x.
            container = av.open(f"file:{self._path}")
        except av.error.FFmpegError:
            raise self._undecodable() from None
        with container:
            if len(container.streams.video) == 0:
                raise self._undecodable()
            yield container, container.streams.video[0]

    def _undecodable(self) -> SourceError:
        return SourceError(
            f"{self.name} looks like a video, but cannot be decoded: it is damaged or its codec is "
            "unknown here. Convert it, for instance to MP4 with H.264."
        )

    def __iter__(self) -> Iterator[Frame]:
        index, start = 0, None  # number of the frame, time stamp of the first one
        time_s = 0.0
        for decoded in self._decoded():
            if decoded.pts is None:
                assert self.rate is not None
                self.warn(f"{self.name} does not say when its frames were taken; its rate is used")
                time_s = index / self.rate
            else:
                start = decoded.time if start is None else start
                time_s = decoded.time - start
            yield self._frame(decoded, index, time_s)
            index += 1
        if index == 0:
            raise SourceError(f"{self.name} holds no frame that can be decoded")
        if self.total is not None and index < self.total:
            self.warn(f"{self.name} promises {self.total} frames, but only {index} can be decoded")
        elif self.rate is not None and time_s + 1.5 / self.rate < self._lasts_s:
            found = f"only {time_s:.2f} s can be decoded"
            self.warn(f"{self.name} promises {self._lasts_s:.2f} s, but {found}")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """All frames that can be decoded; damaged ones between them are left out."""
        import av

        lost = 0
        with self._open() as (container, stream):
            stream.thread_type = "AUTO"
            for packet in self._packets(container, stream):
                try:
                    frames = stream.decode(packet)
                except av.error.FFmpegError:
                    lost += 1
                    continue
                yield from frames
        if lost:
            self.warn(f"{self.name} is damaged: {lost} pieces of it cannot be decoded")

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[av.Packet[VideoStream]]:
        import av

        try:
            yield from container.demux(stream)
        except av.error.FFmpegError:  # cut off; how many frames are missing is said at the end
            return

    def _frame(self, decoded: av.VideoFrame, index: int, time_s: float) -> Frame:
        check_size(self.name, decoded.height, decoded.width)
        upright = np.rot90(decoded.to_ndarray(format="rgb24"), round(decoded.rotation / 90) % 4)
        pixels = np.ascontiguousarray(upright, np.uint8)
        name = f"{self._path.stem}_{index:05d}"
        return Frame(
            pixels,
            index,
            time_s,
            self.name,
            name,
            stamp_s=None if decoded.pts is None else decoded.time,
        )
