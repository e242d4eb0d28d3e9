"""numpy arrays, `.npy` and `.npz`: one slice `[H, W]` or a volume `[D, H, W]`.

Pickled objects are never loaded. An uncompressed `.npy` is mapped from the disk.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from samedge.errors import SourceError
from samedge.files.limits import NUMPY_ARRAYS
from samedge.sources.foreign import damaged
from samedge.sources.frame import Warn
from samedge.sources.intensity import Intensity
from samedge.sources.volume import Slices, VolumeSource, check_bytes, is_numeric

# Where the usual preprocessing scripts keep the image of an archive.
USUAL_NAMES = ("image", "volume", "img", "imgs", "data", "vol")
_EXPECTED = "expected a slice [H, W] or a volume [D, H, W] of grey values, or uint8 RGB [.., 3]"


@dataclass(frozen=True)
class Header:
    """What the head of an `.npy` file says; `offset` is where the numbers begin."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def nbytes(self) -> int:
        """Size of the numbers; exact also where it is absurd."""
        total = self.dtype.itemsize
        for length in self.shape:
            total *= length
        return total

    @property
    def is_numeric(self) -> bool:
        """The array holds numbers that may be grey values, or truth values."""
        return is_numeric(self.dtype, "buif")

    @property
    def is_picture(self) -> bool:
        """It could be a slice or a volume."""
        return self.is_numeric and len(self.shape) in (2, 3)


class NumpySource(VolumeSource):
    """Slices of a numpy array along one of its axes; the other two stay in order.

    `[H, W]` is a single image. uint8 arrays whose last axis has length 3 are RGB, unless `axis`
    says that this is the axis of the slices.

    Args:
        path: an `.npy` or `.npz` file.
        warn: told what was not as expected.
        intensity: which values become black and white.
        axis: 0, 1 or 2; None: 0.
        time: the slices follow each other in time, not in space.

    Raises:
        SourceError: damaged, no array of a fitting shape and type, several in question.
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
        self._member = ""  # of an archive
        with damaged(f"{self.name} is damaged: its header cannot be read"):
            self._read_header(axis)
        if time:
            self._follow_in_time()

    def _read_header(self, axis: int | None) -> None:
        with self._path.open("rb") as file:
            packed = file.read(2) == b"PK"
        if packed:
            with zipfile.ZipFile(self._path) as archive:
                self._member, header = _choose(archive, self.name)
        else:
            with self._path.open("rb") as file:
                header = read_header(file, self.name)
        if not header.is_numeric:
            kinds = {"c": "complex numbers", "O": "Python objects"}
            words = kinds.get(header.dtype.kind, "no numbers")
            raise SourceError(f"{self.name} holds {words}; {_EXPECTED}")
        if packed:
            check_bytes(self.name, header.nbytes, self._path.stat().st_size)
        elif self._path.stat().st_size < header.offset + header.nbytes:
            raise SourceError(f"{self.name} is damaged: it ends in the middle (truncated)")
        self._header = header
        self._place(header, axis)

    def _place(self, header: Header, axis: int | None) -> None:
        """Find out which axis is which."""
        shape = header.shape
        rgb = header.dtype == np.uint8 and shape[-1:] == (3,)
        if axis is None and not rgb and len(shape) == 3 and shape[2] in (3, 4):
            raise SourceError(
                f"{self.name} holds {header.dtype} colours [H, W, {shape[2]}] ({list(shape)}); "
                "colours are uint8 RGB [H, W, 3]: convert them first, or give --axis 2 if these "
                "are slices"
            )
        if len(shape) == 2 or (len(shape) == 3 and rgb and axis is None):
            self.kind, self.is_stack, self._axis = "image", False, None
            if axis is not None:
                raise SourceError(f"{self.name} is a single slice; --axis is for volumes")
            depth, height, width = 1, shape[0], shape[1]
        elif len(shape) == 3 or (len(shape) == 4 and rgb):
            self._axis = axis or 0
            depth = shape[self._axis]
            height, width = (n for i, n in enumerate(shape[:3]) if i != self._axis)
        else:
            raise SourceError(f"{self.name} holds an array of shape {list(shape)}; {_EXPECTED}")
        self._expect(depth, height, width)

    def _load(self) -> Slices:
        header = self._header
        if self._member:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as file:
                array = npy.read_array(file, allow_pickle=False)
        else:
            order: Any = "F" if header.fortran else "C"
            array = np.memmap(
                self._path, header.dtype, "r", header.offset, header.shape, order=order
            )
        plain = np.asarray(array)
        return Slices(plain[None] if self._axis is None else np.moveaxis(plain, self._axis, 0))


def read_header(file: IO[bytes], name: str) -> Header:
    """Read the head of an `.npy` file; nothing is allocated.

    Raises:
        SourceError: of a version that only arrays of records need.
        ValueError: damaged.
    """
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise SourceError(f"{name} is no plain array of numbers; {_EXPECTED}")
    shape, fortran, dtype = read(file)
    if any(n < 0 for n in shape):
        raise ValueError("negative length")
    return Header(tuple(int(n) for n in shape), bool(fortran), dtype, file.tell())


def _choose(archive: zipfile.ZipFile, name: str) -> tuple[str, Header]:
    """The array to segment: one with a usual name, or the only picture."""
    members = [n for n in archive.namelist() if n.endswith(".npy")]
    for usual in USUAL_NAMES:
        if f"{usual}.npy" in members:
            return f"{usual}.npy", _member_header(archive, f"{usual}.npy", name)
    if len(members) > NUMPY_ARRAYS.most:
        raise SourceError(f"{name} holds {len(members)} arrays: {_which()}")
    headers = {member: _member_header(archive, member, name) for member in members}
    pictures = [member for member, header in headers.items() if header.is_picture]
    if len(pictures) != 1:
        shapes = _shapes(list(headers.values()))
        raise SourceError(
            f"{name} holds {shapes}; {len(pictures)} of them could be the image: {_which()}"
        )
    return pictures[0], headers[pictures[0]]


def _member_header(archive: zipfile.ZipFile, member: str, name: str) -> Header:
    with archive.open(member) as file:
        header = read_header(file, name)
    whole = archive.getinfo(member).file_size >= header.offset + header.nbytes
    if header.is_numeric and not whole:
        raise SourceError(f"{name} is damaged: an array in it is shorter than it says")
    return header


def _which() -> str:
    return f"call the one to segment '{USUAL_NAMES[0]}' (or {', '.join(USUAL_NAMES[1:])})"


def _shapes(headers: Sequence[Header]) -> str:
    """Names of arrays are the file's own words; shapes tell the user as much."""
    if not headers:
        return "no array"
    shown = ", ".join(str(list(h.shape)) for h in headers[:6])
    more = ", ..." if len(headers) > 6 else ""
    return f"{len(headers)} arrays of shape {shown}{more}"
