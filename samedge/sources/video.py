"""Video files, decoded frame by frame by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import SourceError
from samedge.files.limits import FRAME_SIDE
from samedge.geometry.frame_geometry import MIN_SIDE
from samedge.sources.foreign import damaged
from samedge.sources.frame import Frame, Source, Warn, check_size
from samedge.sources.intensity import on_black

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

DEFAULT_RATE = 25.0
MAX_RATE = 1000.0
MAX_FRAMES = 10_000_000  # what promises more is damaged
_MAX_PIXELS = str(FRAME_SIDE.most**2)
_LARGE = 1 << 22  # px of a frame


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
        with damaged(self._damaged), self._open() as (container, stream):
            self._look_at(container, stream)
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
            # Titles may be written in any encoding, and are not looked at.
            container = av.open(
                f"file:{self._path}", metadata_errors="replace", options={"max_pixels": _MAX_PIXELS}
            )
        except av.error.FFmpegError:
            raise self._undecodable() from None
        with container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise self._undecodable()
            if stream.width and stream.height:
                check_size(self.name, stream.height, stream.width)
            # Frames may be larger than the header says, up to what is a frame.
            stream.codec_context.options = {"max_pixels": _MAX_PIXELS}
            if stream.width * stream.height > _LARGE:
                stream.codec_context.thread_count = 2  # each holds frames of its own
            yield container, stream

    @property
    def _damaged(self) -> str:
        return f"{self.name} is damaged: it cannot be decoded"

    def _look_at(self, container: InputContainer, stream: VideoStream) -> None:
        """Say what of the stream is not as a user would expect."""
        others = len(container.streams.video) - 1
        if others:
            self.warn(
                f"{self.name} holds {others + 1} video streams; only number {stream.index + 1}, "
                "the best for a player, is used"
            )
        ratio = stream.sample_aspect_ratio
        if ratio and ratio != 1:
            self.warn(
                f"{self.name} has pixels that are not square ({ratio.numerator}:"
                f"{ratio.denominator}); they were taken as they are stored, not stretched"
            )

    def _undecodable(self) -> SourceError:
        return SourceError(
            f"{self.name} looks like a video, but cannot be decoded: it is damaged or its codec is "
            "unknown here. Convert it, for instance to MP4 with H.264."
        )

    def __iter__(self) -> Iterator[Frame]:
        index, start = 0, None  # number of the frame, time stamp of the first one
        time_s, size = 0.0, None
        for decoded in self._decoded():
            before = time_s
            if decoded.pts is None:
                assert self.rate is not None
                self.warn(f"{self.name} does not say when its frames were taken; its rate is used")
                time_s = index / self.rate
            else:
                start = decoded.time if start is None else start
                time_s = decoded.time - start
            if time_s < before:
                self.warn(f"{self.name}: its times run backwards in places, as in joined videos")
            with damaged(self._damaged):
                frame = self._frame(decoded, index, time_s)
            size = size or frame.pixels.shape
            if frame.pixels.shape != size:
                self.warn(f"{self.name}: its frames are not all of one size")
            yield frame
            index += 1
        if index == 0:
            raise SourceError(
                f"{self.name} holds no frame that can be decoded; frames have {MIN_SIDE} to "
                f"{FRAME_SIDE.most} px on each side"
            )
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
        if decoded.interlaced_frame:
            self.warn(
                f"{self.name} is interlaced: moving borders are combed, every other row is of "
                "another moment. Deinterlace it first, for instance with ffmpeg -vf bwdif"
            )
        pixels = np.ascontiguousarray(self._upright(decoded, self._rgb(decoded)), np.uint8)
        name = f"{self._path.stem}_{index:05d}"
        return Frame(
            pixels,
            index,
            time_s,
            self.name,
            name,
            stamp_s=None if decoded.pts is None else decoded.time,
        )

    def _rgb(self, decoded: av.VideoFrame) -> NDArray[np.uint8]:
        """Colours as players show them; what is transparent is laid on black."""
        if not any(part.is_alpha for part in decoded.format.components):
            return np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8)
        rgba = np.asarray(decoded.to_ndarray(format="rgba"), np.uint8)
        alpha = rgba[..., 3:]
        if alpha.min() < 255:
            self.warn(f"{self.name} is partly transparent; it was laid on black")
            return on_black(rgba[..., :3], alpha)
        return rgba[..., :3]

    def _upright(self, decoded: av.VideoFrame, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turned and mirrored as the file's display matrix says."""
        matrix = decoded.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return stored
        # x' = a x + c y, y' = b x + d y, in steps of 2^-16, in the machine's byte order.
        values = np.frombuffer(cast(bytes, matrix), np.int32)[:5] / 65536
        a, b, _, c, d = np.sign(np.round(values)).astype(int)
        right_angle = np.abs(values - np.round(values)).max() < 0.1
        if right_angle and ((a and d and not (b or c)) or (b and c and not (a or d))):
            turned = stored if a else stored.swapaxes(0, 1)
            right, down = (a, d) if a else (c, b)
            return turned[::down, ::right]
        self.warn(
            f"{self.name} is turned by no right angle; its frames were taken as they are stored"
        )
        return stored
