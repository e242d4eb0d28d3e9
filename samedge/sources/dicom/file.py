"""DICOM single frames, cine loops and multi-frame volumes, decoded frame by frame by pydicom.

Messages carry the file name the user gave and technical tags, never a value from the patient's
tags; pydicom's own messages quote values, so they are never passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import SourceError
from samedge.sources.dicom.declared import check_frames
from samedge.sources.dicom.pixels import PixelMap
from samedge.sources.dicom.planes import distance, frame_places, heights, lift_shared_tags
from samedge.sources.dicom.region import read_scales
from samedge.sources.dicom.samples import decoder_of, read_pixel_header, read_samples
from samedge.sources.dicom.times import frame_times, rate
from samedge.sources.foreign import damaged, quiet_pydicom
from samedge.sources.frame import Frame, Source, Warn, check_size
from samedge.sources.intensity import Intensity, own_range, stretch_warning
from samedge.sources.volume import check_volume

DEFAULT_RATE = 25.0


class DicomSource(Source):
    """One DICOM file with pixels. Frames that lie one behind the other are a stack of slices.

    Args:
        path: of the file.
        warn: told what was not as expected.
        intensity: which values become black and white; values are HU in CT.

    Raises:
        MissingDependencyError: pydicom is not installed.
        NotSupportedError: nothing here decodes this transfer syntax or photometric interpretation.
        SourceError: not readable as DICOM, or without pixels.
    """

    kind = "dicom"

    def __init__(
        self, path: Path, warn: Warn | None = None, intensity: Intensity | None = None
    ) -> None:
        super().__init__(path.name, warn)
        self._path, self._intensity = path, intensity or Intensity()
        words = f"{self.name} is a damaged DICOM file: its header cannot be read"
        with quiet_pydicom(), damaged(words):
            self._read_header()

    def _read_header(self) -> None:
        require("pydicom", "stream", "reading DICOM files")
        header = read_pixel_header(self._path)
        if "PixelData" not in header:
            kind = "floating point pixels" if "FloatPixelData" in header else "no pixels"
            raise SourceError(
                f"{self.name} is a DICOM file with {kind}; expected an image or a cine loop"
            )
        decoder_of(header, self.name)
        lift_shared_tags(header, self.name, self.warn)
        height, width = int(header.Rows), int(header.Columns)
        check_size(self.name, height, width)
        self.size = (height, width)
        self.total = int(header.get("NumberOfFrames", 1) or 1)
        check_frames(self.total, self.name)
        gap = self._slices(header) if self.total > 1 else None
        self.is_loop = self.total > 1 and not self.is_stack
        self.rate = rate(header) if self.is_loop else None
        if self.is_loop and self.rate is None:
            self.warn(f"{self.name} does not say its frame rate; {DEFAULT_RATE:g} / s is assumed")
            self.rate = DEFAULT_RATE
        self._header = header
        self._times = frame_times(header, self.total) if self.is_loop else None
        self._map = PixelMap(header, self.name, self.warn, self._intensity)
        self._scales = read_scales(header, height, width, self.name, self.warn)
        everywhere = self._scales.everywhere_mm
        if gap is not None and everywhere is not None:
            self.voxel_mm3 = gap * everywhere[0] * everywhere[1]

    def _slices(self, header: Any) -> float | None:
        """Note whether the frames are slices in order; returns their distance in mm if it is even.

        Frames that run to and fro, as phases and echoes do, stay a loop.
        """
        found = frame_places(header)
        along = heights(found, self.name) if len(found) == self.total else None
        steps = np.diff(along) if along is not None else np.zeros(1)
        self.is_stack = bool((steps > 0).all() or (steps < 0).all())
        if along is None or not self.is_stack:
            return None
        check_volume(self.name, len(along), int(header.Rows), int(header.Columns))
        return distance(along, self.name, self.warn)

    def __iter__(self) -> Iterator[Frame]:
        words = f"{self.name} is a damaged DICOM file: its frames cannot be decoded"
        with quiet_pydicom(), damaged(words):
            frames, pixel_map = self._samples(), self._pixel_map()
        stem = self.stem
        index = 0
        while True:
            words = f"frame {index} of 0 to {(self.total or 1) - 1} cannot be decoded"
            with quiet_pydicom(), damaged(f"{self.name} is a damaged DICOM file: {words}"):
                samples = next(frames, None)
                if samples is None:
                    break
                pixels = pixel_map(samples)
            stamp_s = self._times[index] if self._times and index < len(self._times) else None
            time_s = index / self.rate if self.rate and stamp_s is None else stamp_s
            name = f"{stem}_{index:05d}" if self.is_loop or self.is_stack else stem
            yield Frame(
                pixels,
                index,
                time_s,
                self.name,
                name,
                self._scales.spacing_mm,
                self._scales.region,
                stamp_s=stamp_s,
                regions=self._scales.regions,
            )
            index += 1
        if self.total is not None and index != self.total:
            self.warn(f"{self.name} promises {self.total} frames, but holds {index}")

    def _pixel_map(self) -> PixelMap:
        """That of the file; a volume without a window is stretched as a whole."""
        if not self.is_stack or self._map.has_window or self._map.has_bytes:
            return self._map
        own = own_range(map(self._map.values, self._samples()), self.name)
        self.warn(stretch_warning(self.name, own))
        return PixelMap(self._header, self.name, self.warn, self._intensity, own=own)

    def _samples(self) -> Iterator[NDArray[Any]]:
        assert self.total is not None
        return read_samples(self._path, self._header, self.name, self.warn, self.total)
