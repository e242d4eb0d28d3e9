"""CUDA for the engines: one device, streams, memory, events and graphs, through cuda-bindings.

A thin layer over the driver API: every call is checked, every failure says what was asked for and
what to do, and everything that is made is freed once. Nothing of it is imported before it is used.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._wording import option
from samedge.errors import DeviceError, MissingDependencyError, NotSupportedError
from samedge.machine.jetson import how_to_install, jetpack

ALIGNMENT = 256  # of every address that an engine takes, in bytes

# Result of a call -> what a user can do about it.
_REMEDIES: dict[str, str] = {
    "CUDA_ERROR_OUT_OF_MEMORY": "close other programs on the GPU, or use a smaller model or frame",
    "CUDA_ERROR_INVALID_DEVICE": "choose a device that nvidia-smi lists",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the driver was updated: restart the machine",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "update the NVIDIA driver",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "update the NVIDIA driver",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "another program has the GPU to itself: end it",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "start this program again; report it with `samedge doctor`",
    "CUDA_ERROR_LAUNCH_FAILED": "start this program again; report it with `samedge doctor`",
    "CUDA_ERROR_ECC_UNCORRECTABLE": "the GPU's memory is faulty: restart, then have it looked at",
}


def _remedy(name: str, otherwise: str) -> str:
    """What to do about a result of a call."""
    return _no_gpu() if name == "CUDA_ERROR_NO_DEVICE" else _REMEDIES.get(name, otherwise)


def _no_driver() -> str:
    return f"there is no NVIDIA driver here; install it, or use {option('backend', 'openvino')}"


def _no_gpu() -> str:
    return (
        f"the NVIDIA driver finds no GPU; use {option('backend', 'openvino')}, or look at what "
        "nvidia-smi says"
    )


@cache
def driver() -> Any:
    """The module `cuda.bindings.driver`, initialised.

    Raises:
        NotSupportedError: no driver, no GPU, or cuda-bindings is not installed.
    """
    if not _has_driver():
        raise NotSupportedError(_no_driver())
    try:
        module = import_module("cuda.bindings.driver")
    except (ImportError, OSError, RuntimeError) as error:
        if (version := jetpack()) is not None:
            raise NotSupportedError(
                f"cuda-bindings cannot be imported ({error}): "
                f"{how_to_install('cuda-bindings', version)}"
            ) from error
        if isinstance(error, ModuleNotFoundError):
            raise MissingDependencyError("cuda-bindings", "tensorrt", "an NVIDIA GPU") from error
        raise NotSupportedError(
            f"cuda-bindings cannot be imported ({error}); pip install --force-reinstall "
            "cuda-bindings"
        ) from error
    (result,) = module.cuInit(0)
    name = getattr(result, "name", str(result))
    if name != "CUDA_SUCCESS":
        raise NotSupportedError(
            f"CUDA does not start ({name}); {_remedy(name, 'update the NVIDIA driver')}"
        )
    return module


def driver_version() -> tuple[int, int]:
    """The CUDA version that the driver is for, (12, 4)."""
    version = int(call("cuDriverGetVersion"))
    return version // 1000, version % 1000 // 10


def problem(library_cuda: int | None = None, title: str = "the library") -> str | None:
    """Why no GPU can be used here, with the remedy; None if one can.

    Args:
        library_cuda: the major version of CUDA that the inference library is made for, if known.
        title: the library's name.
    """
    try:
        if int(call("cuDeviceGetCount")) == 0:
            return _no_gpu()
        major, minor = driver_version()
    except (NotSupportedError, DeviceError) as error:
        return str(error)
    if library_cuda is not None and major < library_cuda:
        return (
            f"the NVIDIA driver is for CUDA {major}.{minor}, and {title} needs one for CUDA "
            f"{library_cuda}.0 or newer: update the driver, or install {title} for CUDA {major}"
        )
    return None


def call(function: str, *arguments: Any, what: str = "") -> Any:
    """Call a function of the driver and check its result.

    Args:
        function: its name.
        arguments: as cuda-bindings takes them.
        what: what it is for, in an error message.

    Returns:
        what the function gives besides its result: nothing, a value, or a tuple.

    Raises:
        DeviceError: with the driver's name of the failure and the remedy.
    """
    status, *values = getattr(driver(), function)(*arguments)
    if int(status) != 0:
        raise error_of(status, what or function)
    return values[0] if len(values) == 1 else tuple(values) or None


def error_of(status: Any, what: str) -> DeviceError:
    """The error for a call's result that is not success.

    Args:
        status: what the driver gave.
        what: the call was for.
    """
    name = getattr(status, "name", str(status))
    remedy = _remedy(name, "report this with what `samedge doctor` prints")
    return DeviceError(f"{what}: CUDA says {name}; {remedy}")


def _has_driver() -> bool:
    """Whether the driver's library can be loaded, without importing anything."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


class Gpu:
    """One GPU, and what is known of it without opening it.

    Attributes:
        index: its number.
        name: as NVIDIA writes it.
        compute_capability: 86 for 8.6.

    Raises:
        NotSupportedError: there is no such GPU, or no driver.
    """

    def __init__(self, index: int = 0) -> None:
        count = int(call("cuDeviceGetCount"))
        if not 0 <= index < count:
            raise NotSupportedError(
                f"there is no GPU number {index} here; "
                + (f"choose one from 0 to {count - 1}" if count else _no_gpu())
            )
        self.index = index
        self._handle = call("cuDeviceGet", index)
        name = call("cuDeviceGetName", 256, self._handle)
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace")
        major, minor = (self._attribute(f"COMPUTE_CAPABILITY_{n}") for n in ("MAJOR", "MINOR"))
        self.compute_capability = 10 * major + minor

    @property
    def shared_memory(self) -> int:
        """Most bytes of shared memory that a block can have."""
        return self._attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")

    def _attribute(self, name: str) -> int:
        attribute = getattr(driver().CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(call("cuDeviceGetAttribute", attribute, self._handle))


class Device(Gpu):
    """A GPU that is open: its primary context is shared with every other library in this process.

    Attributes:
        index, name, compute_capability: see `Gpu`.
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__(index)
        self._context = call("cuDevicePrimaryCtxRetain", self._handle, what="opening the GPU")

    def __enter__(self) -> Device:
        """Make this device the one of the calling thread."""
        call("cuCtxPushCurrent", self._context)
        return self

    def __exit__(self, *_: object) -> None:
        call("cuCtxPopCurrent")

    def close(self) -> None:
        """Give the device back. Calling it twice is harmless."""
        if self._context is not None:
            self._context = None
            call("cuDevicePrimaryCtxRelease", self._handle)

    def free_memory(self) -> tuple[int, int]:
        """Free and total memory, in bytes."""
        free, total = call("cuMemGetInfo")
        return int(free), int(total)

    def allocate(self, size: int, what: str) -> DeviceMemory:
        """`size` bytes of device memory for `what`.

        Raises:
            DeviceError: out of memory; with the sizes.
        """
        status, address = driver().cuMemAlloc(max(size, 1))
        if getattr(status, "name", "") == "CUDA_ERROR_OUT_OF_MEMORY":
            free, total = self.free_memory()
            raise DeviceError(
                f"the GPU is out of memory: {what} needs {_mb(size)}, free are {_mb(free)} of "
                f"{_mb(total)} ({self.name}); {_REMEDIES['CUDA_ERROR_OUT_OF_MEMORY']}"
            )
        if int(status) != 0:
            raise error_of(status, what)
        return DeviceMemory(int(address), size)


class DeviceMemory:
    """A block of device memory. It is never freed by itself: whoever allocates also frees."""

    def __init__(self, address: int, size: int) -> None:
        self.address, self.size = address, size

    def fill(self, array: NDArray[Any], offset: int = 0) -> None:
        """Copy a C-contiguous array of any memory to a byte of the block, and wait for it."""
        assert offset + array.nbytes <= self.size
        call("cuMemcpyHtoD", self.address + offset, array.ctypes.data, array.nbytes)

    def free(self) -> None:
        """Free the block. Calling it twice is harmless."""
        if self.address:
            address, self.address = self.address, 0
            call("cuMemFree", address)


class PinnedArray:
    """A numpy array in page-locked host memory, which the GPU can copy while the CPU does not wait.

    Attributes:
        array: the array; it must not be used after `free`.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        size = max(count * kind.itemsize, 1)
        self._address = int(call("cuMemHostAlloc", size, 0, what=f"{_mb(size)} of pinned memory"))
        block = (ctypes.c_uint8 * size).from_address(self._address)
        self.array: NDArray[Any] = np.frombuffer(block, kind, count).reshape(shape)
        self.array.fill(0)

    @property
    def address(self) -> int:
        """Of the first byte."""
        return self._address

    def free(self) -> None:
        """Free the memory. Calling it twice is harmless."""
        if self._address:
            address, self._address = self._address, 0
            self.array = np.zeros(0, self.array.dtype)
            call("cuMemFreeHost", address)


class Stream:
    """A queue of work on the device."""

    def __init__(self) -> None:
        flags = driver().CUstream_flags.CU_STREAM_NON_BLOCKING
        self.handle = call("cuStreamCreate", int(flags))
        self._event: Any = None

    @property
    def number(self) -> int:
        """The handle as a number, for engines."""
        return int(self.handle)

    def upload(self, device: int, host: PinnedArray) -> None:
        """Copy a pinned array to a device address."""
        call("cuMemcpyHtoDAsync", device, host.address, host.array.nbytes, self.handle)

    def download(self, host: PinnedArray, device: int) -> None:
        """Copy from a device address into a pinned array."""
        call("cuMemcpyDtoHAsync", host.address, device, host.array.nbytes, self.handle)

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy within the device."""
        call("cuMemcpyDtoDAsync", target, source, size, self.handle)

    def copy_rows(self, target: int, source: int, width: int, height: int, pitch: int) -> None:
        """Copy `height` rows of `width` bytes, which lie `pitch` bytes apart in the source."""
        cuda = driver()
        job = cuda.CUDA_MEMCPY2D()
        job.srcMemoryType = job.dstMemoryType = cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
        job.srcDevice, job.srcPitch = source, pitch
        job.dstDevice, job.dstPitch = target, width
        job.WidthInBytes, job.Height = width, height
        call("cuMemcpy2DAsync", job, self.handle)

    def wait_for(self, other: int) -> None:
        """Let what comes next wait for all that is queued in the stream with the handle `other`
        now."""
        if self._event is None:
            flags = driver().CUevent_flags.CU_EVENT_DISABLE_TIMING
            self._event = call("cuEventCreate", int(flags))
        call("cuEventRecord", self._event, other)
        call("cuStreamWaitEvent", self.handle, self._event, 0)

    def synchronise(self) -> None:
        """Wait until all that is queued is done; a failure of any of it comes out here."""
        call("cuStreamSynchronize", self.handle, what="the GPU's work")

    def close(self) -> None:
        """Destroy the stream. Calling it twice is harmless."""
        if self._event is not None:
            call("cuEventDestroy", self._event)
            self._event = None
        if self.handle is not None:
            handle, self.handle = self.handle, None
            call("cuStreamDestroy", handle)

    @contextmanager
    def capture(self) -> Iterator[list[CudaGraph]]:
        """Record what is queued in the block instead of running it; the graph is put into the
        list.

        Raises:
            DeviceError: something in the block cannot be captured; nothing stays behind.
        """
        mode = driver().CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call("cuStreamBeginCapture", self.handle, mode)
        graphs: list[CudaGraph] = []
        try:
            yield graphs
        except BaseException:
            status, graph = driver().cuStreamEndCapture(self.handle)  # leaves the capture
            if int(status) == 0 and graph is not None:
                call("cuGraphDestroy", graph)
            raise
        graphs.append(CudaGraph(call("cuStreamEndCapture", self.handle, what="capturing a graph")))


class CudaGraph:
    """Work that was captured from a stream, to be started in one call."""

    def __init__(self, graph: Any) -> None:
        try:
            self._handle = call("cuGraphInstantiate", graph, 0, what="making a CUDA graph")
        finally:
            call("cuGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Queue all of it."""
        call("cuGraphLaunch", self._handle, stream.handle)

    def close(self) -> None:
        """Destroy the graph. Calling it twice is harmless."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            call("cuGraphExecDestroy", handle)


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 10**6 else f"{size} bytes"
