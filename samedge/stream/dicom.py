"""DICOM single frames and cine loops, decoded frame by frame by pydicom.

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
from samedge.errors import NotSupportedError, SamEdgeError, SourceError
from samedge.stream.dicom_pixels import PixelMap
from samedge.stream.dicom_region import region_and_spacing
from samedge.stream.frame import Frame, Source, Warn, check_size
from samedge.stream.quiet import quiet_pydicom

DEFAULT_RATE = 25.0
# pydicom's names of decoder plugins -> what pip calls them
_PIP = {
    "pillow": "pillow",
    "pylibjpeg": "pylibjpeg[all]",
    "gdcm": "python-gdcm",
    "pyjpegls": "pyjpegls",
}


class DicomSource(Source):
    """One DICOM file with pixels.

    Raises:
        MissingDependencyError: pydicom is not installed.
        NotSupportedError: nothing here decodes this transfer syntax or photometric interpretation.
        SourceError: not readable as DICOM, or without pixels.
    """

    kind = "dicom"

    def __init__(self, path: Path, warn: Warn | None = None) -> None:
        super().__init__(path.name, warn)
        self._path = path
        with quiet_pydicom():
            try:
                self._read_header()
            except SamEdgeError:
                raise
            except Exception as error:  # damaged files raise anything; no value may get through
                raise SourceError(
                    f"{self.name} is a damaged DICOM file: its header cannot be read "
                    f"({type(error).__name__})"
                ) from None

    def _read_header(self) -> None:
        pydicom = require("pydicom", "stream", "reading DICOM files")
        header = pydicom.dcmread(self._path, defer_size=1024)
        if "PixelData" not in header:
            kind = "floating point pixels" if "FloatPixelData" in header else "no pixels"
            raise SourceError(
                f"{self.name} is a DICOM file with {kind}; expected an image or a cine loop"
            )
        self._decoder = _decoder(header, self.name)
        height, width = int(header.Rows), int(header.Columns)
        check_size(self.name, height, width)
        self.total = int(header.get("NumberOfFrames", 1) or 1)
        self.is_loop = self.total > 1
        self.rate = _rate(header) if self.is_loop else None
        if self.is_loop and self.rate is None:
            self.warn(f"{self.name} does not say its frame rate; {DEFAULT_RATE:g} / s is assumed")
            self.rate = DEFAULT_RATE
        self._map = PixelMap(header, self.name, self.warn)
        self.region, self.spacing_mm = region_and_spacing(
            header, height, width, self.name, self.warn
        )

    def __iter__(self) -> Iterator[Frame]:
        frames = self._samples()
        index = 0
        while True:
            with quiet_pydicom():
                try:
                    pixels = self._map(next(frames))
                except StopIteration:
                    break
                except SamEdgeError:
                    raise
                except Exception as error:  # as in __init__
                    raise SourceError(
                        f"{self.name} is a damaged DICOM file: frame {index + 1} of {self.total} "
                        f"cannot be decoded ({type(error).__name__})"
                    ) from None
            time_s = index / self.rate if self.rate else None
            stem = self._path.stem
            name = f"{stem}_{index:05d}" if self.is_loop else stem
            yield Frame(pixels, index, time_s, self.name, name, self.spacing_mm, self.region)
            index += 1
        if self.total is not None and index != self.total:
            self.warn(f"{self.name} promises {self.total} frames, but holds {index}")

    def _samples(self) -> Iterator[NDArray[Any]]:
        from pydicom.pixels.utils import iter_pixels

        # From the open file, so that only one frame is in memory at a time.
        with self._path.open("rb") as file:
            for samples in iter_pixels(file):
                yield np.asarray(samples)


def _decoder(header: Any, name: str) -> Any:
    """The decoder of the file's transfer syntax, if its packages are there."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise SourceError(f"{name} is a DICOM file that does not name its transfer syntax")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        # An unknown UID prints as itself; it says how pixels are coded, nothing of a patient.
        raise NotSupportedError(
            f"{name}: the DICOM transfer syntax '{syntax.name}' cannot be decoded; "
            "convert the file to JPEG Baseline or uncompressed (for instance with dcmtk's dcmdjpeg)"
        ) from None
    if not decoder.is_available:
        needs = [d.partition(" ")[0] for d in decoder.missing_dependencies]
        packages = " or ".join(f"'{_PIP.get(n, n)}'" for n in needs) or "another decoder"
        raise NotSupportedError(
            f"{name}: the DICOM transfer syntax '{syntax.name}' needs a decoder that is not "
            f"installed. Install one: pip install {packages}"
        )
    return decoder


def _rate(header: Any) -> float | None:
    """Frames per second from FrameTime (ms), FrameTimeVector (ms), CineRate or the display rate."""
    vector = header.get("FrameTimeVector", None)
    steps = [float(v) for v in vector[1:]] if vector is not None and len(vector) > 1 else []
    candidates = [
        1000 / t
        for t in (float(header.get("FrameTime", 0) or 0), sum(steps) / len(steps) if steps else 0.0)
        if t > 0
    ]
    candidates += [
        float(header.get(tag, 0) or 0) for tag in ("CineRate", "RecommendedDisplayFrameRate")
    ]
    return next((r for r in candidates if 0 < r <= 1000), None)
