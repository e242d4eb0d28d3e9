"""Every call of the driver that samedge makes, against the real bindings, where no driver is.

The bindings convert their arguments before they look for the driver. So a call with arguments that
they do not take is a TypeError, and one that they do take says that there is no driver.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from samedge.runtime.gpu import driver as cuda

RUNTIME = Path(cuda.__file__).parent
SOURCES = tuple(path.name for path in sorted(RUNTIME.glob("*.py")))
REAL = importlib.util.find_spec("cuda") and importlib.util.find_spec("cuda.bindings")
pytestmark = pytest.mark.skipif(not REAL, reason="needs cuda-bindings")

# What stands for an argument in the code -> one of its kind.
SAMPLES: dict[str, tuple[Any, ...]] = {
    "cuCtxPopCurrent": (),
    "cuCtxPushCurrent": ("CUcontext",),
    "cuDeviceGet": (0,),
    "cuDeviceGetAttribute": ("major", "CUdevice"),
    "cuDeviceGetCount": (),
    "cuDeviceGetName": (256, "CUdevice"),
    "cuDevicePrimaryCtxRelease": ("CUdevice",),
    "cuDevicePrimaryCtxRetain": ("CUdevice",),
    "cuDriverGetVersion": (),
    "cuEventCreate": (2,),
    "cuEventDestroy": ("CUevent",),
    "cuEventRecord": ("CUevent", 1),
    "cuFuncSetAttribute": ("CUfunction", "shared", 65536),
    "cuGraphDestroy": ("CUgraph",),
    "cuGraphExecDestroy": ("CUgraphExec",),
    "cuGraphInstantiate": ("CUgraph", 0),
    "cuGraphLaunch": ("CUgraphExec", "CUstream"),
    "cuInit": (0,),
    "cuLaunchKernel": ("CUfunction", 1, 1, 1, 128, 1, 1, 65536, "CUstream", 4096, 0),
    "cuMemAlloc": (64,),
    "cuMemFree": (4096,),
    "cuMemFreeHost": (4096,),
    "cuMemGetInfo": (),
    "cuMemHostAlloc": (64, 0),
    "cuMemcpy2DAsync": ("job", "CUstream"),
    "cuMemcpyDtoDAsync": (4096, 8192, 64, "CUstream"),
    "cuMemcpyDtoH": (4096, 8192, 64),
    "cuMemcpyDtoHAsync": (4096, 8192, 64, "CUstream"),
    "cuMemcpyHtoD": (4096, 8192, 64),
    "cuMemcpyHtoDAsync": (4096, 8192, 64, "CUstream"),
    "cuModuleGetFunction": ("CUmodule", b"kernel"),
    "cuModuleLoadData": (b"image",),
    "cuModuleUnload": ("CUmodule",),
    "cuPointerGetAttribute": ("ordinal", 4096),
    "cuStreamBeginCapture": ("CUstream", "mode"),
    "cuStreamCreate": (1,),
    "cuStreamDestroy": ("CUstream",),
    "cuStreamEndCapture": ("CUstream",),
    "cuStreamSynchronize": ("CUstream",),
    "cuStreamWaitEvent": ("CUstream", "CUevent", 0),
}


def bindings() -> Any:
    return importlib.import_module("cuda.bindings.driver")


def test_all_calls_are_tried() -> None:
    used: set[str] = set()
    for name in SOURCES:
        text = (RUNTIME / name).read_text()
        names = {n.attr for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute)}
        used |= {n for n in names if re.fullmatch(r"cu[A-Z]\w+", n)}
        used |= set(re.findall(r'call\(\s*"(cu\w+)"', text))
    assert used == set(SAMPLES)


def test_all_names_are_there() -> None:
    driver = bindings()
    text = "".join((RUNTIME / name).read_text() for name in SOURCES)
    for name in cuda._REMEDIES:
        assert hasattr(driver.CUresult, name)
    for owner, member in re.findall(r"\.(CU\w+)\.(CU_\w+)", text):
        assert hasattr(getattr(driver, owner), member), f"{owner}.{member}"


@pytest.mark.skipif(cuda._has_driver(), reason="the calls would be real")
@pytest.mark.parametrize("function", SAMPLES)
def test_the_bindings_take_the_arguments(function: str) -> None:
    driver = bindings()
    job = driver.CUDA_MEMCPY2D()
    job.srcMemoryType = job.dstMemoryType = driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
    job.srcDevice, job.srcPitch, job.dstDevice, job.dstPitch = 4096, 8, 8192, 4
    job.WidthInBytes, job.Height = 4, 2
    known = {
        "job": job,
        "major": driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
        "shared": driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
        "ordinal": driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
        "mode": driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
    }
    arguments = [
        value if not isinstance(value, str) else known.get(value) or getattr(driver, value)()
        for value in SAMPLES[function]
    ]
    with pytest.raises(RuntimeError, match=r"driver|libcuda|not found"):
        getattr(driver, function)(*arguments)
