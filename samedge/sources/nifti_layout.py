"""Where the slices of a NIfTI volume lie.

A NIfTI array is `[X, Y, Z]`. Slices along one axis keep the other two in order, with the later one
as rows: along Z a frame is `data[:, :, k].T`, as in SAMed's preprocessing. Nothing is turned to a
common orientation: what the network sees is what the array holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME_SIZE = 0.01  # largest relative difference of voxel sizes that counts as rounding
# Codes of NIfTI's xyzt_units in mm. Without a unit everybody takes mm.
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
_STEPS_S = (1e-3, 100.0)  # between two frames; other values stand for nothing


@dataclass(frozen=True)
class NiftiLayout:
    """How frames lie in a NIfTI array.

    Attributes:
        header: nibabel's header of the source.
        shape: of the array; trailing axes of length 1 may follow `[X, Y, Z]`. One slice over time
            is `[X, Y, 1, T]`: time is the axis of its slices.
        axis: 0, 1 or 2, along which the slices lie.
    """

    header: Any
    shape: tuple[int, ...]
    axis: int

    @property
    def xyz(self) -> tuple[int, int, int]:
        """The three lengths; T is the third of one slice over time."""
        x, y, z = (*self.shape, 1, 1)[:3]
        return x, y, z * math.prod(self.shape[3:])

    @property
    def is_slice_over_time(self) -> bool:
        """The array is `[X, Y, 1, T]`."""
        return self.shape[2:3] == (1,) and math.prod(self.shape[3:4]) > 1

    @property
    def frames(self) -> tuple[int, int, int]:
        """(D, H, W) of the slices."""
        width, height = (n for i, n in enumerate(self.xyz) if i != self.axis)
        return self.xyz[self.axis], height, width

    def slices(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view `[D, H, W]` of an array of this shape."""
        return np.moveaxis(array.reshape(self.xyz, order="F"), self.axis, 0).swapaxes(1, 2)

    def array(self, slices: NDArray[Any]) -> NDArray[Any]:
        """The way back: slices `[D, H, W]` as an array of this shape."""
        moved = np.moveaxis(slices.swapaxes(1, 2), 0, self.axis)
        return moved.reshape(self.shape, order="F")

    def spacing_mm(self) -> tuple[float, float] | None:
        """(row, column) distance of neighbouring pixels of a slice in mm; None if unknown."""
        sizes = self._voxel_mm()
        if sizes is None:
            return None
        columns, rows = (i for i in range(3) if i != self.axis)
        return sizes[rows], sizes[columns]

    def axes_mm(self) -> NDArray[np.float64] | None:
        """Where the pixels lie, in mm to the right, front and top of the patient.

        Returns:
            `[4, 3]`: the steps to the next column, row and slice, and the place of the first pixel;
            None if unknown.
        """
        affine = self._affine() * self._unit()
        if not np.isfinite(affine[:3]).all() or np.linalg.det(affine[:3, :3]) == 0:
            return None
        columns, rows = (i for i in range(3) if i != self.axis)
        return np.asarray(affine[:3, [columns, rows, self.axis, 3]].T, np.float64)

    def step_s(self) -> float | None:
        """Seconds between the frames of one slice over time; None if the header does not say."""
        unit = _SECONDS.get(int(self.header["xyzt_units"]) & 0x38)
        if unit is None or not self.is_slice_over_time:
            return None
        step = float(str(self.header["pixdim"][4])) * unit  # 0.04 is 0.04, though stored in 32 bits
        return step if _STEPS_S[0] <= step <= _STEPS_S[1] else None

    def voxel_mm3(self) -> float | None:
        """Volume of a voxel in mm3, also in sheared grids; None if unknown."""
        if self._voxel_mm() is None:
            return None
        volume = abs(float(np.linalg.det(self._affine()[:3, :3]))) * self._unit() ** 3
        return volume if math.isfinite(volume) and volume > 0 else None

    @property
    def sizes_disagree(self) -> bool:
        """The sform and pixdim give voxels of different sizes: no program knows which are right."""
        if int(self.header["sform_code"]) <= 0:
            return False
        sizes = np.abs(np.asarray(self.header["pixdim"][1:4], np.float64))
        columns = np.linalg.norm(np.asarray(self.header.get_sform(), np.float64)[:3, :3], axis=0)
        used = [i for i, n in enumerate(self.xyz) if n > 1]  # of single slices it is a filler
        return not np.allclose(columns[used], sizes[used], rtol=SAME_SIZE)

    def _voxel_mm(self) -> tuple[float, float, float] | None:
        if self.sizes_disagree:
            return None
        unit = self._unit()
        x, y, z = (float(v) * unit for v in np.linalg.norm(self._affine()[:3, :3], axis=0))
        return (x, y, z) if all(math.isfinite(v) and v > 0 for v in (x, y, z)) else None

    def _unit(self) -> float:
        return _MILLIMETRES.get(int(self.header["xyzt_units"]) % 8, math.nan)

    def _affine(self) -> NDArray[np.float64]:
        try:
            return np.asarray(self.header.get_best_affine(), np.float64)
        except ValueError:  # a quaternion that is none
            return np.full((4, 4), np.nan)
