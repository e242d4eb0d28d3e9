"""What all files that hold a volume as one array have in common: limits, grey levels, slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.files.limits import (
    VOLUME_BYTES,
    VOLUME_SLICES,
    VOLUME_SMALL,
    VOLUME_TIMES,
    VOLUME_VOXELS,
)
from samedge.sources.foreign import damaged
from samedge.sources.frame import Frame, Source, Warn, check_size
from samedge.sources.intensity import Intensity, check_finite, choose_range

DEFAULT_RATE = 25.0  # of a time series, per second


@dataclass(frozen=True)
class Slices:
    """The slices of a volume, as stored.

    Attributes:
        raw: `[D, H, W]` or uint8 RGB `[D, H, W, 3]`; usually a view of a file.
        slope, inter: a value is `slope * raw + inter`.
    """

    raw: NDArray[Any]
    slope: float = 1.0
    inter: float = 0.0

    @property
    def scaled(self) -> bool:
        """The stored numbers are not the values."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def are_bytes(self) -> bool:
        """The values are grey levels already."""
        return self.raw.dtype == np.uint8 and not self.scaled

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for stored in self.raw:
            if self.scaled:
                with np.errstate(over="ignore", invalid="ignore"):
                    yield stored.astype(np.float64) * self.slope + self.inter
            elif stored.dtype == np.bool_:
                yield stored.astype(np.float32)  # 0 and 1 are black and white
            else:
                yield stored


class VolumeSource(Source):
    """Slices of an array in a file. Nothing but the header is read before the first slice.

    Args:
        path: of the file.
        warn: told what was not as expected.
        intensity: which values become black and white.
    """

    kind = "volume"
    is_stack = True

    def __init__(self, path: Path, warn: Warn | None, intensity: Intensity) -> None:
        super().__init__(path.name, warn)
        self._path, self._intensity = path, intensity
        self._step_s: float | None = None  # of frames in time, where the file tells

    def _expect(self, depth: int, height: int, width: int) -> None:
        """Check the size that the header promises, and note it.

        Raises:
            SourceError: too small, too large, or not a volume.
        """
        check_volume(self.name, depth, height, width)
        self.total, self.size = depth, (height, width)

    def _follow_in_time(self, step_s: float | None = None) -> None:
        """The slices are pictures of one plane, one after the other.

        Args:
            step_s: seconds from one to the next, if the file knows.

        Raises:
            SourceError: there is only one.
        """
        if self.total is None or self.total < 2:
            raise SourceError(f"{self.name} is a single slice; --time is for several: leave it out")
        self.kind, self.is_stack, self.is_loop = "time series", False, True
        self.voxel_mm3 = None
        self._step_s = step_s
        if step_s is not None:
            self.rate = 1 / step_s
            return
        self.warn(f"{self.name} does not say its frame rate; videos show {DEFAULT_RATE:g} / s")

    def _load(self) -> Slices:
        raise NotImplementedError  # every format has its own

    def _spacing(self) -> tuple[float, float] | None:
        """(row, column) distance of neighbouring pixels in mm, if the file knows."""
        return None

    def __iter__(self) -> Iterator[Frame]:
        with damaged(f"{self.name} is damaged: its values cannot be read"):
            slices = self._load()
        colour = slices.raw.ndim == 4
        if colour:
            self._intensity.refuse_colour(self.name)
        as_they_are = slices.are_bytes and (colour or self._intensity.window is None)
        is_float = slices.raw.dtype.kind in "fb" or slices.scaled
        span = (0.0, 1.0)
        if not as_they_are:
            span = choose_range(self._intensity, slices, is_float, self.name, self.warn)
        for index, values in enumerate(slices):
            if as_they_are:
                pixels = np.ascontiguousarray(values)
            else:
                check_finite(values, self.name, f"slice {index}")
                pixels = self._intensity.stretch(values, span)
            name = f"{self.stem}_{index:05d}" if self.is_sequence else self.stem
            time_s = None if self._step_s is None else index * self._step_s
            yield Frame(pixels, index, time_s, self.name, name, self._spacing())


def is_numeric(dtype: np.dtype[Any], kinds: str = "iuf") -> bool:
    """Real numbers of up to 64 bits."""
    return dtype.kind in kinds and dtype.itemsize <= 8


def check_volume(name: str, depth: int, height: int, width: int) -> None:
    """Refuse sizes that cannot be, before anything is allocated.

    Raises:
        SourceError: says what came and what the limit is.
    """
    check_size(name, height, width)
    most = VOLUME_SLICES.most
    if not 1 <= depth <= most:
        raise SourceError(f"{name} has {depth} slices; a volume has 1 to {most}")
    if depth * height * width > VOLUME_VOXELS.most:
        raise SourceError(
            f"{name} has {depth} slices of {width} x {height} px, more than 2^30 voxels; "
            "cut it into parts first"
        )


def check_bytes(name: str, needed: int, packed: int) -> None:
    """Refuse arrays that are too large to be unpacked into memory.

    Args:
        name: of the file.
        needed: bytes of the array.
        packed: bytes of the file.

    Raises:
        SourceError: says how large, and the remedy.
    """
    if needed > min(VOLUME_BYTES.most, max(VOLUME_SMALL, VOLUME_TIMES.most * packed)):
        raise SourceError(
            f"{name} unpacks from {packed / 1e6:.1f} MB to {needed / 1e9:.1f} GB; store it "
            "uncompressed (it is read from the disk slice by slice then), or in a smaller type"
        )
