"""NVIDIA's libraries for libsamedge, answered by the stand-ins of the tests of Python's backends.

libsamedge opens `libcuda.so.1` and `libnvinfer.so.10` by name. The libraries of these names in
`tests/capi/native` hand every call to a function; here these functions call
`tests.runtime.stand_in`, whose rules hold for C++ as for Python: a broken one is a `Violation`.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.stand_in.core import CUresult
from tests.runtime.stand_in.driver import Copy2D, Driver
from tests.runtime.stand_in.tensorrt_runtime import dimensions

_UNKNOWN = 999  # CUDA_ERROR_UNKNOWN: what is answered while a violation makes its way to the test
_CUDA = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64))
_TENSORRT = ctypes.CFUNCTYPE(
    ctypes.c_int64,
    ctypes.c_char_p,
    ctypes.c_int64,
    ctypes.c_char_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.POINTER(ctypes.c_int64),
)


class _Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D."""

    _fields_ = (
        ("src_x", ctypes.c_size_t),
        ("src_y", ctypes.c_size_t),
        ("srcMemoryType", ctypes.c_uint),
        ("src_host", ctypes.c_void_p),
        ("srcDevice", ctypes.c_uint64),
        ("src_array", ctypes.c_void_p),
        ("srcPitch", ctypes.c_size_t),
        ("dst_x", ctypes.c_size_t),
        ("dst_y", ctypes.c_size_t),
        ("dstMemoryType", ctypes.c_uint),
        ("dst_host", ctypes.c_void_p),
        ("dstDevice", ctypes.c_uint64),
        ("dst_array", ctypes.c_void_p),
        ("dstPitch", ctypes.c_size_t),
        ("WidthInBytes", ctypes.c_size_t),
        ("Height", ctypes.c_size_t),
    )


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def image_at(address: int) -> bytes:
    """The machine code at an address; the stand-in needs no more of it than its beginning."""
    return ctypes.string_at(address, 64)


# Function -> its arguments from those of C, where results come first: (places of results and their
# types, the others).
_POINTER, _SIZE, _INT, _ADDRESS = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint64
_RESULTS: dict[str, tuple[Any, ...]] = {
    "cuDriverGetVersion": (_INT,),
    "cuDeviceGetCount": (_INT,),
    "cuDeviceGet": (_INT,),
    "cuDeviceGetAttribute": (_INT,),
    "cuDevicePrimaryCtxRetain": (_POINTER,),
    "cuCtxPopCurrent": (_POINTER,),
    "cuMemGetInfo": (_SIZE, _SIZE),
    "cuMemAlloc": (_ADDRESS,),
    "cuMemHostAlloc": (_POINTER,),
    "cuPointerGetAttribute": (_INT,),
    "cuStreamCreate": (_POINTER,),
    "cuStreamEndCapture": (_POINTER,),
    "cuEventCreate": (_POINTER,),
    "cuGraphInstantiate": (_POINTER,),
    "cuModuleLoadData": (_POINTER,),
    "cuModuleGetFunction": (_POINTER,),
}
_COUNTS = {
    "cuInit": 1, "cuDeviceGet": 1, "cuDeviceGetAttribute": 2, "cuDevicePrimaryCtxRetain": 1,
    "cuDevicePrimaryCtxRelease": 1, "cuCtxPushCurrent": 1, "cuMemAlloc": 1, "cuMemFree": 1,
    "cuMemHostAlloc": 2, "cuMemFreeHost": 1, "cuPointerGetAttribute": 2, "cuMemcpyHtoD": 3,
    "cuMemcpyDtoH": 3, "cuMemcpyHtoDAsync": 4, "cuMemcpyDtoHAsync": 4, "cuStreamCreate": 1,
    "cuStreamDestroy": 1, "cuStreamSynchronize": 1, "cuStreamWaitEvent": 3,
    "cuStreamBeginCapture": 2, "cuStreamEndCapture": 1, "cuEventCreate": 1, "cuEventRecord": 2,
    "cuEventDestroy": 1, "cuGraphInstantiate": 2, "cuGraphLaunch": 2, "cuGraphDestroy": 1,
    "cuGraphExecDestroy": 1, "cuModuleUnload": 1, "cuFuncSetAttribute": 3, "cuLaunchKernel": 11,
}  # fmt: skip


class CudaStandIn:
    """`libcuda.so.1`, answered by a `Driver`.

    Args:
        path: of the stand-in's library.
        driver: whose functions answer.

    Attributes:
        violations: rules that were broken.
        called: names of the functions that were called, in order.
        fails: function -> the result that it gives instead of being called.
        contexts: that were current where memory, streams, graphs and kernels were used.
    """

    def __init__(self, path: Path, driver: Any) -> None:
        self.driver = driver
        self.violations: list[BaseException] = []
        self.called: list[str] = []
        self.fails: dict[str, int] = {}
        self.contexts: set[int] = set()
        self._names: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._one_at_a_time = threading.RLock()  # the driver is thread-safe, the stand-in is not
        self._library = ctypes.CDLL(str(path))
        if ctypes.CDLL("libcuda.so.1")._handle != self._library._handle:
            pytest.skip("NVIDIA's own driver is loaded in this process")
        self._handler = _CUDA(self._answer)  # lives as long as it is set
        self._library.stand_in_set(self._handler)

    def close(self) -> None:
        """Be a driver without a GPU again."""
        self._library.stand_in_set(None)

    def _answer(self, raw: bytes, arguments: Any) -> int:
        with self._one_at_a_time:
            return self._watched(raw.decode(), arguments)

    def _watched(self, name: str, arguments: Any) -> int:
        try:
            self.called.append(name)
            if not name.startswith(("cuInit", "cuCtx", "cuDevice", "cuDriver", "cuGetError")):
                self.contexts.add(int(self.driver.stack[-1]) if self.driver.stack else 0)
            if name in self.fails:
                return self.fails[name]
            return self._call(name, arguments)
        except BaseException as error:  # it must not get lost in C
            self.violations.append(error)
            return _UNKNOWN

    def _call(self, name: str, given: Any) -> int:
        if name == "cuGetErrorName":
            return self._error_name(int(given[0]), int(given[1]))
        if name == "cuDeviceGetName":
            status, text = self.driver.cuDeviceGetName(given[1], given[2])
            ctypes.memmove(given[0], text, min(len(text), given[1]))
            return int(status)
        kinds = _RESULTS.get(name, ())
        others = [int(given[len(kinds) + at]) for at in range(_COUNTS.get(name, 0))]
        arguments: Sequence[Any] = others
        if name == "cuMemcpy2DAsync":
            job = _Copy2D.from_address(given[0])
            values = {field: int(getattr(job, field) or 0) for field, _ in _Copy2D._fields_}
            arguments = (Copy2D(**values), int(given[1]))
        elif name == "cuModuleLoadData":
            arguments = (image_at(given[1]),)
        elif name == "cuModuleGetFunction":
            arguments = (int(given[1]), ctypes.string_at(given[2]))
        status, *results = getattr(self.driver, name)(*arguments)
        if int(status) == 0:
            for place, (kind, value) in enumerate(zip(kinds, results, strict=True)):
                kind.from_address(given[place]).value = int(value)
        return int(status)

    def _error_name(self, status: int, place: int) -> int:
        try:
            name = CUresult(status).name
        except ValueError:
            name = f"CUDA_ERROR_{status}"
        text = self._names.setdefault(status, ctypes.create_string_buffer(name.encode()))
        ctypes.c_void_p.from_address(place).value = ctypes.addressof(text)
        return 0


@contextmanager
def cuda(path: Path, driver: Driver) -> Iterator[CudaStandIn]:
    """The stand-in, for as long as the block lasts; nothing may be left at the end."""
    found = CudaStandIn(path, driver)
    try:
        yield found
        if found.violations:
            raise found.violations[0]
        driver.assert_clean()
    finally:
        found.close()


class Recorded:
    """A driver that notes every call of it, for comparisons.

    Attributes:
        calls: (function, arguments), as the driver got them.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.driver, name)
        if not name.startswith("cu"):
            return value

        def call(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return value(*arguments)

        return call


class TensorRtStandIn:
    """`libnvinfer.so.10`, answered by the module of `tests.runtime.stand_in.tensorrt`.

    Args:
        path: of the stand-in's library.
        module: the stand-in for Python, "tensorrt 10.3.0".

    Attributes:
        violations: rules that were broken.
        called: names of the methods that were called, in order, as Python has them.
        world: switches for failures; see `tests.runtime.stand_in.tensorrt.make_module`.
    """

    def __init__(self, path: Path, module: Any) -> None:
        self.violations: list[BaseException] = []
        self.called: list[str] = []
        self._module, self.world = module, module.world
        self._objects: dict[int, Any] = {}
        self._names: dict[str, ctypes.Array[ctypes.c_char]] = {}
        self._library = ctypes.CDLL(str(path))
        if ctypes.CDLL("libnvinfer.so.10")._handle != self._library._handle:
            pytest.skip("NVIDIA's own TensorRT is loaded in this process")
        self._library.stand_in_log.argtypes = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p)
        self._handler = _TENSORRT(self._answer)
        self._library.stand_in_set(self._handler)

    def close(self) -> None:
        """Answer nothing any more; all objects are gone."""
        self._library.stand_in_set(None)
        assert not self._objects, "not freed"

    def _answer(
        self, raw: bytes, number: int, name: bytes, first: int, second: int, sizes: Any
    ) -> int:
        method = raw.decode()
        try:
            self.called.append(method)
            own = self._objects.get(number)
            found = getattr(self, f"_{method}", None)
            if found is not None:
                return int(found(own, number, name.decode(), first, second, sizes))
            arguments = {
                "set_tensor_address": (name.decode(), first),
                "set_device_memory": (first, second),
                "execute_async_v3": (first,),
            }.get(method, ())
            return int(getattr(own, method)(*arguments) or 0)
        except BaseException as error:  # it must not get lost in C++
            self.violations.append(error)
            return 0

    def _new(self, made: Any) -> int:
        if made is None:
            return 0
        number = 1 + max(self._objects, default=0)
        self._objects[number] = made
        return number

    def _version(self, *_: Any) -> int:
        major, minor, patch = map(int, self._module.__version__.split(".")[:3])
        return 10000 * major + 100 * minor + patch

    def _create_runtime(self, _own: Any, _n: int, _s: str, logger: int, _v: int, _z: Any) -> int:
        library = self._library

        class Log(self._module.ILogger):  # type: ignore[misc, name-defined]
            def log(self, severity: int, msg: str) -> None:
                library.stand_in_log(logger, int(severity), msg.encode())

        return self._new(self._module.Runtime(Log()))

    def _delete(self, _own: Any, number: int, *_: Any) -> int:
        del self._objects[number]
        return 1

    def _set_engine_host_code_allowed(
        self, own: Any, _n: int, _s: str, allowed: int, *_: Any
    ) -> int:
        own.engine_host_code_allowed = bool(allowed)
        return 1

    def _deserialize_cuda_engine(
        self, own: Any, _n: int, _s: str, address: int, size: int, _z: Any
    ) -> int:
        return self._new(own.deserialize_cuda_engine(ctypes.string_at(address, size)))

    def _num_io_tensors(self, own: Any, *_: Any) -> int:
        return int(own.num_io_tensors)

    def _get_tensor_name(self, own: Any, _n: int, _s: str, index: int, *_: Any) -> int:
        name = own.get_tensor_name(index)
        text = self._names.setdefault(name, ctypes.create_string_buffer(name.encode()))
        return ctypes.addressof(text)

    def _get_tensor_mode(self, own: Any, _n: int, name: str, *_: Any) -> int:
        return 1 if own.get_tensor_mode(name) == self._module.TensorIOMode.INPUT else 2

    def _get_tensor_dtype(self, own: Any, _n: int, name: str, *_: Any) -> int:
        kinds = ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "FP8", "BF16", "INT64")
        return kinds.index(own.get_tensor_dtype(name).name)

    def _get_engine_shape(self, own: Any, _n: int, name: str, *rest: Any) -> int:
        sides = dimensions(own._infos()[name])
        return _filled(rest[-1], [side if isinstance(side, int) else -1 for side in sides])

    def _get_tensor_profile_shape(
        self, own: Any, _n: int, name: str, which: int, *rest: Any
    ) -> int:
        return _filled(rest[-1], own.get_tensor_profile_shape(name, 0)[which])

    def _create_execution_context(self, own: Any, _n: int, _s: str, strategy: int, *_: Any) -> int:
        known = self._module.ExecutionContextAllocationStrategy
        if strategy != 2:  # kUSER_MANAGED
            return 0
        return self._new(own.create_execution_context(known.USER_MANAGED))

    def _set_input_shape(self, own: Any, _n: int, name: str, rank: int, *rest: Any) -> int:
        return int(own.set_input_shape(name, tuple(rest[-1][axis] for axis in range(rank))))

    def _infer_shapes(self, own: Any, *_: Any) -> int:
        return len(own.infer_shapes())

    def _get_tensor_shape(self, own: Any, _n: int, name: str, *rest: Any) -> int:
        return _filled(rest[-1], own.get_tensor_shape(name))


def _filled(sizes: Any, sides: Sequence[int]) -> int:
    for axis, side in enumerate(sides):
        sizes[axis] = side
    return len(sides)


@contextmanager
def tensorrt(folder: Path, module: Any) -> Iterator[TensorRtStandIn]:
    """TensorRT and its driver, for as long as the block lasts; nothing may be left at the end."""
    with cuda(folder / "libcuda.so.1", module.world.driver):
        found = TensorRtStandIn(folder / "libnvinfer.so.10", module)
        try:
            yield found
            if found.violations:
                raise found.violations[0]
        finally:
            found.close()
