"""Samples of DICOM files: the colours of JPEG codestreams, lengths, ways of decoding."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from samedge.errors import NotSupportedError, SourceError
from samedge.sources.opening import open_source

Dicom = Callable[..., Path]
ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"


def jpeg(rgb: np.ndarray, mark: bytes = b"", **options: Any) -> bytes:
    """A JPEG codestream without the JFIF segment, and with another mark instead."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=98, **options)
    data = buffer.getvalue()
    assert data[6:10] == b"JFIF"
    return data[:2] + mark + data[4 + int.from_bytes(data[4:6], "big") :]


def encapsulated(path: Path, frames: list[bytes], syntax: str, **tags: Any) -> Path:
    """Replace the pixels of a file by codestreams."""
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate(frames)
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    for key, value in tags.items():
        setattr(data, key, value)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def smooth() -> np.ndarray:
    """Strong colours that change slowly, so that JPEG keeps them, also at half their pixels."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 3, 255 - x * 3, y * 4], axis=2).astype(np.uint8)


@pytest.mark.parametrize("tag", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("mark", [b"", ADOBE + b"\1"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpegs_are_read_as_their_codestream_says(
    dicom: Dicom, smooth: np.ndarray, tag: str, mark: bytes, subsampling: str
) -> None:
    """YCbCr, whatever the tags say. Without a mark that is an inference, and noted."""
    stream = jpeg(smooth, mark, subsampling=subsampling)
    path = encapsulated(dicom(smooth), [stream], JPEGBaseline8Bit, PhotometricInterpretation=tag)
    source = open_source(path)
    (frame,) = source
    assert np.abs(frame.pixels.astype(int) - smooth).mean() < 4
    if tag == "RGB" and not mark:
        (note,) = source.warnings
        assert "us.dcm: its tags say RGB, but its JPEG data look like YCbCr" in note
    else:
        assert source.warnings == []


def test_jpegs_that_are_rgb_stay_so(dicom: Dicom, smooth: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG", quality=98, keep_rgb=True)
    source = open_source(encapsulated(dicom(smooth), [buffer.getvalue()], JPEGBaseline8Bit))
    (frame,) = source
    assert np.abs(frame.pixels.astype(int) - smooth).mean() < 4
    assert source.warnings == []


def test_slices_of_a_series_are_no_exception(
    dicom: Dicom, smooth: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    for k in range(2):
        path = dicom(smooth, f"s/{k}.dcm", SeriesInstanceUID="1.2", InstanceNumber=k)
        encapsulated(path, [jpeg(smooth, subsampling="4:2:2")], JPEGBaseline8Bit)
    source = open_source(tmp_path / "s")
    for frame in source:
        assert np.abs(frame.pixels.astype(int) - smooth).mean() < 4
    assert "look like YCbCr" in source.warnings[0]


@pytest.mark.parametrize("factor", [2, 0.9])
@pytest.mark.parametrize("frames", [1, 3])
def test_native_pixels_of_another_length(
    dicom: Dicom, grey: np.ndarray, factor: float, frames: int
) -> None:
    """One column too many would show a picture that runs askew."""
    path = dicom(np.stack([grey] * frames) if frames > 1 else grey, FrameTime="40")
    data = pydicom.dcmread(path)
    expected = len(data.PixelData)
    data.PixelData = (data.PixelData * 2)[: int(expected * factor) // 2 * 2]
    data.save_as(path)
    with pytest.raises(SourceError, match=f"{len(data.PixelData)} bytes.*{expected}"):
        list(open_source(path))


def test_odd_lengths_are_padded(dicom: Dicom) -> None:
    path = dicom(np.full((17, 19), 90, np.uint8))
    assert len(pydicom.dcmread(path).PixelData) == 17 * 19 + 1
    (frame,) = open_source(path)
    assert (frame.pixels == 90).all()


def test_deflated_files(dicom: Dicom, grey: np.ndarray) -> None:
    path = dicom(np.stack([grey, 255 - grey]), FrameTime="40")
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    first, second = open_source(path)
    np.testing.assert_array_equal(first.pixels, grey)
    np.testing.assert_array_equal(second.pixels, 255 - grey)


def test_jpeg_2000_with_another_sign() -> None:
    """pydicom reads it as a dataset only."""
    path = Path(str(get_testdata_file("J2K_pixelrep_mismatch.dcm")))
    (frame,) = open_source(path)
    assert frame.pixels.std() > 20


def test_12_bit_jpegs_name_the_packages(dicom: Dicom, grey: np.ndarray) -> None:
    stream = bytearray(jpeg(grey))
    stream[stream.index(b"\xff\xc0") + 1] = 0xC1
    path = encapsulated(
        dicom(grey.astype(np.uint16)), [bytes(stream)], JPEGExtended12Bit, BitsStored=12, HighBit=11
    )
    with pytest.raises(NotSupportedError, match=r"12 bits per sample.*pip install .*pylibjpeg"):
        list(open_source(path))


def test_what_no_decoder_here_takes_may_need_another(dicom: Dicom, grey: np.ndarray) -> None:
    path = encapsulated(dicom(grey), [b"\xff\x4f\xff\x51" + bytes(400)], JPEG2000Lossless)
    with pytest.raises(SourceError, match=r"damaged DICOM file, or .*another decoder.*pip install"):
        list(open_source(path))


@pytest.mark.parametrize(("bits", "notes"), [(8, 0), (16, 1)])
def test_palettes_with_bytes_in_words(
    dicom: Dicom, grey: np.ndarray, bits: int, notes: int
) -> None:
    table = np.arange(256, dtype="<u2").tobytes()
    palette = {
        f"{colour}PaletteColorLookupTable{key}": value
        for colour in ("Red", "Green", "Blue")
        for key, value in (("Descriptor", [256, 0, bits]), ("Data", table))
    }
    source = open_source(dicom(grey, PhotometricInterpretation="PALETTE COLOR", **palette))
    (frame,) = source
    np.testing.assert_array_equal(frame.pixels, np.repeat(grey[..., None], 3, axis=2))
    assert len(source.warnings) == notes


def test_palettes_with_words(dicom: Dicom, grey: np.ndarray) -> None:
    table = (np.arange(256) * 257).astype("<u2").tobytes()
    palette = {
        f"{colour}PaletteColorLookupTable{key}": value
        for colour in ("Red", "Green", "Blue")
        for key, value in (("Descriptor", [256, 0, 16]), ("Data", table))
    }
    # A frame of dark pixels only: the table decides, not what is used of it.
    (frame,) = open_source(dicom(grey // 200, PhotometricInterpretation="PALETTE COLOR", **palette))
    np.testing.assert_array_equal(frame.pixels[..., 0], grey // 200)
