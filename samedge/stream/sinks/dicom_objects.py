"""Two DICOM objects of a recording: its frames as a multi-frame secondary capture, and the masks as
a segmentation that points to them frame by frame.

Written with pydicom: highdicom 0.28 makes no segmentation of several frames that have no place in a
patient, as those of a stream ("Only a single frame is supported when the source image has no Frame
of Reference UID"). The modules are those of PS3.3 A.8.3 and A.8.5 (secondary captures) and A.51
(segmentation).

They hold nothing of a patient: fresh UIDs, no date but that of the recording, no name. What is
burned into the pixels stays there, and "Burned In Annotation" says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from samedge._optional import importing
from samedge._version import __version__
from samedge.drawing.colours import Colour
from samedge.files.whole import whole_path
from samedge.sources.foreign import quiet_pydicom
from samedge.sources.frame import Spacing
from samedge.stream.sinks.dicom_store import Recorded, Segment, new_uid
from samedge.stream.sinks.report import NOTICE

with importing("pydicom", extra="stream", what="samedge.stream.sinks.dicom_objects"):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import UID, ExplicitVRLittleEndian

GREY = "1.2.840.10008.5.1.4.1.1.7.2"  # Multi-frame Grayscale Byte Secondary Capture
COLOUR = "1.2.840.10008.5.1.4.1.1.7.4"  # Multi-frame True Color Secondary Capture
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
PATIENT = "Anonymous"
_LONG_TEXT = 64  # characters
_LIST_BYTES = 65534  # of a list of numbers
_TEMPORAL_POSITION, _FRAME_CONTENT = 0x00209128, 0x00209111
_SEGMENT_NUMBER, _SEGMENT_IDENTIFICATION = 0x0062000B, 0x0062000A


def secondary_capture(recorded: Recorded) -> Dataset:
    """The frames, without their pixels."""
    data = _base(recorded, COLOUR if recorded.colour else GREY, recorded.instance, recorded.series)
    data.Modality, data.SeriesNumber, data.SeriesDescription = "US", 1, "Frames of a live stream"
    data.ConversionType, data.Laterality = "DV", ""
    data.ImageType = ["DERIVED", "SECONDARY"]
    data.BurnedInAnnotation = "YES"  # what a source sends may show anything
    _pixels(data, recorded, len(recorded.frames), bits=8)
    if recorded.colour:
        data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
        data.PlanarConfiguration = 0
    else:
        data.PresentationLUTShape = "IDENTITY"
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    if recorded.spacing_mm is not None:
        data.PixelSpacing = _numbers(recorded.spacing_mm)
    _times(data, recorded.frames)
    return data


def segmentation(recorded: Recorded) -> Dataset:
    """The masks, without their pixels."""
    data = _base(recorded, SEGMENTATION, new_uid(), new_uid())
    data.Modality, data.SeriesNumber, data.SeriesDescription = "SEG", 2, "Masks of a live stream"
    data.ImageType = ["DERIVED", "PRIMARY"]
    _pixels(data, recorded, len(recorded.masks), bits=1)
    data.LossyImageCompression = "00"
    data.SegmentationType, data.SegmentsOverlap = "BINARY", "YES" if recorded.overlap else "NO"
    data.ContentLabel, data.ContentDescription = "SAMEDGE", NOTICE
    data.ContentCreatorName = None
    data.SegmentSequence = Items(
        [_segment(i, one, recorded.title) for i, one in enumerate(recorded.segments, 1)]
    )
    data.ReferencedSeriesSequence = Items([_referenced_series(recorded)])
    _dimensions(data)
    shared = Dataset()
    if recorded.spacing_mm is not None:
        measures = Dataset()
        measures.PixelSpacing = _numbers(recorded.spacing_mm)
        shared.PixelMeasuresSequence = Items([measures])
    data.SharedFunctionalGroupsSequence = Items([shared])
    data.PerFrameFunctionalGroupsSequence = Items(
        [_mask(recorded, frame, segment) for frame, segment in recorded.masks]
    )
    return data


def write(path: Path, data: Dataset, pixels: IO[bytes]) -> None:
    """Write an object, whole or not at all.

    Args:
        path: of the file; an older one is replaced.
        data: the object.
        pixels: a file of an even number of bytes, read from where it stands.

    Raises:
        OutputError: the disk is full, or the operating system refuses.
    """
    data.add_new("PixelData", "OB", pixels)
    with whole_path(path) as part, quiet_pydicom():
        data.save_as(part, enforce_file_format=True)


def _base(recorded: Recorded, sop_class: str, instance: str, series: str) -> Dataset:
    """What every object has: no patient, this study, who made it."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = UID(sop_class)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = UID(instance)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 192"
    data.StudyInstanceUID, data.SeriesInstanceUID = recorded.study, series
    data.PatientName = PATIENT
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        setattr(data, keyword, "")
    for keyword in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientOrientation"):
        setattr(data, keyword, "")
    now = datetime.now()
    data.ContentDate, data.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    data.Manufacturer = data.ManufacturerModelName = "samedge"
    data.DeviceSerialNumber, data.SoftwareVersions = "none", __version__
    data.InstanceNumber = 1
    return data


def _pixels(data: Dataset, recorded: Recorded, frames: int, bits: int) -> None:
    data.Rows, data.Columns = recorded.size
    data.NumberOfFrames, data.SamplesPerPixel = frames, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0


def _times(data: Dataset, times: Sequence[float]) -> None:
    """The step before each frame; of very long loops the mean step."""
    steps = [0.0, *(1000 * float(step) for step in np.diff(times))]
    text = [f"{step:.3f}" for step in steps]
    if sum(map(len, text)) + len(text) <= _LIST_BYTES:
        data.FrameTimeVector, data.FrameIncrementPointer = text, 0x00181065
        return
    data.FrameTime = f"{1000 * times[-1] / (len(times) - 1):.6g}"
    data.FrameIncrementPointer = 0x00181063


def _numbers(spacing: Spacing) -> list[str]:
    return [f"{value:.10g}" for value in spacing]


def _code(value: str, scheme: str, meaning: str) -> Items:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return Items([code])


def _segment(number: int, one: Segment, title: str) -> Dataset:
    data = Dataset()
    data.SegmentNumber, data.SegmentLabel = number, _text(one.name)
    # What an object is nobody has said in words of a dictionary.
    data.SegmentedPropertyCategoryCodeSequence = _code("85756007", "SCT", "Tissue")
    data.SegmentedPropertyTypeCodeSequence = _code("85756007", "SCT", "Tissue")
    data.SegmentAlgorithmType = "SEMIAUTOMATIC" if one.by_hand else "AUTOMATIC"
    data.SegmentAlgorithmName = "samedge"
    data.TrackingID, data.TrackingUID = f"object {one.number}", new_uid()
    data.RecommendedDisplayCIELabValue = cielab(one.colour)
    how = Dataset()
    how.AlgorithmFamilyCodeSequence = _code("123110", "DCM", "Artificial Intelligence")
    how.AlgorithmName, how.AlgorithmVersion = _text(f"samedge: {title}"), __version__
    how.AlgorithmSource = "samedge"
    data.SegmentationAlgorithmIdentificationSequence = Items([how])
    return data


def _text(words: str) -> str:
    """Words as DICOM's short texts take them."""
    plain = "".join(c if c.isprintable() and c != "\\" else " " for c in words)
    return plain.strip()[:_LONG_TEXT] or "?"


def _referenced_series(recorded: Recorded) -> Dataset:
    instance = Dataset()
    instance.ReferencedSOPClassUID = COLOUR if recorded.colour else GREY
    instance.ReferencedSOPInstanceUID = recorded.instance
    series = Dataset()
    series.SeriesInstanceUID = recorded.series
    series.ReferencedInstanceSequence = Items([instance])
    return series


def _dimensions(data: Dataset) -> None:
    """Frames of a segmentation are told apart by segment and by time."""
    organization, indices = new_uid(), []
    for pointer, group, label in (
        (_SEGMENT_NUMBER, _SEGMENT_IDENTIFICATION, "Segment Number"),
        (_TEMPORAL_POSITION, _FRAME_CONTENT, "Temporal Position Index"),
    ):
        index = Dataset()
        index.DimensionOrganizationUID = organization
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, group
        index.DimensionDescriptionLabel = label
        indices.append(index)
    one = Dataset()
    one.DimensionOrganizationUID = organization
    data.DimensionOrganizationSequence = Items([one])
    data.DimensionIndexSequence = Items(indices)


def _mask(recorded: Recorded, frame: int, segment: int) -> Dataset:
    """Which frame of the secondary capture a mask belongs to, and which segment it shows."""
    content, derivation, source, identification = Dataset(), Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [segment + 1, frame + 1]
    content.TemporalPositionIndex = frame + 1
    source.ReferencedSOPClassUID = COLOUR if recorded.colour else GREY
    source.ReferencedSOPInstanceUID = recorded.instance
    source.ReferencedFrameNumber = frame + 1
    source.PurposeOfReferenceCodeSequence = _code(
        "121322", "DCM", "Source image for image processing operation"
    )
    derivation.DerivationCodeSequence = _code("113076", "DCM", "Segmentation")
    derivation.SourceImageSequence = Items([source])
    identification.ReferencedSegmentNumber = segment + 1
    groups = Dataset()
    groups.FrameContentSequence = Items([content])
    groups.DerivationImageSequence = Items([derivation])
    groups.SegmentIdentificationSequence = Items([identification])
    return groups


# sRGB (IEC 61966-2-1) to XYZ with the white point D50, as ICC profiles have it.
_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_WHITE = _XYZ.sum(axis=1)


def cielab(colour: Colour) -> list[int]:
    """A colour as DICOM has it (PS3.3 C.10.7.1.1): L* a* b*, each from 0 to 65535."""
    given = np.array(colour, float) / 255
    linear = np.where(given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4)
    ratio: Any = _XYZ @ linear / _WHITE
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    values = (116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255
    return [round(min(max(float(v), 0.0), 1.0) * 65535) for v in values]
