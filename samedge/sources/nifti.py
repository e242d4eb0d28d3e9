"""NIfTI volumes, `.nii` and `.nii.gz`, told apart by content.

nibabel reads the header. Texts and extensions in it, which may name a patient, are never looked at;
the voxels of an uncompressed file are mapped from the disk.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import SourceError
from samedge.sources.foreign import damaged, quiet_nibabel
from samedge.sources.frame import Warn
from samedge.sources.intensity import Intensity
from samedge.sources.nifti_layout import NiftiLayout
from samedge.sources.volume import Slices, VolumeSource, check_bytes, is_numeric

GZIP = b"\x1f\x8b"
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
MAX_OFFSET = 1 << 26  # of the voxels: there is room for every extension before them
_CHUNK = 1 << 24


class NiftiSource(VolumeSource):
    """Slices of a NIfTI volume along one axis of its array.

    Args:
        path: of the file.
        warn: told what was not as expected.
        intensity: which values become black and white.
        axis: 0, 1 or 2; None: 2.
        time: the slices follow each other in time, not in space; so do those of `[X, Y, 1, T]`.

    Raises:
        MissingDependencyError: nibabel is not installed.
        SourceError: damaged, of an unusual type, or of another shape than `[X, Y]` or `[X, Y, Z]`
            (in time also `[X, Y, 1, T]`).
    """

    def __init__(
        self,
        path: Path,
        warn: Warn | None = None,
        intensity: Intensity | None = None,
        axis: int | None = None,
        time: bool = False,
    ) -> None:
        super().__init__(path, warn, intensity or Intensity())
        require("nibabel", "stream", "reading NIfTI files")
        self._packed = False
        with damaged(f"{self.name} is damaged: its header cannot be read"):
            self._read_header(axis, time)
        if time:
            self._follow_in_time(self._layout.step_s())

    @property
    def stem(self) -> str:
        """`case.nii.gz` -> `case`."""
        return Path(self.name.removesuffix(".gz")).stem

    def _read_header(self, axis: int | None, time: bool) -> None:
        with self._path.open("rb") as file:
            self._packed = file.read(2) == GZIP
        with self._open() as file:
            header = _header(file.read(HEADER_BYTES), self.name)
        shape = tuple(int(n) for n in header.get_data_shape())
        self._layout = self.layout = NiftiLayout(header, shape, 2 if axis is None else axis)
        self._check_shape(shape, time)
        self._dtype = np.dtype(header.get_data_dtype())
        if not is_numeric(self._dtype):
            raise SourceError(
                f"{self.name} holds {_words(self._dtype)} voxels; expected grey values, "
                "integers or floats"
            )
        slope, inter = header.get_slope_inter()
        self._scale = (
            1.0 if slope is None else float(slope),
            0.0 if inter is None else float(inter),
        )
        self._offset = int(header.get_data_offset())
        self._expect(*self._layout.frames)
        self._check_bytes()
        if self._layout.sizes_disagree:
            self.warn(
                f"{self.name}: its sform and pixdim give voxels of different sizes, so that no mm "
                "are known; write the file again with the right affine"
            )
        # One slice has no volume: of a picture, pixdim[3] is a filler.
        self.voxel_mm3 = self._layout.voxel_mm3() if self._layout.frames[0] > 1 else None

    def _check_shape(self, shape: tuple[int, ...], time: bool) -> None:
        in_time = self._layout.is_slice_over_time
        single = shape[4 if in_time else 3 :]
        if not 2 <= len(shape) <= 7 or any(n < 1 for n in shape) or any(n > 1 for n in single):
            raise SourceError(
                f"{self.name} is an array of shape {list(shape)}; expected one volume [X, Y, Z]. "
                "Cut a time series into its volumes first, for instance with nibabel.four_to_three"
            )
        if in_time and not time:
            raise SourceError(
                f"{self.name} is one slice at {shape[3]} times [X, Y, 1, T]; give --time to take "
                "it as a loop"
            )
        if in_time and self._layout.axis != 2:
            raise SourceError(
                f"{self.name} is one slice at {shape[3]} times [X, Y, 1, T], which has no other "
                "axis of frames than the last; leave --axis out"
            )

    def _check_bytes(self) -> None:
        needed = self._dtype.itemsize * int(np.prod(self._layout.xyz, dtype=np.int64))
        if not 0 <= self._offset <= MAX_OFFSET:
            raise SourceError(f"{self.name} is damaged: its voxels start at byte {self._offset}")
        if self._packed:
            check_bytes(self.name, needed, self._path.stat().st_size)
        elif self._path.stat().st_size < self._offset + needed:
            raise SourceError(f"{self.name} is damaged: it ends in the middle (truncated)")

    def _spacing(self) -> tuple[float, float] | None:
        return self._layout.spacing_mm()

    def _open(self) -> io.BufferedIOBase:
        return gzip.open(self._path) if self._packed else self._path.open("rb")

    def _load(self) -> Slices:
        xyz = self._layout.xyz
        if self._packed:
            array = self._unpack(int(np.prod(xyz))).reshape(xyz, order="F")
        else:
            array = np.memmap(self._path, self._dtype, "r", self._offset, xyz, order="F")
        return Slices(self._layout.slices(np.asarray(array)), *self._scale)

    def _unpack(self, count: int) -> NDArray[Any]:
        """All voxels of a compressed file, read in pieces: a file may promise more than it has."""
        array = np.empty(count, self._dtype)
        room = array.view(np.uint8).data
        done = 0
        with self._open() as file:
            file.seek(self._offset)
            while done < len(room):
                got = file.readinto(room[done : done + _CHUNK])
                if not got:
                    raise SourceError(f"{self.name} is damaged: it ends in the middle (truncated)")
                done += got
        return array


def _header(data: bytes, name: str) -> Any:
    """nibabel's header of a NIfTI-1 or NIfTI-2 file that begins with `data`."""
    import nibabel

    kind = nibabel.Nifti2Header if data[4:8] in (b"n+2\0", b"ni2\0") else nibabel.Nifti1Header
    size = int(kind.template_dtype.itemsize)
    if len(data) < size:
        raise SourceError(f"{name} is damaged: its header is cut off")
    with quiet_nibabel():
        header: Any = kind(data[:size])  # type: ignore[no-untyped-call]
    return header


def _words(dtype: np.dtype[Any]) -> str:
    return "complex" if dtype.kind == "c" else "colour" if dtype.kind == "V" else str(dtype)
