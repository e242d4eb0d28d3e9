"""Frames to calibrate INT8 with, from whatever the user has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samedge.errors import SourceError
from samedge.files.paths import kind_at

if TYPE_CHECKING:
    from samedge.export.int8.calibration_data import CalibrationData
    from samedge.families import Family

SPLITS = ("val", "train")  # of a data set, in this order: never the list that is tested on


def calibration_data(
    path: Path,
    family: Family,
    limit: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> CalibrationData:
    """Read and check calibration frames.

    Args:
        path: folder of images, perhaps with their masks, US30K folder or one of its lists, video,
            DICOM file or series, image or volume.
        family: of the model that is calibrated.
        limit: frames, evenly spread; default `samedge.export.int8.calibration_data.LIMIT`.
        warn: called with the source's warnings.

    Raises:
        SourceError: nothing that can be read.
        FrameError: no frame, or one that is none.
    """
    from samedge.export.int8.calibration_data import LIMIT, choose_frames

    kind_at(path, SourceError)  # says what is wrong with a path that nothing can be at
    if _is_data_set(path):
        frames, kind = _of_data_set(path, warn), "data set"
    else:
        frames, kind = _of_source(path, warn)
    return choose_frames(frames, family, kind, limit or LIMIT)


def _list_of(path: Path) -> Path | None:
    """The data set that a list of US30K (MainPatient/NAME.txt) belongs to, if it is one."""
    inside = path.suffix == ".txt" and path.parent.name == "MainPatient"
    return path.parent.parent if inside and path.is_file() else None


def _is_data_set(path: Path) -> bool:
    """Whether a path has labels, which are no frames: a data set of US30K, or plain folders."""
    from samedge.train.data.folders import find_pair

    us30k = _list_of(path) is not None or (path / "MainPatient").is_dir()
    return us30k or (path.is_dir() and find_pair(path) is not None)


def _of_data_set(path: Path, warn: Callable[[str], None] | None) -> Iterator[Any]:
    """Images of a US30K folder or list, of a folder those of its validation list; all images of
    plain folders. Labels are not read."""
    from samedge.train.data import ImageFolders, open_dataset, splits
    from samedge.train.data.folders import find_pair

    root = _list_of(path)
    if root is not None:
        chosen = path.stem
    else:
        root, known = path, splits(path)
        undivided = find_pair(path) is not None and not (path / "MainPatient").is_dir()
        chosen = "all" if undivided else next((name for name in SPLITS if name in known), "")
        if not chosen:
            raise SourceError(
                f"'{path.name}' has no list {' or '.join(SPLITS)}, only {', '.join(known)}; name "
                f"the list to calibrate with: {path.name}/MainPatient/NAME.txt"
            )
    samples = open_dataset(root, chosen)
    tell = warn or (lambda _: None)
    if isinstance(samples, ImageFolders):
        for note in samples.notes:
            tell(note)
    return (samples.image(index, tell) for index in range(len(samples)))


def _of_source(path: Path, warn: Callable[[str], None] | None) -> tuple[Iterator[Any], str]:
    from samedge.sources.opening import open_source

    source = open_source(path, warn)

    def frames() -> Iterator[Any]:
        with source as opened:
            for frame in opened:
                region = frame.region
                x0, y0, x1, y1 = region or (0, 0, frame.width, frame.height)
                yield frame.picture[y0:y1, x0:x1]

    return frames(), source.kind
