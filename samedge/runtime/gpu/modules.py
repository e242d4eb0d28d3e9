"""Machine code on a GPU: modules, their kernels, and how one is started."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from samedge.errors import NotSupportedError
from samedge.runtime.gpu.driver import Device, Stream, call, driver, driver_version, error_of

PLAIN_SHARED = 48 << 10  # bytes of shared memory that a kernel gets without asking
# What the driver says of code that it cannot run.
_NOT_FOR_IT = frozenset(
    {
        "CUDA_ERROR_NO_BINARY_FOR_GPU",
        "CUDA_ERROR_INVALID_IMAGE",
        "CUDA_ERROR_INVALID_SOURCE",
        "CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC",
    }
)


class Module:
    """Machine code that was loaded onto the current device.

    Args:
        image: the cubin.
        what: it is, in an error message.
        device: the calling thread's.

    Raises:
        NotSupportedError: the driver is too old for the code, or the code is for another GPU.
        DeviceError: the device failed.
    """

    def __init__(self, image: bytes, what: str, device: Device) -> None:
        status, handle = driver().cuModuleLoadData(image)
        name = getattr(status, "name", str(status))
        if name in _NOT_FOR_IT:
            version = "{}.{}".format(*driver_version())
            raise NotSupportedError(
                f"{what}: the NVIDIA driver, which is for CUDA {version}, does not take its code "
                f"for sm_{device.compute_capability} ({name}); update the driver, or build the "
                "engine with an older version of the triton package"
            )
        if int(status) != 0:
            raise error_of(status, what)
        self._handle: Any = handle

    def kernel(self, symbol: str, shared: int) -> Any:
        """The handle of a kernel.

        Args:
            symbol: its name in the code.
            shared: bytes of shared memory that it will be started with.

        Raises:
            DeviceError: there is no such kernel, or the device has less shared memory.
        """
        found = call("cuModuleGetFunction", self._handle, symbol.encode(), what=f"kernel {symbol}")
        if shared > PLAIN_SHARED:
            attribute = (
                driver().CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            )
            what = f"{shared} bytes of shared memory for {symbol}"
            call("cuFuncSetAttribute", found, attribute, shared, what=what)
        return found

    def close(self) -> None:
        """Unload the code. Calling it twice is harmless."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            call("cuModuleUnload", handle)


class Start:
    """A kernel with its grid and its parameters, which can be started again and again.

    Args:
        kernel: handle from `Module.kernel`.
        grid: blocks in x, y, z.
        threads: per block.
        shared: bytes of shared memory.
        values: of the parameters in order: an address, or a 32-bit integer.
    """

    def __init__(
        self,
        kernel: Any,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        values: Sequence[int],
    ) -> None:
        self._kernel, self._grid, self._threads, self._shared = kernel, grid, threads, shared
        # The driver reads as many bytes of each as the kernel declares, the lowest first.
        self._values = (ctypes.c_uint64 * len(values))(*(value & (1 << 64) - 1 for value in values))
        start = ctypes.addressof(self._values)
        self._places = (ctypes.c_void_p * len(values))(*(start + 8 * i for i in range(len(values))))

    def set(self, index: int, value: int) -> None:
        """Give parameter `index` another value. It holds for what is queued from now on."""
        self._values[index] = value

    def queue(self, stream: Stream) -> None:
        """Start it behind what is queued."""
        call(
            "cuLaunchKernel",
            self._kernel,
            *self._grid,
            self._threads,
            1,
            1,
            self._shared,
            stream.handle,
            ctypes.addressof(self._places),
            0,
            what="starting a kernel",
        )
