"""Decoded DICOM samples -> grey levels or RGB, as a viewer would show them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import NotSupportedError, SourceError
from samedge.sources.frame import Pixels, Warn
from samedge.sources.intensity import Intensity, Range

GREY = ("MONOCHROME1", "MONOCHROME2")
# pydicom converts YBR_FULL and YBR_FULL_422; the JPEG 2000 transforms are undone by the decoders.
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


class PixelMap:
    """Maps the frames of one file to pixels, with one grey window for all of them.

    Args:
        dataset: the file's header: what the samples are.
        name: for messages.
        warn: told when a range was stretched.
        intensity: a window in the file's units (HU in CT), and whether to keep 16 bits.
        voi: where the file's own window is looked up; None: `dataset`. The slices of a series
            share one, or they would flicker.
        own: the range to stretch where there is no window at all; None: that of the first frame.

    Raises:
        NotSupportedError: a photometric interpretation that is not known here.
        SourceError: a window was asked for, but the pixels are colours.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        warn: Warn,
        intensity: Intensity | None = None,
        voi: Any = None,
        own: Range | None = None,
    ) -> None:
        self._dataset, self._name, self._warn = dataset, name, warn
        self._intensity = intensity or Intensity()
        self._voi = dataset if voi is None else voi
        self._photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).strip()
        if self._photometric not in (*GREY, *COLOUR, "PALETTE COLOR"):
            raise NotSupportedError(
                f"{name}: photometric interpretation '{self._photometric[:20]}' is not supported; "
                "convert the file to RGB or MONOCHROME2 (for instance with dcmtk's dcmconv)"
            )
        if self._photometric not in GREY:
            self._intensity.refuse_colour(name)
        self._bits = int(dataset.get("BitsStored", 8) or 8)
        for remark in remarks(dataset, self._photometric):
            warn(f"{name}: {remark}")
        self._own = own
        self._upper_byte: bool | None = None  # of a palette

    def __call__(self, samples: NDArray[Any]) -> Pixels:
        """`[H, W]` or uint8 `[H, W, 3]` for the decoded samples of one frame."""
        if self._photometric == "PALETTE COLOR":
            return self._palette(samples)
        if samples.ndim == 3 and samples.shape[2] == 3:
            return self._colour(samples)
        if samples.ndim != 2:
            raise SourceError(
                f"{self._name} has frames of shape {samples.shape}; "
                "expected one grey or three colour samples per pixel"
            )
        grey = self._grey(samples)
        return np.invert(grey) if self._photometric == "MONOCHROME1" else grey

    def values(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """What the samples of a grey frame mean, in the file's units: HU in CT."""
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(samples, self._dataset), np.float64)

    @property
    def has_bytes(self) -> bool:
        """The samples are grey levels already."""
        allocated = int(self._dataset.get("BitsAllocated", 16) or 16)
        return allocated == 8 and not self._is_transformed

    @property
    def _is_transformed(self) -> bool:
        """The modality transform gives samples another meaning. Secondary captures of several
        frames must have one (PS3.3 C.8.6.3), which changes nothing."""
        slope, intercept = (
            _first(self._dataset.get(f"Rescale{t}")) for t in ("Slope", "Intercept")
        )
        rescaled = "RescaleSlope" in self._dataset and (slope, intercept or 0) != (1, 0)
        return rescaled or bool(self._dataset.get("ModalityLUTSequence"))

    @property
    def has_window(self) -> bool:
        """Nothing has to be stretched: there is a window, asked for or in the file."""
        asked = self._intensity.window is not None
        return asked or bool(self._voi.get("VOILUTSequence")) or self._voi_window() is not None

    def _grey(self, samples: NDArray[Any]) -> Pixels:
        intensity = self._intensity
        if intensity.window is not None:
            return intensity.stretch(self.values(samples), intensity.window)
        window, table = self._voi_window(), self._voi.get("VOILUTSequence")
        windowed = table or (window is not None and not _is_whole_byte(window))
        if samples.dtype == np.uint8 and not self._is_transformed and not windowed:
            return self._full_range(samples)
        values = self.values(samples)
        if table:
            return self._table(values)
        if window is not None:
            return intensity.levels(voi(values, *window))
        return intensity.stretch(values, self._own_range(values))

    def _table(self, values: NDArray[np.float64]) -> Pixels:
        from pydicom.pixels.processing import apply_voi

        bits = int(self._voi.VOILUTSequence[0].LUTDescriptor[2])
        table = apply_voi(values.astype(np.int64), self._voi)
        return self._intensity.levels(np.asarray(table, np.float64) / (2.0**bits - 1))

    def _voi_window(self) -> tuple[float, float, str] | None:
        centre, width = (_first(self._voi.get(t)) for t in ("WindowCenter", "WindowWidth"))
        if centre is None or width is None or width <= 0:
            return None
        return centre, width, str(self._voi.get("VOILUTFunction", "LINEAR") or "LINEAR")

    def _own_range(self, values: NDArray[np.float64]) -> Range:
        """Range of the first frame; kept, so that a loop does not flicker."""
        if self._own is None:
            self._own = float(values.min()), float(values.max())
            self._warn(
                f"{self._name} has {self._bits}-bit pixels and no VOI window; the range "
                f"{self._own[0]:g}..{self._own[1]:g} of its first frame was stretched "
                f"to 0..{self._intensity.white}"
            )
        return self._own

    def _full_range(self, samples: NDArray[Any]) -> Pixels:
        """Unsigned samples of `bits` bits to the whole range; 8-bit ones stay as they are."""
        if samples.dtype == np.uint8 and self._bits == 8:
            return np.ascontiguousarray(samples)
        return self._intensity.levels(samples.astype(np.float64) / (2.0**self._bits - 1))

    def _colour(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        if samples.dtype == np.uint8 and self._bits == 8:
            return np.ascontiguousarray(samples)
        unit = np.clip(samples.astype(np.float64) / (2.0**self._bits - 1), 0, 1)
        return np.round(unit * 255).astype(np.uint8)

    def _palette(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(samples, self._dataset)[..., :3]
        if colours.dtype != np.uint8:
            if self._upper_byte is None:
                self._upper_byte = self._palette_uses_words()
            # Viewers show the upper byte of 16-bit entries.
            colours = colours >> 8 if self._upper_byte else colours
        return np.ascontiguousarray(colours, np.uint8)

    def _palette_uses_words(self) -> bool:
        """An entry of the table exceeds 255; if none does, its words hold bytes
        (PS3.3 C.7.6.3.1.6 notes such tables)."""
        from pydicom.pixels.processing import apply_color_lut

        entries, start, bits = self._dataset.RedPaletteColorLookupTableDescriptor
        indices = np.arange(entries or 1 << 16) + np.int64(start)
        words = int(apply_color_lut(indices, self._dataset)[..., :3].max()) > 255
        if not words and bits > 8:
            self._warn(
                f"{self._name}: its palette says {bits} bits and uses 8; they were taken as they "
                "are"
            )
        return words


def remarks(dataset: Any, photometric: str) -> Iterator[str]:
    """What a header says of how its pixels are to be shown, and is not done here."""
    shape = str(dataset.get("PresentationLUTShape", "") or "").strip()
    usual = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}.get(photometric)
    if usual is not None and shape in ("INVERSE", "IDENTITY") and shape != usual:
        yield (
            f"{photometric} with a presentation LUT of shape {shape} contradict each other; it was "
            f"read as {photometric} alone, so look at whether black and white are right"
        )
    if photometric in GREY and "RedPaletteColorLookupTableDescriptor" in dataset:
        yield "its grey levels have a colour palette beside them, which is not applied"
    if dataset.get("ConcatenationUID"):
        yield "it is one part of a concatenation; the other parts are files of their own"
    ratio = dataset.get("PixelAspectRatio")
    if ratio is not None and len(set(map(str, ratio))) > 1 and "PixelSpacing" not in dataset:
        yield "its pixels are not square; they were taken as they are stored, not stretched"


def voi(
    values: NDArray[np.float64], centre: float, width: float, function: str = "LINEAR"
) -> NDArray[np.float64]:
    """Window stored values to 0..1, after DICOM PS3.3 C.11.2.1.

    Args:
        values: any shape, after the modality transform.
        centre, width: of the window, in the units of `values`.
        function: "LINEAR", "LINEAR_EXACT" or "SIGMOID"; others count as LINEAR.
    """
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return np.asarray(values > centre - 0.5, np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _is_whole_byte(window: tuple[float, float, str]) -> bool:
    """0..255, as most writers of 8-bit files say it: 127 or 128, and 255 or 256."""
    centre, width, function = window
    return 127 <= centre <= 128 and 255 <= width <= 256 and function != "SIGMOID"


def _first(value: Any) -> float | None:
    """The first of one or several decimal strings, if it is a number."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        number = float(value[0]) if hasattr(value, "__len__") else float(value)
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None
