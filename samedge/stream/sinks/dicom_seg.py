"""`dicom-seg:FILE`: frames and masks of a live stream as DICOM: FILE is a segmentation, FILE-sc the
multi-frame secondary capture that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from samedge._optional import require
from samedge.errors import OutputError
from samedge.files.whole import check_target
from samedge.sources.frame import Frame
from samedge.sources.uri import Uri
from samedge.stream.live.item import LiveFrame
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.sinks.dicom_store import Store
from samedge.stream.sinks.live_mp4 import file_and_request
from samedge.stream.sinks.spool import Spool

DEFAULT_FRAMES = 300  # ten seconds


class DicomSegSink(LiveSink):
    """Keeps frames and masks on the disk, and writes both files at the end.

    Only masks that passed the quality gate are stored: a reader of the file does not see doubts.
    Frames have the size of the first one; others are left out, as are those beyond the limit.

    Args:
        path: of the segmentation; neither file must exist.
        frames: the most that are recorded.
        by_request: begin when a user says so (`Record`), not at once.

    Attributes:
        files: those that were written.
        notes: what was left out, in words.
    """

    every_frame = True

    def __init__(self, path: Path, frames: int = DEFAULT_FRAMES, by_request: bool = False) -> None:
        if frames < 1:
            raise OutputError(f"frames is {frames}; expected 1 or more")
        self.name = f"dicom-seg:{path.name}"
        self._path, self._limit, self._on = path, frames, not by_request
        self._stack = ExitStack()
        self._store: Store | None = None
        self._last: LiveFrame | None = None
        self._left_out = {"another size": 0, "the limit": 0}
        self.files: list[Path] = []
        self.notes: list[str] = []

    @classmethod
    def from_uri(cls, uri: Uri) -> DicomSegSink:
        """Of `dicom-seg:FILE?frames=300&record=request`.

        Raises:
            OutputError: there is no such option, or no name.
        """
        path, by_request = file_and_request(uri, "frames")
        what = "a whole number above 0"
        return cls(path, uri.take("frames", int, DEFAULT_FRAMES, what, OutputError), by_request)

    @property
    def capture_path(self) -> Path:
        """Of the secondary capture."""
        return self._path.with_name(f"{self._path.stem}-sc{self._path.suffix}")

    def open(self, about: About) -> None:
        """Raises:
        MissingDependencyError: pydicom is not installed.
        OutputError: a file exists, or cannot be written.
        """
        require("pydicom", "stream", f"writing {self._path.name}")
        for path in (self._path, self.capture_path):
            check_target(path)
            if path.exists():
                raise OutputError(
                    f"{path.name} exists, and a recording replaces nothing: give another name or "
                    "move it away"
                )
        # Nobody has to prompt what finds its objects by itself.
        self._by_hand, self._title = bool(about.family.prompts), about.title
        # What waits lies where the files will be, so that a full disk is found in time.
        self._pixels, self._masks = (
            self._stack.enter_context(closing(Spool(self._path.absolute().parent)))
            for _ in range(2)
        )

    def write(self, item: LiveFrame) -> None:
        """Raises:
        OutputError: no space left; what came until then is written at the end.
        """
        if not self._on:
            return
        last = self._last
        if last is not None and last.frame is item.frame:
            # A click on a picture that stands still; masks that ran out are still those of then.
            self._last = item if item.has_masks else last
            return
        self._keep()
        self._last = item if self._wanted(item.frame) else None

    def _wanted(self, frame: Frame) -> bool:
        why = ""
        if self._store is not None:
            if self._store.recorded.size != (frame.height, frame.width):
                why = "another size"
            elif not self._store.has_room(self._limit):
                why = "the limit"
        if why:
            self._left_out[why] += 1
        return not why

    def _keep(self) -> None:
        """Store the frame that waited for its masks."""
        item, self._last = self._last, None
        if item is None:
            return
        if self._store is None:
            self._store = Store(item, self._title, self._by_hand, self._pixels, self._masks)
        self._store.add(item)

    def record(self, on: bool) -> None:
        """Begin or go on, or stop for a while."""
        self._on = on

    def close(self, error: BaseException | None) -> None:
        """Write both files; without a frame there are none, without a mask no segmentation.

        Raises:
            OutputError: they cannot be written.
        """
        with self._stack:
            if not isinstance(error, OutputError):  # of this sink: the disk is full
                self._keep()
            self._say()
            if self._store is None:
                return
            from samedge.stream.sinks.dicom_objects import secondary_capture, segmentation, write

            store, recorded = self._store, self._store.recorded
            write(self.capture_path, secondary_capture(recorded), store.pixel_file())
            self.files.append(self.capture_path)
            if not recorded.masks:
                self.notes.append("no object was found: there is no segmentation")
                return
            write(self._path, segmentation(recorded), store.mask_file())
            self.files.append(self._path)

    def _say(self) -> None:
        kept = 0 if self._store is None else len(self._store.recorded.frames)
        for why, count in self._left_out.items():
            if count:
                reason = f"beyond the first {kept}" if why == "the limit" else f"of {why}"
                self.notes.append(f"frames left out: {count} {reason}")

    def describe(self) -> Mapping[str, Any]:
        """Files, frames, masks, and what was left out."""
        recorded = None if self._store is None else self._store.recorded
        return {
            "kind": "dicom-seg",
            "files": [path.name for path in self.files],
            "frames": 0 if recorded is None else len(recorded.frames),
            "masks": 0 if recorded is None else len(recorded.masks),
            "segments": [] if recorded is None else [one.name for one in recorded.segments],
            "notes": self.notes,
        }
