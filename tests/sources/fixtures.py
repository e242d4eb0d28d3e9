"""Small media, written when a test asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.sources.media import PATIENT, write_video


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
    noise = np.random.default_rng(0).integers(-20, 21, (48, 64, 3))
    frames = [(20 * i + 25 + noise).astype(np.uint8) for i in range(10)]
    return write_video(tmp_path / "clip.avi", frames, 20)


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


@pytest.fixture
def nifti(tmp_path: Path) -> Callable[..., Path]:
    """Writes a NIfTI file whose texts name a patient; `.nii` or `.nii.gz` by its name."""

    def write(
        array: np.ndarray,
        name: str = "case.nii.gz",
        affine: np.ndarray | None = None,
        kind: Any = nibabel.Nifti1Image,
        **fields: Any,
    ) -> Path:
        image = kind(array, np.diag([2.0, 3.0, 5.0, 1.0]) if affine is None else affine)
        image.header["descrip"] = PATIENT.encode()
        image.header["intent_name"] = b"id-4711"
        for field, value in fields.items():
            image.header[field] = value
        image.to_filename(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def series(tmp_path: Path, dicom: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a folder of CT slices 2.5 mm apart, in file names that do not follow their order."""

    def write(volume: np.ndarray, folder: str = "series", **tags: Any) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        for k, pixels in enumerate(volume):
            own: dict[str, Any] = {
                "SeriesInstanceUID": "1.2.3",
                "InstanceNumber": k + 1,
                "ImagePositionPatient": [-10.0, -20.0, 2.5 * k],
                "ImageOrientationPatient": [1.0, 0, 0, 0, 1.0, 0],
                "PixelSpacing": [0.5, 0.4],
            }
            for key, value in tags.items():
                own[key] = value(k) if callable(value) else value
            named = {key: value for key, value in own.items() if value is not None}
            dicom(pixels, f"{folder}/im{(k * 7) % len(volume)}_{k}.dcm", **named)
        return tmp_path / folder

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
