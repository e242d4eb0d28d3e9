"""Small media, written when a test asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.stream.media import PATIENT


@pytest.fixture
def grey() -> np.ndarray:
    """A grey picture `[48, 64]` that is symmetric in no way."""
    y, x = np.mgrid[0:48, 0:64]
    return (x * 3 + y).astype(np.uint8)


@pytest.fixture
def rgb(grey: np.ndarray) -> np.ndarray:
    """An RGB picture `[48, 64, 3]` with three different channels."""
    return np.stack([grey, 255 - grey, np.full_like(grey, 40)], axis=2)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Ten frames of 64 x 48 px at 20 / s, each brighter than the last, and noisy (so not small)."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    noise = np.random.default_rng(0).integers(-20, 21, (48, 64, 3))
    for i in range(10):
        writer.write((20 * i + 25 + noise).astype(np.uint8))
    writer.release()
    return path


@pytest.fixture
def dicom(tmp_path: Path) -> Callable[..., Path]:
    """Writes a DICOM file: pixels `[H, W]`, `[H, W, 3]`, `[F, H, W]` or None, and further tags."""

    def write(pixels: np.ndarray | None, name: str = "us.dcm", **tags: Any) -> Path:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset(str(tmp_path / name), {}, file_meta=meta, preamble=b"\0" * 128)
        data.PatientName, data.PatientID, data.Modality = PATIENT, "id-4711", "US"
        data.SOPClassUID = meta.MediaStorageSOPClassUID
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        if pixels is not None:
            _add_pixels(data, pixels)
        for key, value in tags.items():
            setattr(data, key, Sequence(value) if key.startswith("Sequence") else value)
        path = tmp_path / name
        data.save_as(path, enforce_file_format=True)
        return path

    return write


def _add_pixels(data: pydicom.Dataset, pixels: np.ndarray) -> None:
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.ndim == 3 and not colour:
        data.NumberOfFrames = len(pixels)
    height, width = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:]
    bits = pixels.dtype.itemsize * 8
    data.Rows, data.Columns = height, width
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    data.PixelData = pixels.tobytes()
