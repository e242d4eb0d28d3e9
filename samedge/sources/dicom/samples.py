"""The samples of a DICOM file, frame by frame, as they come out of pydicom's decoders.

What pydicom does not look at when it reads an open file is checked here: whether native pixels have
the length that the header promises, and which colours a JPEG codestream holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import NotSupportedError, SourceError
from samedge.sources.dicom.declared import check_declared, checked_frames
from samedge.sources.dicom.jpeg_colours import JpegHead, read_jpeg_head
from samedge.sources.frame import Warn

# pydicom's names of decoder plugins -> what pip calls them
_PIP = {
    "pillow": "pillow",
    "pylibjpeg": "pylibjpeg[all]",
    "gdcm": "python-gdcm",
    "pyjpegls": "pyjpegls",
}
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")  # with lossy colours


def read_pixel_header(path: Path, **options: Any) -> Any:
    """The dataset without its pixels, which stay on the disk, except where it is deflated."""
    import pydicom

    check_declared(path)
    header = pydicom.dcmread(path, defer_size=1024, **options)
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_deflated:  # what is unpacked has no place in the file
        return pydicom.dcmread(path, **options)
    return header


def read_samples(
    path: Path, header: Any, name: str, warn: Warn, count: int
) -> Iterator[NDArray[Any]]:
    """Decode one frame after the other; only one is in memory at a time.

    Args:
        path: of the file.
        header: from `read_pixel_header`.
        name: for messages.
        warn: told when the colours are others than the tags say.
        count: of frames, as the header says.

    Yields:
        `[H, W]` or `[H, W, 3]` samples; colours are RGB.

    Raises:
        NotSupportedError: no decoder that is installed can do this; names one that can.
        SourceError: native pixels are longer or shorter than the header says.
        Exception: whatever pydicom raises on damaged files.
    """
    from pydicom.pixels.utils import iter_pixels

    decoder = decoder_of(header, name)
    check_bits(header, name)
    check_length(header, name, count)
    options = _colour_options(path, header, decoder, name, warn)
    if header.file_meta.TransferSyntaxUID.is_deflated:
        yield from _one_by_one(header, options)
        return
    good = checked_frames(path, header, count, name)
    done = 0
    with path.open("rb") as file:
        try:
            # Each frame is looked at, then decoded.
            for _, samples in zip(good, iter_pixels(file, **options), strict=False):
                yield np.asarray(samples)
                done += 1
            return
        except (ValueError, AttributeError, RuntimeError, NotImplementedError):
            if done:  # it can be decoded, so this frame is damaged
                raise
    yield from _second_way(path, decoder, name, options, count)


def _second_way(
    path: Path, decoder: Any, name: str, options: dict[str, Any], count: int
) -> Iterator[NDArray[Any]]:
    """Decode from the whole dataset, as `Dataset.pixel_array` does: pydicom reads some files so
    that it refuses as an open file (JPEG 2000 whose sign is not that of the tags)."""
    import pydicom

    dataset = pydicom.dcmread(path)
    good = checked_frames(path, dataset, count, name)
    try:
        for _, samples in zip(good, _one_by_one(dataset, options), strict=False):
            yield samples
    except RuntimeError:
        raise _undecodable(dataset, decoder, name) from None


def _one_by_one(dataset: Any, options: dict[str, Any]) -> Iterator[NDArray[Any]]:
    from pydicom.pixels.utils import pixel_array

    for index in range(int(dataset.get("NumberOfFrames", 1) or 1)):
        yield np.asarray(pixel_array(dataset, index=index, **options))


def _undecodable(dataset: Any, decoder: Any, name: str) -> Exception:
    """Every decoder that is here gave up: is it the file, or are they too few?"""
    syntax = dataset.file_meta.TransferSyntaxUID.name
    bits = int(dataset.get("BitsStored", 8) or 8)
    colour = int(dataset.get("SamplesPerPixel", 1) or 1) > 1
    packages = _packages(decoder)
    if packages and (bits > (8 if _is_jpeg(dataset) or colour else 16)):
        return NotSupportedError(
            f"{name}: '{syntax}' with {bits} bits per sample needs a decoder that is not "
            f"installed. Install one: pip install {packages}"
        )
    if packages:
        return SourceError(
            f"{name} is a damaged DICOM file, or its pixels ('{syntax}') need another decoder: if "
            f"other programs show it, pip install {packages}"
        )
    return SourceError(f"{name} is a damaged DICOM file: its pixels ('{syntax}') cannot be decoded")


def decoder_of(header: Any, name: str) -> Any:
    """The decoder of the file's transfer syntax.

    Raises:
        NotSupportedError: there is none, or its packages are not installed; names the remedy.
        SourceError: the file does not name its transfer syntax.
    """
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
        raise NotSupportedError(
            f"{name}: the DICOM transfer syntax '{syntax.name}' needs a decoder that is not "
            f"installed. Install one: pip install {_packages(decoder) or 'another decoder'}"
        )
    return decoder


def _packages(decoder: Any) -> str:
    """The packages that would bring further decoders, for a message."""
    needs = [d.partition(" ")[0] for d in decoder.missing_dependencies]
    return " or ".join(f"'{_PIP.get(n, n)}'" for n in needs)


def check_bits(header: Any, name: str) -> None:
    """Refuse native samples that do not end at the lowest bit, which pydicom would cut off.

    Raises:
        NotSupportedError: says where they lie.
    """
    if header.file_meta.TransferSyntaxUID.is_encapsulated:  # codestreams know their bits
        return
    allocated = int(header.BitsAllocated)
    stored, high = int(header.get("BitsStored", allocated)), header.get("HighBit", None)
    if high is None or stored >= allocated or int(high) == stored - 1:
        return
    raise NotSupportedError(
        f"{name}: its samples of {stored} bits end at bit {int(high)} of {allocated}; samedge "
        f"reads those that end at bit {stored - 1}, as DICOM has it today. Convert the file (for "
        "instance with dcmtk's dcmconv), or correct HighBit if the samples do lie there"
    )


def check_length(header: Any, name: str, count: int) -> None:
    """Refuse native pixels of another length than the header says: they would be shown askew.

    Raises:
        SourceError: with both lengths.
    """
    element = header.get_item("PixelData")
    if header.file_meta.TransferSyntaxUID.is_encapsulated or element is None:
        return
    found = len(element.value) if element.value is not None else int(element.length)
    samples = int(header.get("SamplesPerPixel", 1) or 1)
    bits = int(header.Rows) * int(header.Columns) * samples * int(header.BitsAllocated)
    if str(header.get("PhotometricInterpretation", "")).strip() == "YBR_FULL_422":
        bits = bits // 3 * 2
    expected = -(-bits * count // 8)
    if found in (expected, expected + expected % 2):  # values of odd length are padded
        return
    raise SourceError(
        f"{name} is a damaged DICOM file: it holds {found} bytes of pixels, and its header "
        f"({count} x {header.Columns} x {header.Rows} px, {samples} x {header.BitsAllocated} "
        f"bits) stands for {expected}. Export it again from where it came"
    )


def _is_jpeg(header: Any) -> bool:
    return str(header.file_meta.TransferSyntaxUID) in _JPEG


def _colour_options(path: Path, header: Any, decoder: Any, name: str, warn: Warn) -> dict[str, Any]:
    """How pydicom has to be told to decode a JPEG so that the colours come out right."""
    if not _is_jpeg(header) or int(header.get("SamplesPerPixel", 1) or 1) != 3:
        return {}
    head = read_jpeg_head(_first_frame(path, header))
    if head.precision != 8 or "pillow" not in decoder.available_plugins:
        return {}
    # One decoder, whose ways are known: with an Adobe mark it gives RGB, otherwise what is stored.
    options = {"decoding_plugin": "pillow"}
    tag = str(header.get("PhotometricInterpretation", "")).strip()
    if head.adobe == 1:
        return options | {"photometric_interpretation": "RGB"}
    if tag == "RGB" and head.looks_like_ycbcr:
        warn(
            f"{name}: its tags say RGB, but its JPEG data look like YCbCr ({_why(head)}); they "
            "were converted to RGB"
        )
        return options | {"photometric_interpretation": "YBR_FULL"}
    return options


def _why(head: JpegHead) -> str:
    if head.sampling[0] != head.sampling[1]:
        return "the chroma has fewer pixels"
    return "components 1, 2, 3 and no Adobe mark"


def _first_frame(path: Path, header: Any) -> bytes:
    """The codestream of the first frame."""
    from pydicom.encaps import get_frame

    element = header.get_item("PixelData")
    count = int(header.get("NumberOfFrames", 1) or 1)
    if element.value is not None:
        return bytes(get_frame(element.value, 0, number_of_frames=count))
    with path.open("rb") as file:
        file.seek(element.value_tell)
        return bytes(get_frame(file, 0, number_of_frames=count))
