"""`replay:DIR`: what `folder:DIR` recorded of a live stream, with the pixels the network saw."""

from __future__ import annotations

import hashlib
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.files.limits import RECORDING_LINE, RECORDING_ROWS
from samedge.files.numbers import parse_json
from samedge.files.paths import kind_at, shown
from samedge.geometry.frame_geometry import MAX_SIDE, MIN_SIDE
from samedge.sources.frame import Frame, Source, Warn
from samedge.sources.images import checked_header, decoded
from samedge.sources.recorded_place import Place, place_of
from samedge.sources.sniff import read_bytes
from samedge.sources.uri import Uri, yes_no

ROWS, SCHEMA = "stream.jsonl", 1  # its name, and the version of what stands in it
_FILE = re.compile(r"frames/[0-9]{6,12}\.png", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COMMANDS = 1000  # of one delivery


@dataclass(frozen=True)
class Step:
    """One frame of a recording.

    Attributes:
        file: of its pixels, in the folder.
        sha256: of the pixels.
        shape: of the pixels.
        clock_s: when it was captured, in s from the first.
        stamp_s: the source's own stamp.
        commands: JSON of what users said that was obeyed with this frame.
        again: what was said, later, about this frame while it stood still; one entry per answer.
        labels_sha256: of the masks that were shown, as numbers; None: none were.
        place: its spacing, its ultrasound image, what its sender said.
    """

    file: str
    sha256: str
    shape: tuple[int, ...]
    clock_s: float
    stamp_s: float | None
    labels_sha256: str | None
    commands: tuple[Mapping[str, Any], ...] = ()
    again: list[tuple[Mapping[str, Any], ...]] = field(default_factory=list)
    place: Place = field(default_factory=Place)


class ReplaySource(Source):
    """Plays a recording again.

    Frames come at their own times, or as fast as they are taken. Their pixels are checked against
    the hashes in the recording.

    Args:
        path: of the folder.
        fast: as fast as they are taken.
        warn: called once with each warning.

    Attributes:
        steps: the frames.
        settings: of the stream that was recorded, as JSON values.
        bundle: its name and the hash of its manifest, where they are known.

    Raises:
        SourceError: there is no recording, or it is damaged.
    """

    kind = "recording"
    is_live = True
    is_loop = True
    ends = True

    def __init__(self, path: Path, fast: bool = False, warn: Warn | None = None) -> None:
        super().__init__(f"replay:{path.name}", warn)
        self._path, self._fast = path, fast
        self._stop = threading.Event()
        head, self.steps = self._read()
        self.settings: Mapping[str, Any] = head.get("settings") or {}
        given = head.get("bundle")
        self.bundle: Mapping[str, Any] = given if isinstance(given, dict) else {}
        rate = head.get("rate_fps")
        self.rate = float(rate) if isinstance(rate, (int, float)) and 0 < rate <= 1000 else None
        self.total = len(self.steps)

    def interrupt(self) -> None:
        self._stop.set()

    def __iter__(self) -> Iterator[Frame]:
        start_s = time.monotonic()
        for index, step in enumerate(self.steps):
            due_s = start_s + step.clock_s - self.steps[0].clock_s
            if self._stop.wait(0.0 if self._fast else max(due_s - time.monotonic(), 0.0)):
                return
            yield Frame(
                self._pixels(step),
                index,
                step.clock_s,
                self.name,
                Path(step.file).stem,
                captured_s=time.monotonic(),
                stamp_s=step.stamp_s,
                spacing_mm=step.place.spacing_mm,
                region=step.place.region,
                regions=step.place.regions,
                origin=step.place.origin,
            )

    def _pixels(self, step: Step) -> NDArray[Any]:
        path = self._path / step.file
        if kind_at(path, SourceError) != "file":
            raise SourceError(f"{self.name}: {step.file} is missing")
        data = read_bytes(path)
        checked_header(data, path.name)
        found = decoded(data)  # as stored: a dark picture of 16 bits is not stretched
        if found is None:
            raise SourceError(f"{self.name}: {step.file} is damaged")
        if found.ndim == 3:
            found = np.ascontiguousarray(found[..., ::-1])
        if len(step.shape) == 3 and found.ndim == 2:  # grey pictures are stored as such
            found = np.repeat(found[..., None], 3, axis=2)
        if found.shape != step.shape or pixel_hash(found) != step.sha256:
            raise SourceError(f"{self.name}: {step.file} is not what was recorded")
        return found

    def _read(self) -> tuple[Mapping[str, Any], list[Step]]:
        """First line and frames."""
        path = self._path / ROWS
        if kind_at(path, SourceError) != "file":
            raise SourceError(
                f"{shown(self._path.name)} holds no recording; expected a folder that --sink "
                f"folder:DIR wrote, with {ROWS} in it"
            )
        head: Mapping[str, Any] | None = None
        steps: list[Step] = []
        before = None
        for number, row in enumerate(self._lines(path), 1):
            if head is None:
                head = row
                if head.get("schema") != SCHEMA:
                    raise self._damaged(number, "of another version of samedge")
                continue
            if "end" in row:
                break
            try:
                before = self._row(row, steps, before)
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
                raise self._damaged(number, "no delivery of a stream") from error
            RECORDING_ROWS.check(number, self.name, SourceError)
        if head is None or not steps:
            raise SourceError(f"{self.name} holds no frame")
        return head, steps

    def _row(self, row: Mapping[str, Any], steps: list[Step], before: int | None) -> int:
        number = int(row["number"])
        if before is not None and number != before + 1:
            self.warn(
                f"{self.name} lacks deliveries that its disk was too slow for: prompts that "
                "followed their objects may come out otherwise"
            )
        commands = tuple(row.get("commands", ()))
        if len(commands) > _COMMANDS or not all(isinstance(c, dict) for c in commands):
            raise ValueError
        if row["is_new"] is True:
            shape = tuple(int(n) for n in row["shape"])
            good = len(shape) == 2 or shape[2:] == (3,)
            if not good or not all(MIN_SIDE <= n <= MAX_SIDE for n in shape[:2]):
                raise ValueError
            labels = row["labels_sha256"] if row.get("labels") is not None else None
            steps.append(
                Step(
                    _matching(_FILE, row["frame"]),
                    _matching(_HASH, row["frame_sha256"]),
                    shape,
                    _finite(row["clock_s"]),
                    None if row.get("stamp_s") is None else _finite(row["stamp_s"]),
                    None if labels is None else _matching(_HASH, labels),
                    commands,
                    place=place_of(row, shape[0], shape[1]),
                )
            )
        elif commands and steps:
            steps[-1].again.append(commands)
        return number

    def _lines(self, path: Path) -> Iterator[Mapping[str, Any]]:
        """JSON objects; a last line that was cut off is left out."""
        with path.open("rb") as file:
            number = 0
            while line := file.readline(RECORDING_LINE.most + 1):
                number += 1
                RECORDING_LINE.check(len(line), self.name, SourceError)
                if not line.endswith(b"\n"):
                    self.warn(f"{self.name} was cut off; it is good up to there")
                    return
                try:
                    value = parse_json(line)
                except (ValueError, RecursionError) as error:
                    raise self._damaged(number, "no JSON") from error
                if not isinstance(value, dict):
                    raise self._damaged(number, "no JSON object")
                yield value

    def _damaged(self, line: int, what: str) -> SourceError:
        return SourceError(f"{self.name}: line {line} of {ROWS} is {what}")


def open_replay(uri: Uri, warn: Warn | None = None) -> ReplaySource:
    """Of `replay:DIR?fast=yes`.

    Raises:
        SourceError: there is no recording, no such option, or the recording is damaged.
    """
    uri.check_options(["fast"])
    if not uri.where:
        raise SourceError(f"{uri.text}: the folder is missing; expected replay:DIR")
    return ReplaySource(Path(uri.where), uri.take("fast", yes_no, False, "yes or no"), warn)


def _matching(pattern: re.Pattern[str], text: object) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise ValueError
    return text


def _finite(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError
    return number


def pixel_hash(pixels: NDArray[Any]) -> str:
    """SHA-256 of pixels, row by row, little-endian: what a recording has of frames and masks."""
    values = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return hashlib.sha256(values.data).hexdigest()
