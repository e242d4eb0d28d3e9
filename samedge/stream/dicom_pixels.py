"""Decoded DICOM samples -> uint8 grey or RGB, as a viewer would show them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import NotSupportedError, SourceError
from samedge.stream.frame import Warn

GREY = ("MONOCHROME1", "MONOCHROME2")
# pydicom converts YBR_FULL and YBR_FULL_422; the JPEG 2000 transforms are undone by the decoders.
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


class PixelMap:
    """Maps the frames of one file to uint8, with one grey window for all of them.

    Raises:
        NotSupportedError: a photometric interpretation that is not known here.
    """

    def __init__(self, dataset: Any, name: str, warn: Warn) -> None:
        self._dataset, self._name, self._warn = dataset, name, warn
        self._photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).strip()
        if self._photometric not in (*GREY, *COLOUR, "PALETTE COLOR"):
            raise NotSupportedError(
                f"{name}: photometric interpretation '{self._photometric[:20]}' is not supported; "
                "convert the file to RGB or MONOCHROME2 (for instance with dcmtk's dcmconv)"
            )
        self._bits = int(dataset.get("BitsStored", 8) or 8)
        self._window: tuple[float, float] | None = None

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """uint8 `[H, W]` or `[H, W, 3]` for the decoded samples of one frame."""
        if self._photometric == "PALETTE COLOR":
            return self._palette(samples)
        if samples.ndim == 3 and samples.shape[2] == 3:
            return self._to_full_range(samples)
        if samples.ndim != 2:
            raise SourceError(
                f"{self._name} has frames of shape {samples.shape}; "
                "expected one grey or three colour samples per pixel"
            )
        grey = self._grey(samples)
        return np.asarray(255 - grey if self._photometric == "MONOCHROME1" else grey, np.uint8)

    def _grey(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        if samples.dtype == np.uint8 and "RescaleSlope" not in self._dataset:
            return self._to_full_range(samples)
        from pydicom.pixels.processing import apply_modality_lut, apply_voi

        values = apply_modality_lut(samples, self._dataset)
        if self._dataset.get("VOILUTSequence"):
            bits = int(self._dataset.VOILUTSequence[0].LUTDescriptor[2])
            table = apply_voi(np.asarray(values).astype(np.int64), self._dataset)
            return _to_uint8(np.asarray(table, np.float64) / (2.0**bits - 1))
        window = self._voi_window()
        if window is not None:
            return _to_uint8(voi(np.asarray(values, np.float64), *window))
        low, high = self._own_window(np.asarray(values, np.float64))
        return _to_uint8((np.asarray(values, np.float64) - low) / max(high - low, 1e-9))

    def _voi_window(self) -> tuple[float, float, str] | None:
        centre, width = (_first(self._dataset.get(t)) for t in ("WindowCenter", "WindowWidth"))
        if centre is None or width is None or width <= 0:
            return None
        return centre, width, str(self._dataset.get("VOILUTFunction", "LINEAR") or "LINEAR")

    def _own_window(self, values: NDArray[np.float64]) -> tuple[float, float]:
        """Range of the first frame; kept, so that a loop does not flicker."""
        if self._window is None:
            self._window = float(values.min()), float(values.max())
            self._warn(
                f"{self._name} has {self._bits}-bit pixels and no VOI window; the range "
                f"{self._window[0]:g}..{self._window[1]:g} of its first frame was stretched "
                "to 0..255"
            )
        return self._window

    def _to_full_range(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Unsigned samples of `bits` bits to 0..255; 8-bit ones stay as they are."""
        if samples.dtype == np.uint8 and self._bits == 8:
            return np.ascontiguousarray(samples)
        return _to_uint8(samples.astype(np.float64) / (2.0**self._bits - 1))

    def _palette(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        from pydicom.pixels.processing import apply_color_lut

        colours = apply_color_lut(samples, self._dataset)
        if colours.dtype == np.uint8:
            return np.ascontiguousarray(colours[..., :3])
        # 16-bit tables: viewers show the upper byte.
        return np.ascontiguousarray((colours[..., :3] >> 8).astype(np.uint8))


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


def _to_uint8(unit: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def _first(value: Any) -> float | None:
    """The first of one or several decimal strings, if it is a number."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    try:
        number = float(value[0]) if hasattr(value, "__len__") else float(value)
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None
