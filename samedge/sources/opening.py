"""From a path to the source that reads it."""

from __future__ import annotations

from pathlib import Path

from samedge.errors import NotSupportedError, SourceError
from samedge.files.paths import kind_at, shown
from samedge.sources.frame import Source, Warn
from samedge.sources.intensity import Intensity, Range
from samedge.sources.sniff import HDF5, IMAGE_KINDS, read_head, sniff

EXPECTED = (
    "PNG, JPEG, BMP or TIFF image, a video, a DICOM file, a folder of images or of one DICOM "
    "series, a NIfTI volume or a numpy array"
)


def open_source(
    path: str | Path,
    warn: Warn | None = None,
    *,
    window: Range | None = None,
    deep: bool = False,
    axis: int | None = None,
    time: bool = False,
) -> Source:
    """Open an image, a video, a DICOM file, a volume or a folder of those, told by content.

    Args:
        path: file or folder.
        warn: called once with each warning; they are collected in `source.warnings` as well.
        window: (low, high) in the units of the file, mapped to black and white.
        deep: give uint16 frames where the source has more than 8 bits.
        axis: of a NIfTI or numpy array, along which its slices lie; None: the last of NIfTI, the
            first of numpy.
        time: the slices of such an array follow each other in time, not in space.

    Returns:
        An iterable of `Frame`. Pixels are decoded when they are iterated.

    Raises:
        SourceError: there is no such file, it is of another kind (the message says which),
            damaged, or does not take `window`, `axis` or `time`.
        NotSupportedError: this machine lacks a decoder (the message names the package).
    """
    path = Path(path)
    intensity = Intensity(window, deep)
    kind: str = kind_at(path, SourceError)
    if kind == "file":
        kind = sniff(read_head(path))
    elif kind == "other":
        raise SourceError(f"{path.name} is neither a file nor a folder; expected a {EXPECTED}")
    elif kind == "missing":
        raise SourceError(
            f"there is no file or folder {shown(path.name or path)}; expected a {EXPECTED}"
        )
    for option, given in (("--axis", axis is not None), ("--time", time)):
        if given and kind not in ("NIfTI", "NPY", "NPZ"):
            raise SourceError(
                f"{path.name} is no NIfTI volume or numpy array; {option} is for those: leave it "
                "out"
            )
    return _open(path, kind, warn, intensity, axis, time)


def _open(
    path: Path, kind: str, warn: Warn | None, intensity: Intensity, axis: int | None, time: bool
) -> Source:
    if kind == "folder":
        return _open_folder(path, warn, intensity)
    if kind in IMAGE_KINDS:
        from samedge.sources.images import ImageSource

        return ImageSource(path, warn, intensity)
    if kind == "video":
        from samedge.sources.video import VideoSource

        intensity.refuse_colour(path.name)
        return VideoSource(path, warn)
    if kind == "DICOM":
        from samedge.sources.dicom.file import DicomSource

        return DicomSource(path, warn, intensity)
    if kind == "NIfTI":
        from samedge.sources.nifti import NiftiSource

        return NiftiSource(path, warn, intensity, axis, time)
    if kind in ("NPY", "NPZ"):
        from samedge.sources.numpy_files import NumpySource

        return NumpySource(path, warn, intensity, axis, time)
    raise _no_source(path, kind)


def _no_source(path: Path, kind: str) -> SourceError | NotSupportedError:
    if kind == HDF5:
        # h5py would read it, through a C library that damaged files can crash: nothing that a
        # device should be handed from outside.
        return NotSupportedError(
            f"{path.name} is an HDF5 file, which samedge does not read. Convert it, where h5py is "
            "installed: python -c \"import h5py, numpy; numpy.savez_compressed('OUT.npz', "
            "image=h5py.File('IN.h5')['image'][:])\""
        )
    named = f"{path.name} is {kind}" + (", whatever its name says" if path.suffix else "")
    return SourceError(f"{named}; expected a {EXPECTED}")


def _open_folder(path: Path, warn: Warn | None, intensity: Intensity) -> Source:
    if (path / "manifest.json").is_file() and path.suffix == ".samedge":
        raise SourceError(
            f"{path.name} is a bundle, not a source; the order is: samedge segment BUNDLE SOURCE"
        )
    from samedge.sources.images import FolderSource, kinds_in

    kinds = kinds_in(path)
    if "DICOM" in kinds.values() and not set(IMAGE_KINDS) & set(kinds.values()):
        from samedge.sources.dicom.series import DicomSeries

        return DicomSeries(path, kinds, warn, intensity)
    return FolderSource(path, warn, intensity, kinds)
