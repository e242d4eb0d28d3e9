"""One video file of a live stream: playable up to its last second, whatever ends it.

While it is written it consists of fragments (ISO/IEC 14496-12, movie fragments), a second each; at
the end it becomes a usual MP4 file in place. It takes its name then; until then it is a hidden file
beside it. Where the disk is full or the process is killed, whole fragments are what stays.
"""

from __future__ import annotations

import os
import struct
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import OutputError
from samedge.files.whole import abandoned_drafts, output_error, whole_path
from samedge.stream.sinks.mp4 import ENCODER, TIME_BASE, pad_to_even

# Of one core: 4 ms for a frame of 480 x 640 px, where the usual "medium" takes 20; larger than
# _LARGE the first takes 24 ms for 1080 x 1920 px, the second 13.
_PRESETS = ("superfast", "ultrafast")
_LARGE = 1 << 20  # px
_H264 = {"tune": "zerolatency", "crf": "20"}
_FRAGMENT_US = 1_000_000
_KEY_S = 2  # seconds between pictures at which a player can begin
_DEFAULT_RATE = 30.0


class Recording:
    """Writes RGB pictures of one size with their times.

    Args:
        path: of the file to be.
        rate: frames per second that are expected; what is written has its own times.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: float | None = None) -> None:
        self.path, self.frames = path, 0
        self._rate = Fraction(min(max(rate or _DEFAULT_RATE, 1.0), 240.0)).limit_denominator(1001)
        self._stack = ExitStack()
        part = self._stack.enter_context(whole_path(path))
        self._disk = _Disk(part)
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def write(self, picture: NDArray[np.uint8], time_s: float) -> None:
        """Append one picture.

        Args:
            picture: RGB, uint8 `[H, W, 3]`; all of one size.
            time_s: when it is shown, since the first one. What does not come after the one before
                it comes a moment after it.

        Raises:
            OutputError: the disk is full, for instance. What was recorded stays under its name.
        """
        import av

        picture = np.ascontiguousarray(pad_to_even(picture))
        # Colours as FFmpeg would convert them, in a third of the time.
        planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
        if self._container is None:
            self._begin(picture.shape[1], picture.shape[0])
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        self._last = max(round(time_s * TIME_BASE), self._last + 1)
        frame.time_base, frame.pts = Fraction(1, TIME_BASE), self._last
        try:
            self._container.mux(self._stream.encode(frame))
        except av.error.FFmpegError as error:
            self._give_up(OutputError(f"cannot encode {self.path.name}: {error.strerror}"))
        self.frames += 1
        if self._disk.error is not None:
            self._give_up(output_error(self._disk.error, self.path))

    def _begin(self, width: int, height: int) -> None:
        import av

        self._container = av.open(
            self._disk,
            "w",
            format="mp4",
            options={
                "movflags": "hybrid_fragmented+frag_keyframe+default_base_moof",
                "frag_duration": str(_FRAGMENT_US),
            },
        )
        stream: Any = self._container.add_stream(ENCODER, rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TIME_BASE)
        stream.codec_context.thread_count = 1  # the cores belong to the network
        stream.codec_context.gop_size = max(round(self._rate * _KEY_S), 1)
        stream.options = {"preset": _PRESETS[width * height > _LARGE], **_H264}
        self._stream = stream

    def finish(self) -> None:
        """Make it a usual MP4 file and give it its name; without a picture there is none.

        Raises:
            OutputError: the disk is full, for instance. What was recorded stays under its name.
        """
        import av

        if self._container is None:
            self._disk.close()
            self._drop()
            return
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except av.error.FFmpegError as error:
            self._give_up(OutputError(f"cannot encode {self.path.name}: {error.strerror}"))
        if self._disk.error is not None:
            self._give_up(output_error(self._disk.error, self.path))
        self._disk.close()
        self._stack.close()

    def _give_up(self, problem: OutputError) -> None:
        """Keep what is whole, and raise."""
        self._disk.freeze()
        self._container.close()
        kept = self._disk.cut()
        self._disk.close()
        if not kept:
            self._drop()
            raise problem
        self._stack.close()
        raise OutputError(f"{problem} What was recorded until then is in {self.path.name}")

    def _drop(self) -> None:
        """Leave no file."""
        self._stack.__exit__(OutputError, OutputError(), None)


class _Disk:
    """What FFmpeg writes to. It is not told of a full disk: at its end it would write an index of
    what is not there over the beginning of what is."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.error: OSError | None = None
        self._frozen = False
        self._handle = os.open(path, os.O_RDWR)

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        try:
            while rest and not self._frozen:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            self.error, self._frozen = error, True
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return os.lseek(self._handle, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._handle, 0, os.SEEK_CUR)

    def freeze(self) -> None:
        """Nothing is written any more."""
        self._frozen = True

    def cut(self) -> bool:
        """Cut the file behind its last whole fragment; False: there is none."""
        return cut_to_fragments(self._handle)

    def close(self) -> None:
        os.close(self._handle)


def cut_to_fragments(handle: int) -> bool:
    """Cut an unfinished recording behind its last whole fragment.

    Args:
        handle: of a file, open for reading and writing.

    Returns:
        Whether there is one: the file can be played.

    Raises:
        OSError: it cannot be read or cut.
    """
    size = os.fstat(handle).st_size
    place, end = 0, 0
    while place + 8 <= size:
        length, kind = struct.unpack(">I4s", os.pread(handle, 8, place))
        if length == 1:
            length = int.from_bytes(os.pread(handle, 8, place + 8), "big")
        if length < 8 or place + length > size:
            break
        place += length
        if kind == b"mdat":
            end = place
    if end:
        os.ftruncate(handle, end)
    return end > 0


def recover(path: Path) -> list[Path]:
    """Keep recordings that a killed process did not finish: "a.mp4" becomes "a-cut.mp4".

    Args:
        path: of the recording that is about to begin; others in its folder stay as they are.

    Returns:
        The files that were found.

    Raises:
        OutputError: the operating system refuses.
    """
    found = []
    try:
        for draft, names in abandoned_drafts(path.parent).items():
            if not any(_is_of(path, name) for name in names):
                continue
            handle = os.open(draft, os.O_RDWR | os.O_NOFOLLOW)
            try:
                whole = cut_to_fragments(handle)
            finally:
                os.close(handle)
            if whole:
                target = free_name(path.with_name(f"{path.stem}-cut{path.suffix}"))
                os.replace(draft, target)
                found.append(target)
            else:
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(error, path) from error
    return found


def _is_of(path: Path, name: str) -> bool:
    """Whether `name` is that of a recording to `path`, or of a part of it: "a.mp4", "a-2.mp4"."""
    stem = Path(name).stem
    part = stem.removeprefix(path.stem)
    is_part = stem.startswith(path.stem) and (not part or part.lstrip("-").isdecimal())
    return Path(name).suffix == path.suffix and is_part


def free_name(path: Path) -> Path:
    """`path`, or the first of "a-2.mp4", "a-3.mp4", ... that is not there."""
    number, name = 2, path
    while os.path.lexists(name):
        name, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return name
