"""Which frames INT8 is calibrated with: how many, whether they are frames, whether they fit.

Frames come from anywhere as arrays; whoever reads the files does that. Nothing of them is kept in a
bundle but their number and a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError, SamEdgeError
from samedge.families import Family
from samedge.runtime.frames import as_frame, as_slices
from samedge.runtime.precision import SELF_TEST

# 64 frames give every layer of a ViT tens of thousands of tokens; more did not change a scale.
LIMIT = 64
_BLACK = 10  # grey levels up to here count as black
_SIDE = 256  # statistics are taken at about this size, px

Frame = NDArray[Any]


@dataclass(frozen=True)
class CalibrationData:
    """Frames to calibrate with.

    Attributes:
        frames: as the encoder takes them: [H, W] or [H, W, 3]; [slices, H, W] (or [..., 3]).
        source: kind of source in one word ("folder", "video", "self-test"), never a path.
        offered: how many there were before the limit.
        warnings: what a user should know about them.
        numbers: the place of each among those that were offered, from 0.
    """

    frames: list[Frame]
    source: str
    offered: int
    warnings: tuple[str, ...]
    numbers: tuple[int, ...]

    def names(self) -> list[str]:
        """The frames in words, for messages."""
        return [f"calibration frame {number}" for number in self.numbers]

    def pixels(self) -> Iterable[Frame]:
        """The frames with an axis of channels, as a session sees them."""
        return (f if f.shape[-1] == 3 else f[..., None] for f in self.frames)

    def sha256(self) -> str:
        """Hash of all pixels, sizes and their order."""
        return frames_sha256(self.frames)


def choose_frames(
    frames: Iterable[Any], family: Family, source: str = "frames", limit: int = LIMIT
) -> CalibrationData:
    """Take up to `limit` frames, evenly spread over all that come; nothing else is held.

    Args:
        frames: uint8 [H, W] or [H, W, 3] (RGB). For a family of volumes also stacks of them,
            [slices, H, W]; single frames are put together to stacks.
        family: of the bundle.
        source: kind of source in one word, for the record.
        limit: frames, or stacks.

    Raises:
        FrameError: no frame came, or one is none (NaN, wrong type or shape); which one.
    """
    kept: list[tuple[int, Frame]] = []
    step, count = 1, 0
    for number, frame in enumerate(_stacks(frames, family)):
        count = number + 1
        if number % step == 0:
            kept.append((number, frame))
        if len(kept) == 2 * limit:
            kept, step = kept[::2], 2 * step
    if not kept:
        raise FrameError(
            f"the calibration set ({source}) holds no frame; expected some ultrasound frames like "
            "those that the model will see (a folder of images, a video, a DICOM file)"
        )
    chosen = [kept[i * len(kept) // limit] for i in range(limit)] if len(kept) > limit else kept
    numbers, taken = (tuple(column) for column in zip(*chosen, strict=True))
    return CalibrationData(
        list(taken), source, count, tuple(_warnings(taken, source)), tuple(numbers)
    )


def frames_sha256(frames: Iterable[Frame]) -> str:
    """Hash of all pixels, sizes and their order."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.dtype}{frame.shape}".encode())
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def _stacks(frames: Iterable[Any], family: Family) -> Iterable[Frame]:
    """Checked copies of what comes; single frames become stacks where the family wants those."""
    waiting: list[Frame] = []
    for number, frame in enumerate(frames):
        try:
            array = np.asarray(frame)
            stack = family.slices > 1 and array.ndim > 2 and len(array) == family.slices
            if stack:
                yield _plain(as_slices(frame, family.slices)).copy()
                continue
            array = _plain(as_frame(frame)).copy()
        except SamEdgeError as error:
            raise FrameError(f"calibration frame {number}: {error}") from error
        if family.slices == 1:
            yield array
            continue
        if waiting and waiting[0].shape != array.shape:
            waiting = []
        waiting.append(array)
        if len(waiting) == family.slices:
            yield np.stack(waiting)
            waiting = []


def _plain(pixels: Frame) -> Frame:
    """Without an axis of one channel."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


@dataclass(frozen=True)
class Look:
    """What a frame looks like, in numbers that tell ultrasound from other images.

    Attributes:
        mean, spread: of the grey levels, 0..255 (mean and standard deviation).
        black: share of black pixels.
        edges: mean difference of neighbours over the mean.
        colour: mean difference between the largest and the smallest channel.
    """

    mean: float
    spread: float
    black: float
    edges: float
    colour: float


def look(frame: Frame) -> Look:
    """Statistics of a frame (of the first slice of a stack)."""
    if frame.ndim == 4 or (frame.ndim == 3 and frame.shape[-1] != 3):
        frame = frame[0]
    pixels = frame.astype(np.float64)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    colour = float((pixels.max(-1) - pixels.min(-1)).mean())
    grey = _smaller(pixels.mean(-1))
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1)]
    edges = float(np.mean([s.mean() if s.size else 0.0 for s in steps]))
    mean = float(grey.mean())
    black = float((grey <= _BLACK).mean())
    return Look(mean, float(grey.std()), black, edges / max(mean, 1.0), colour)


def _smaller(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averaged to about `_SIDE` px: statistics of neighbours depend on the size of a pixel."""
    by = max(1, round(max(grey.shape) / _SIDE))
    height, width = (n // by * by for n in grey.shape)
    if not height or not width:
        return grey
    cut = grey[:height, :width]
    return np.asarray(cut.reshape(height // by, by, width // by, by).mean(axis=(1, 3)))


def _warnings(frames: Sequence[Frame], source: str) -> list[str]:
    looks = [look(frame) for frame in frames]
    mean, spread, black, edges, colour = (
        float(np.median([getattr(one, name) for one in looks]))
        for name in ("mean", "spread", "black", "edges", "colour")
    )
    found = []
    if source == SELF_TEST:
        return [
            "calibrated with the bundle's synthetic self-test frames; real frames of your device "
            "make better INT8 scales: --calibration FOLDER"
        ]
    if colour > 15:
        found.append(f"they are coloured (channels differ by {colour:.0f} grey levels)")
    if mean > 120:
        found.append(f"they are bright (mean grey level {mean:.0f}; B-mode is below 100)")
    if black < 0.02 and mean > 60:
        found.append(f"they have hardly any black ({black:.1%} of the pixels)")
    if spread < 4:
        found.append(f"they are nearly empty (grey levels spread by {spread:.1f})")
    elif edges < 0.03:
        found.append(f"they are smooth, without speckle (relative edges {edges:.3f})")
    elif edges > 1.0:
        found.append(f"they are noise (relative edges {edges:.2f})")
    warnings = []
    if found:
        warnings.append(
            "the calibration frames do not look like ultrasound: " + "; ".join(found) + ". INT8 "
            "scales fit what they were made from: use frames like those that the model will see"
        )
    if len(frames) < 8:
        warnings.append(f"only {len(frames)} calibration frames; 16 to {LIMIT} are better")
    return warnings
