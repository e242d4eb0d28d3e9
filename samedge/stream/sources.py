"""From a path to the source that reads it."""

from __future__ import annotations

from pathlib import Path

from samedge.errors import SourceError
from samedge.stream.frame import Source, Warn
from samedge.stream.sniff import IMAGE_KINDS, read_head, sniff

EXPECTED = "PNG, JPEG, BMP or TIFF image, a folder of those, a video or a DICOM file"


def open_source(path: str | Path, warn: Warn | None = None) -> Source:
    """Open an image, a folder of images, a video or a DICOM file, told apart by content.

    Args:
        path: file or folder.
        warn: called once with each warning; they are collected in `source.warnings` as well.

    Returns:
        An iterable of `Frame`. Single images are decoded when they are iterated.

    Raises:
        SourceError: there is no such file, it is of another kind (the message says which), or
            damaged.
        NotSupportedError: this machine lacks a decoder (the message names the package).
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, warn)
    if not path.exists():
        raise SourceError(f"there is no file or folder {path.name or path}; expected a {EXPECTED}")
    if not path.is_file():
        raise SourceError(f"{path.name} is neither a file nor a folder; expected a {EXPECTED}")
    kind = sniff(read_head(path))
    if kind in IMAGE_KINDS:
        from samedge.stream.images import ImageSource

        return ImageSource(path, warn)
    if kind == "video":
        from samedge.stream.video import VideoSource

        return VideoSource(path, warn)
    if kind == "DICOM":
        from samedge.stream.dicom import DicomSource

        return DicomSource(path, warn)
    named = (
        f"{path.name} is {kind}, whatever its name says"
        if path.suffix
        else (f"{path.name} is {kind}")
    )
    raise SourceError(f"{named}; expected a {EXPECTED}")


def _open_folder(path: Path, warn: Warn | None) -> Source:
    if (path / "manifest.json").is_file() and path.suffix == ".samedge":
        raise SourceError(
            f"{path.name} is a bundle, not a source; the order is: samedge segment BUNDLE SOURCE"
        )
    from samedge.stream.images import FolderSource

    return FolderSource(path, warn)
