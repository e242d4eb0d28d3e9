"""A DICOM series: a folder of single-frame files that are the slices of one volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import SourceError
from samedge.sources.dicom.declared import check_declared
from samedge.sources.dicom.pixels import PixelMap
from samedge.sources.dicom.planes import Place, in_order
from samedge.sources.dicom.region import read_scales
from samedge.sources.dicom.samples import decoder_of, read_pixel_header, read_samples
from samedge.sources.foreign import damaged, quiet_pydicom
from samedge.sources.frame import Frame, Source, Warn
from samedge.sources.images import natural_key
from samedge.sources.intensity import Intensity, Range, own_range, stretch_warning
from samedge.sources.volume import check_volume

# All that is read of a header; no tag of the patient among them.
TAGS = (
    "SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber",
    "SequenceOfUltrasoundRegions",
    "PhotometricInterpretation", "PixelRepresentation", "BitsAllocated", "BitsStored", "HighBit",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor", "ConcatenationUID", "PixelAspectRatio",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
)  # fmt: skip
PIXEL_TAGS = ("PlanarConfiguration", "PixelData")


class DicomSeries(Source):
    """The slices of a folder, sorted along their normal, else by InstanceNumber.

    Args:
        path: the folder.
        kinds: the files in it and what they are, from `kinds_in`.
        warn: told what was skipped, and what seems to be missing.
        intensity: which values become black and white; values are HU in CT.

    Raises:
        MissingDependencyError: pydicom is not installed.
        NotSupportedError: nothing here decodes a transfer syntax or photometric interpretation.
        SourceError: several series or sizes, multi-frame files, slices that make no volume.
    """

    kind = "dicom series"
    is_stack = True

    def __init__(
        self,
        path: Path,
        kinds: dict[Path, str],
        warn: Warn | None = None,
        intensity: Intensity | None = None,
    ) -> None:
        super().__init__(path.name or str(path.resolve().name), warn)
        require("pydicom", "stream", "reading DICOM files")
        self._intensity = intensity or Intensity()
        files = sorted((p for p, kind in kinds.items() if kind == "DICOM"), key=natural_key)
        found = [(p, header) for p in files if (header := self._header(p)) is not None]
        skipped = len(kinds) - len(found)
        if not found:
            raise SourceError(f"folder {self.name} holds {len(kinds)} files and no DICOM image")
        if skipped:
            self.warn(
                f"{skipped} of {len(kinds)} files in {self.name} are no DICOM images; skipped"
            )
        with quiet_pydicom(), damaged(f"folder {self.name} holds damaged DICOM files"):
            self._check([header for _, header in found])
            self._arrange(found)

    def _arrange(self, found: list[tuple[Path, Any]]) -> None:
        """Sort the slices and find out what they measure."""
        places = [Place.of(header) for _, header in found]
        order, gap = in_order(places, self.name, self.warn)
        self._files = [found[i] for i in order]
        first = self._files[0][1]
        height, width = int(first.Rows), int(first.Columns)
        check_volume(self.name, len(found), height, width)
        self.total, self.size = len(found), (height, width)
        self._maps = [self._map(header) for _, header in self._files]
        self._scales = read_scales(first, height, width, self.name, self.warn)
        everywhere = self._scales.everywhere_mm
        if gap is not None and everywhere is not None:
            self.voxel_mm3 = gap * everywhere[0] * everywhere[1]

    @property
    def stem(self) -> str:
        """A folder has no ending."""
        return self.name

    def _header(self, path: Path) -> Any:
        """The tags that are used here, or None for a file without an image."""
        import pydicom

        with quiet_pydicom(), damaged(f"{path.name} is a damaged DICOM file"):
            check_declared(path)
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            if "Rows" not in header or "Columns" not in header:
                return None
            decoder_of(header, path.name)
            return header

    def _check(self, headers: list[Any]) -> None:
        """Refuse what is not one volume."""
        loops = sum(int(h.get("NumberOfFrames", 1) or 1) > 1 for h in headers)
        series = Counter(str(h.get("SeriesInstanceUID", "")) for h in headers)
        sizes = Counter((int(h.Columns), int(h.Rows)) for h in headers)
        colours = {int(h.get("SamplesPerPixel", 1) or 1) for h in headers}
        if loops:
            raise SourceError(
                f"folder {self.name} holds {loops} multi-frame DICOM files; give them one by one, "
                "not as a folder"
            )
        if len(series) > 1:
            counts = ", ".join(str(n) for _, n in series.most_common(6))
            raise SourceError(
                f"folder {self.name} holds {len(series)} DICOM series (of {counts} images); move "
                "each to a folder of its own"
            )
        if len(sizes) > 1 or len(colours) > 1:
            words = ", ".join(f"{n} of {w} x {h} px" for (w, h), n in sizes.most_common(6))
            raise SourceError(
                f"folder {self.name}: the slices differ in size or colour ({words}); keep those of "
                "one volume"
            )

    def _map(self, header: Any, own: Range | None = None) -> PixelMap:
        voi = self._files[len(self._files) // 2][1]  # the middle slice shows most
        return PixelMap(header, self.name, self.warn, self._intensity, voi, own)

    def __iter__(self) -> Iterator[Frame]:
        with quiet_pydicom(), damaged(f"folder {self.name} holds damaged DICOM files"):
            maps = self._chosen_maps()
        for index, ((path, _), pixel_map) in enumerate(zip(self._files, maps, strict=True)):
            with quiet_pydicom(), damaged(_undecodable(path)):
                pixels = pixel_map(_samples(path, self.warn))
            if pixels.shape[:2] != self.size:
                raise SourceError(
                    f"{path.name} is damaged: its pixels do not have the size it says"
                )
            name = f"{self.stem}_{index:05d}"
            yield Frame(
                pixels,
                index,
                None,
                self.name,
                name,
                self._scales.spacing_mm,
                self._scales.region,
                regions=self._scales.regions,
            )

    def _chosen_maps(self) -> list[PixelMap]:
        """Those of the files; a volume without a window is stretched as a whole."""
        if all(m.has_window or m.has_bytes for m in self._maps):
            return self._maps
        own = own_range(self._values(), self.name)
        self.warn(stretch_warning(self.name, own))
        return [self._map(header, own) for _, header in self._files]

    def _values(self) -> Iterator[NDArray[np.float64]]:
        for (path, _), pixel_map in zip(self._files, self._maps, strict=True):
            with quiet_pydicom(), damaged(_undecodable(path)):
                values = pixel_map.values(_samples(path, self.warn))
            yield values


def _samples(path: Path, warn: Warn) -> NDArray[Any]:
    header = read_pixel_header(path, specific_tags=[*TAGS, *PIXEL_TAGS])
    return next(read_samples(path, header, path.name, warn, 1))


def _undecodable(path: Path) -> str:
    return f"{path.name} is a damaged DICOM file: it cannot be decoded"
