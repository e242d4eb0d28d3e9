"""Arrays on a GPU, seen by everybody who knows `__cuda_array_interface__` or DLPack."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.runtime.gpu import dlpack
from samedge.runtime.gpu.driver import Device, Stream, call


class DeviceArray:
    """An array in the memory of a GPU. It does not own the memory; `owner` keeps that alive.

    Args:
        address: of the first element.
        shape: of the array.
        dtype: numpy's name of the element type.
        device: the GPU that it lies on.
        strides: in bytes, None for C order.
        stream: handle of a stream whose work must be done before the array may be read; None if
            there is none.
        owner: whatever keeps the memory alive.
    """

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        dtype: Any,
        device: Device,
        strides: tuple[int, ...] | None = None,
        stream: int | None = None,
        owner: Any = None,
    ) -> None:
        self.address, self.shape, self.dtype = address, tuple(shape), np.dtype(dtype)
        self.device, self.stream, self.owner = device, stream, owner
        plain = _c_strides(self.shape, self.dtype.itemsize)
        self.strides = plain if strides is None else tuple(strides)
        # The stride of an axis of one element says nothing.
        self.contiguous = all(
            side == 1 or have == want
            for side, have, want in zip(self.shape, self.strides, plain, strict=True)
        )

    @property
    def nbytes(self) -> int:
        """Size of the elements, in bytes."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3. The array is ready to be read: nothing has to be waited for."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None if self.contiguous else self.strides,
            "version": 3,
            "stream": None,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """CUDA, and the number of the GPU."""
        return dlpack.CUDA, self.device.index

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule of the array where it lies, in the form that every version reads.

        Args:
            stream: of no meaning: the array is ready, no stream has to be waited for.
            max_version: likewise.
            dl_device: where it is wanted.
            copy: whether it must be copied.

        Raises:
            BufferError: a copy is wanted, or the array on another device.
        """
        del stream, max_version
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(
                f"a result is handed out where it lies, on GPU {self.device.index}; take it from "
                "there and copy it with your library, or call its copy() for a numpy array"
            )
        steps = tuple(step // self.dtype.itemsize for step in self.strides)
        size = self.dtype.itemsize
        return dlpack.make_capsule(
            self.address, self.shape, steps, self.dtype.kind, size, self.device.index, self
        )

    def __getitem__(self, part: slice) -> DeviceArray:
        """Some of the first axis, without a copy."""
        start, stop, step = part.indices(self.shape[0])
        assert step == 1
        return DeviceArray(
            self.address + start * self.strides[0],
            (max(stop - start, 0), *self.shape[1:]),
            self.dtype,
            self.device,
            self.strides,
            self.stream,
            self,
        )

    def reshaped(self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> DeviceArray:
        """The same memory seen with another shape, strides (bytes) and element type."""
        return DeviceArray(
            self.address, shape, dtype, self.device, strides, self.stream, self.owner or self
        )

    def copy(self) -> NDArray[Any]:
        """A copy in the CPU's memory, in C order.

        Raises:
            DeviceError: the device failed.
        """
        raw = np.zeros(max(self._span(), 1), np.uint8)
        with self.device:
            if self.stream is not None:
                call("cuStreamSynchronize", self.stream)
            if self._span():
                call("cuMemcpyDtoH", raw.ctypes.data, self.address, self._span())
        return np.ascontiguousarray(np.ndarray(self.shape, self.dtype, raw, 0, self.strides))

    def copy_into(self, address: int, stream: Stream) -> None:
        """Queue a copy in C order to another place of the same device."""
        if self.contiguous:
            stream.copy(address, self.address, self.nbytes)
            return
        height, pitch = self.shape[0], self.strides[0]
        stream.copy_rows(address, self.address, self.nbytes // height, height, pitch)

    @property
    def copyable(self) -> bool:
        """Whether `copy_into` can copy it: in C order, or with a gap behind each row only."""
        inner = _c_strides(self.shape, self.dtype.itemsize)[1:]
        rows = zip(self.shape[1:], self.strides[1:], inner, strict=True)
        plain = all(side == 1 or have == want for side, have, want in rows)
        width = self.nbytes // max(self.shape[0], 1)
        return self.contiguous or (plain and self.strides[0] >= width)

    def _span(self) -> int:
        """Bytes from the first element to the end of the last."""
        if 0 in self.shape:
            return 0
        last = sum((side - 1) * step for side, step in zip(self.shape, self.strides, strict=True))
        return int(last) + int(self.dtype.itemsize)


def _c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of an array in C order."""
    strides, step = [], itemsize
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return tuple(reversed(strides))
