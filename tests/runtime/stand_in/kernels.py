"""The stand-in's modules, kernels and launches: machine code is a text, and Python computes.

What stands in for a cubin begins like one and names its GPU and its kernels:
`b"\\x7fELF sm_86 embed "`. What a kernel takes and does, the test says in `Driver.code`.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

from tests.runtime.stand_in.core import DEVICE_BASE, OK, Core, CUresult, Handle, Job, Violation

SCRATCH = 2
_PLAIN = 48 << 10
_LARGEST = ((1 << 31) - 1, (1 << 16) - 1, (1 << 16) - 1)
_IMAGE = re.compile(rb"\x7fELF sm_(\d+) ((?:\w+ )+)")


@dataclass
class Code:
    """What a kernel takes, "ppi", and what it does with the grid and its arguments."""

    parameters: str
    run: Callable[[tuple[int, int, int], list[int]], None]


@dataclass
class Loaded:
    """A module: the names of its kernels."""

    kernels: tuple[str, ...]


@dataclass
class Function:
    """A kernel of a module, and the shared memory that was asked for."""

    module: int
    name: str
    shared: int = _PLAIN


@dataclass
class Launched:
    """A launch that ran."""

    name: str
    grid: tuple[int, int, int]
    threads: int
    shared: int
    arguments: list[int]


@dataclass
class Gpu:
    """What this part of the stand-in keeps."""

    code: dict[str, Code] = field(default_factory=dict)
    modules: dict[int, Loaded] = field(default_factory=dict)
    functions: dict[int, Function] = field(default_factory=dict)
    launched: list[Launched] = field(default_factory=list)
    refuses: CUresult | None = None  # of every module


class Kernels(Core):
    """See `tests.runtime.stand_in.driver.Driver`.

    Attributes:
        gpu: kernels, and what was launched.
        shared: most bytes of shared memory of a block.
    """

    shared = 99 << 10
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)

    @property
    def gpu(self) -> Gpu:
        if not hasattr(self, "_gpu"):
            self._gpu = Gpu()
        return self._gpu

    def cuModuleLoadData(self, image: bytes) -> tuple[CUresult, Handle | None]:
        self.need_context("cuModuleLoadData")
        if self.break_captures():
            return CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, None
        if self.gpu.refuses is not None:
            return self.gpu.refuses, None
        found = _IMAGE.match(image)
        if found is None:
            return CUresult.CUDA_ERROR_INVALID_IMAGE, None
        if int(found[1]) != 10 * self.capability[0] + self.capability[1]:
            return CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU, None
        self.count("cuModuleLoadData")
        names = tuple(found[2].decode().split())
        return OK, self.new(self.gpu.modules, Loaded(names))

    def cuModuleUnload(self, hmod: int) -> tuple[CUresult]:
        self.need_context("cuModuleUnload")
        if self.gpu.modules.pop(int(hmod), None) is None:
            raise Violation("a module is unloaded twice")
        return (OK,)

    def cuModuleGetFunction(self, hmod: int, name: bytes) -> tuple[CUresult, Handle | None]:
        if not isinstance(name, bytes):
            raise Violation("the name of a kernel is no bytes")
        if name.decode() not in self.gpu.modules[int(hmod)].kernels:
            return CUresult.CUDA_ERROR_NOT_FOUND, None
        return OK, self.new(self.gpu.functions, Function(int(hmod), name.decode()))

    def cuFuncSetAttribute(self, hfunc: int, attrib: int, value: int) -> tuple[CUresult]:
        if attrib != 8:
            raise Violation(f"an attribute {attrib} of a kernel that the stand-in does not know")
        if value > self.shared:
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)
        self.gpu.functions[int(hfunc)].shared = value
        return (OK,)

    def cuLaunchKernel(
        self,
        f: int,
        gridDimX: int,
        gridDimY: int,
        gridDimZ: int,
        blockDimX: int,
        blockDimY: int,
        blockDimZ: int,
        sharedMemBytes: int,
        hStream: int,
        kernelParams: int,
        extra: int,
    ) -> tuple[CUresult]:
        grid = gridDimX, gridDimY, gridDimZ
        function = self._alive(f)
        if not all(1 <= n <= most for n, most in zip(grid, _LARGEST, strict=True)):
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)
        if blockDimY != 1 or blockDimZ != 1 or not 1 <= blockDimX <= 1024 or blockDimX % 32:
            raise Violation(f"a block of {blockDimX} x {blockDimY} x {blockDimZ} threads")
        if sharedMemBytes > function.shared:
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)
        if extra != 0:
            raise Violation("parameters in two ways")
        code = self.gpu.code[function.name]
        arguments = self._arguments(kernelParams, code.parameters)
        pointers = [a for a, kind in zip(arguments, code.parameters, strict=True) if kind == "p"]
        for address in pointers:
            if address % 16:
                raise Violation(f"{function.name} gets a pointer that is not aligned")

        def run() -> None:
            self._alive(f)
            self.gpu.launched.append(
                Launched(function.name, grid, blockDimX, sharedMemBytes, arguments)
            )
            code.run(grid, arguments)

        ranges = tuple((address, 1) for address in pointers if address)
        self.check(*ranges)
        return self.queue(hStream, Job("launch", run, ranges))

    def _alive(self, handle: int) -> Function:
        function = self.gpu.functions.get(int(handle))
        if function is None or function.module not in self.gpu.modules:
            raise Violation("a kernel is started whose module was unloaded")
        return function

    def _arguments(self, places: int, parameters: str) -> list[int]:
        """The parameters as the driver reads them, and two null pointers behind them."""
        if places >= DEVICE_BASE or places == 0:
            raise Violation("parameters are not in the CPU's memory")
        count = len(parameters) + SCRATCH
        addresses = (ctypes.c_void_p * count).from_address(places)
        kinds = [{"p": ctypes.c_uint64, "i": ctypes.c_int32}[kind] for kind in parameters]
        values = [kind.from_address(addresses[n]).value for n, kind in enumerate(kinds)]
        for n in range(len(parameters), count):
            if ctypes.c_uint64.from_address(addresses[n]).value:
                raise Violation("a scratch pointer is not null")
        return [int(value) for value in values]

    def modules_left(self) -> int:
        """Modules that were not unloaded."""
        return len(self.gpu.modules)
