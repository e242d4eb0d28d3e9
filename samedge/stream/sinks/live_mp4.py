"""`mp4:FILE`: the live picture with its masks as a video, at the times at which its frames came."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge.errors import OutputError
from samedge.files.whole import check_target
from samedge.sources.uri import Uri
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.sinks.live_picture import live_picture
from samedge.stream.sinks.mp4 import check_h264
from samedge.stream.sinks.recording import Recording, free_name, recover


class Mp4Sink(LiveSink):
    """Records H.264, masks drawn in, states and areas below the picture.

    A file is there under its name when the recording ends. A recording that a killed process left
    is kept as "NAME-cut.mp4" when the next one to the same name begins. Frames of another size, and
    each recording by request after the first, go to "NAME-2.mp4", "NAME-3.mp4".

    Args:
        path: of the file; it must not exist.
        by_request: begin when a user says so (`Record`), not at once.

    Attributes:
        files: those that were finished, in order.
        recovered: names of what earlier processes left.
    """

    name = "mp4"
    every_frame = True

    def __init__(self, path: Path, by_request: bool = False) -> None:
        if path.suffix.lower() != ".mp4":
            raise OutputError(f"{path.name} is no name of an MP4 file; give one that ends in .mp4")
        self.name = f"mp4:{path.name}"
        self._path = path
        self._on = not by_request
        self._recording: Recording | None = None
        self._size: tuple[int, int] = (0, 0)
        self._start_s = 0.0
        self._frames = 0
        self.files: list[Path] = []
        self.recovered: list[str] = []

    @classmethod
    def from_uri(cls, uri: Uri) -> Mp4Sink:
        """Of `mp4:FILE?record=request`.

        Raises:
            OutputError: there is no such option, or no name.
        """
        return cls(*file_and_request(uri))

    def open(self, about: About) -> None:
        """Raises:
        MissingDependencyError, NotSupportedError: there is no encoder for H.264 here.
        OutputError: the file exists, or cannot be written.
        """
        check_h264(self._path.name)
        check_target(self._path)
        if self._path.exists():
            raise OutputError(
                f"{self._path.name} exists, and a recording replaces nothing: give another name "
                "or move it away"
            )
        self.recovered = [path.name for path in recover(self._path)]
        self._notice, self._rate = about.notice, about.rate
        if self._on:  # a folder that cannot be written to is found now
            self._recording = Recording(self._path, self._rate)

    def write(self, item: LiveFrame) -> None:
        """Raises:
        OutputError: the disk is full; what was recorded is kept.
        """
        if not self._on:
            return
        size = (item.frame.height, item.frame.width)
        if self._recording is not None and self._recording.frames and size != self._size:
            self._finish()
        if self._recording is None:
            self._recording = Recording(free_name(self._path), self._rate)
        # A state that changes on a picture that stays is shown from then on.
        at_s = item.times.captured if item.is_new else item.times.published
        if not self._recording.frames:
            self._start_s, self._size = at_s, size
        time_s = at_s - self._start_s
        recording, self._recording = self._recording, None  # ended, should it raise
        try:
            recording.write(live_picture(item, time_s, self._notice), time_s)
        except OutputError:
            self._note(recording)
            raise
        self._recording = recording
        self._frames += 1

    def _note(self, recording: Recording) -> None:
        if recording.path.exists():
            self.files.append(recording.path)

    def record(self, on: bool) -> None:
        """Begin or end, in a file of its own each time."""
        self._on = on
        if not on:
            self._finish()

    def _finish(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            try:
                recording.finish()
            finally:
                self._note(recording)

    def close(self, error: BaseException | None) -> None:
        """Raises:
        OutputError: the disk is full; what was recorded is kept.
        """
        self._finish()

    def describe(self) -> Mapping[str, Any]:
        """Files and frames."""
        return {
            "kind": "mp4",
            "files": [path.name for path in self.files],
            "frames": self._frames,
            "recovered": self.recovered,
        }


def file_and_request(uri: Uri, *options: str) -> tuple[Path, bool]:
    """What `SCHEME:FILE?record=request` says.

    Args:
        uri: the name.
        options: further ones that the scheme has.

    Returns:
        the path, and whether it begins by request.

    Raises:
        OutputError: there is no such option, or no name.
    """
    uri.check_options(["record", *options], OutputError)
    when = uri.take("record", _when, False, "'request', or 'always'", OutputError)
    if not uri.where:
        raise OutputError(f"{uri.text}: a name is missing; expected {uri.scheme}:NAME")
    return Path(os.path.expanduser(uri.where)), when  # shells leave a ~ behind a colon


def _when(text: str) -> bool:
    if text not in ("request", "always"):
        raise ValueError(text)
    return text == "request"
