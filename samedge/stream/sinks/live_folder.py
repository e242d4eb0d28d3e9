"""`folder:DIR`: every frame of a live stream and its masks, pixel for pixel, to be played again.

    DIR/frames/000012.png          pixels of the frame, as the session got them: 8 or 16 bits
    DIR/labels/000012.png          number of the object or class per pixel, doubtful ones as well
        000012_object2.png         0 and 1, where objects overlap, so that one number cannot say it
    DIR/stream.jsonl               first line: what ran; then one line per delivery; last: the end

Files are numbered by deliveries. A frame that equals the one before it, or a delivery of the same
frame with other states, names the older files. A line stands in `stream.jsonl` when its pictures
are whole, so that what is recorded is good up to its last whole line, whatever ended it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge._version import __version__
from samedge.errors import OutputError, public_words
from samedge.files.whole import json_bytes, make_folder, output_error
from samedge.sources.frame import Frame, Origin
from samedge.sources.replay import ROWS, SCHEMA, pixel_hash
from samedge.sources.uri import Uri
from samedge.stream.live.controls import to_json
from samedge.stream.live.item import LiveFrame, LiveObject
from samedge.stream.live.sink import About, LiveSink
from samedge.stream.sinks.live_mp4 import file_and_request
from samedge.stream.sinks.report import full_notice

FRAMES, LABELS = "frames", "labels"
_KEPT = "What was recorded until then is whole"
# Grey frames of 480 x 640 px take 5 ms and 130 kB; more takes twice as long for a tenth.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class FolderSink(LiveSink):
    """Records frames and masks without loss.

    Args:
        path: of the folder; made if needed. It must not hold such a recording.
        by_request: begin when a user says so (`Record`), not at once; what is between two
            recordings is left out.
    """

    name = "folder"
    every_frame = True

    def __init__(self, path: Path, by_request: bool = False) -> None:
        self.name = f"folder:{path.name}"
        self._path, self._on = path, not by_request
        self._rows: _Rows | None = None
        self._frame = _Saved()
        self._labels = _Saved()
        self._start: tuple[float, float] | None = None  # capture and clock of the first one
        self._count = 0

    @classmethod
    def from_uri(cls, uri: Uri) -> FolderSink:
        """Of `folder:DIR?record=request`.

        Raises:
            OutputError: there is no such option, or no name.
        """
        return cls(*file_and_request(uri))

    def open(self, about: About) -> None:
        """Raises:
        OutputError: the folder holds a recording, or cannot be written to.
        """
        make_folder(self._path)
        used = [name for name in (ROWS, FRAMES, LABELS) if os.path.lexists(self._path / name)]
        if used:
            raise OutputError(
                f"{self._path.name} holds a recording already ({', '.join(used)}), and nothing of "
                "it is replaced: give another folder"
            )
        make_folder(self._path / FRAMES)
        make_folder(self._path / LABELS)
        self._rows = _Rows(self._path / ROWS)
        self._rows.add(_head(about))

    def write(self, item: LiveFrame) -> None:
        """Raises:
        OutputError: the disk is full; what was recorded until then is whole.
        """
        if not self._on:
            return
        assert self._rows is not None
        if self._start is None:
            self._start = item.times.captured, item.clock_s
        name = f"{item.number:06d}"
        files = self._save_frame(item.frame, name) | self._save_masks(item, name)
        self._rows.add({**_row(item, *self._start), **files})
        self._count += 1

    def _save_frame(self, frame: Frame, name: str) -> dict[str, Any]:
        pixels, digest = frame.pixels, pixel_hash(frame.pixels)
        if not self._frame.is_same(pixels, digest):
            file = f"{FRAMES}/{name}.png"
            # Loops of grey pictures often come as RGB; a third is enough to have them again.
            grey = pixels.ndim == 3 and bool(
                (pixels[..., 0] == pixels[..., 1]).all()
                and (pixels[..., 0] == pixels[..., 2]).all()
            )
            write_picture(self._path / file, pixels[..., 0] if grey else pixels)
            self._frame = _Saved(pixels.shape, digest, file)
        return {"frame": self._frame.file, "frame_sha256": digest}

    def _save_masks(self, item: LiveFrame, name: str) -> dict[str, Any]:
        labels = item.label_map(doubtful=True)
        objects = [self._object(one, labels, name) for one in item.objects]
        if not item.has_masks and item.class_map is None:
            return {"labels": None, "objects": objects}
        digest = pixel_hash(labels)
        if not self._labels.is_same(labels, digest):
            file = f"{LABELS}/{name}.png"
            write_picture(self._path / file, labels)
            self._labels = _Saved(labels.shape, digest, file)
        return {"labels": self._labels.file, "labels_sha256": digest, "objects": objects}

    def _object(self, one: LiveObject, labels: NDArray[np.uint8], name: str) -> dict[str, Any]:
        row: dict[str, Any] = {
            "number": one.number,
            "name": one.name,
            "colour": list(one.colour),
            "status": one.status.value,
            "score": _number(one.score),
            "area_px": one.area_px,
            "area_mm2": _number(one.area_mm2),
            "reason": one.reason,
            "prompt": dict(one.prompt),
            "mask_sha256": None,
        }
        if one.mask is None:
            return row
        mask = np.asarray(one.mask != 0, np.uint8)
        row["mask_sha256"] = pixel_hash(mask)
        if not np.array_equal(labels == one.number, mask != 0):  # another one lies over it
            row["mask"] = f"{LABELS}/{name}_object{one.number}.png"
            write_picture(self._path / row["mask"], mask)
        return row

    def record(self, on: bool) -> None:
        """Begin or go on, or stop for a while."""
        self._on = on

    def close(self, error: BaseException | None) -> None:
        """Raises:
        OutputError: the disk is full; what was recorded until then is whole.
        """
        if self._rows is None:
            return
        rows, self._rows = self._rows, None
        try:
            rows.add(
                {
                    "end": {
                        "deliveries": self._count,
                        "error": None if error is None else public_words(error),
                    }
                }
            )
        finally:
            rows.close()

    def describe(self) -> Mapping[str, Any]:
        """The folder, and how many deliveries are in it."""
        return {"kind": "folder", "folder": self._path.name, "frames": self._count}


class _Saved:
    """What was written last, so that the same is not written again."""

    def __init__(self, shape: tuple[int, ...] = (), digest: str = "", file: str = "") -> None:
        self._shape, self._digest, self.file = shape, digest, file

    def is_same(self, pixels: NDArray[Any], digest: str) -> bool:
        return (self._shape, self._digest) == (pixels.shape, digest)


class _Rows:
    """JSON lines, each there whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        except OSError as error:
            raise output_error(error, path) from error
        self._end = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            OutputError: no space left; the lines before are still there, and nothing of this one.
        """
        line = json_bytes(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        try:
            _write_all(self._handle, line)
        except OSError as error:
            os.ftruncate(self._handle, self._end)
            raise output_error(error, self._path, _KEPT) from error
        self._end += len(line)

    def close(self) -> None:
        """Put all of it on the disk.

        Raises:
            OutputError: that failed.
        """
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise output_error(error, self._path) from error
        finally:
            os.close(self._handle)


def write_picture(path: Path, pixels: NDArray[Any]) -> None:
    """Write uint8 or uint16 `[H, W]` or RGB `[H, W, 3]` as a new PNG file, without loss. It is not
    waited for until it is on the disk, which takes longer than a frame lasts.

    Raises:
        OutputError: no space left, or no permission; there is no such file then.
    """
    picture = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    good, data = cv2.imencode(".png", np.ascontiguousarray(picture), _PNG)
    if not good:
        raise OutputError(f"cannot encode {path.name} as PNG")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_all(handle, data.data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
    except OSError as error:
        raise output_error(error, path, _KEPT) from error


def _write_all(handle: int, data: Any) -> None:
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(handle, rest) :]


def _head(about: About) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "samedge": __version__,
        "notice": full_notice(about.notice),
        "source": about.source,
        "rate_fps": _number(about.rate),
        "title": about.title,
        "family": about.family.name,
        "bundle": dict(about.bundle),
        "session": dict(about.session),
        "settings": dict(about.settings),
    }


def _row(item: LiveFrame, start_s: float, clock_s: float) -> dict[str, Any]:
    """A delivery without its files; times in seconds since the first frame that was recorded."""
    frame = item.frame
    return {
        "number": item.number,
        "is_new": item.is_new,
        "index": frame.index,
        "name": frame.name,
        "source": frame.source,
        "time_s": _number(frame.time_s),
        "captured_s": item.times.captured - start_s,
        "clock_s": item.clock_s - clock_s,
        "published_s": item.times.published - start_s,
        "expires_s": _number(item.expires_s - start_s),
        "network_s": item.times.network_s,
        "stamp_s": _number(frame.stamp_s),
        "origin": None if frame.origin is None else _origin(frame.origin),
        "shape": list(frame.pixels.shape),
        "bits": frame.pixels.dtype.itemsize * 8,
        "spacing_mm": None if frame.spacing_mm is None else list(map(_number, frame.spacing_mm)),
        "region": None if frame.region is None else list(frame.region),
        "regions": [
            {"box": list(one.box), "spacing_mm": list(map(_number, one.spacing_mm))}
            for one in frame.regions
        ],
        "crop": None if item.crop is None else list(item.crop),
        "states": sorted(state.value for state in item.states),
        "alarms": [
            {"kind": one.kind.value, "message": one.message, "at_s": one.at_s - start_s}
            for one in item.alarms
        ],
        "drops": item.drops,
        "commands": [to_json(command) for command in item.commands],
    }


def _origin(origin: Origin) -> dict[str, Any]:
    return {
        "ticks": origin.ticks,
        "matrix": _matrix(origin.matrix),
        "transform": None if origin.transform is None else _matrix(origin.transform),
        "transform_ticks": origin.transform_ticks,
        "transform_valid": origin.transform_valid,
        "device": origin.device,
    }


def _matrix(matrix: NDArray[np.float32]) -> list[list[float | None]]:
    """float32 values are floats exactly; what JSON cannot say is null."""
    return [[_number(float(value)) for value in row] for row in matrix]


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
