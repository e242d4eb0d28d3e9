"""What this machine is and has: for `samedge doctor`, bench reports and error messages.

Nothing here fails because something is absent: what cannot be found out is None or missing. Host
and user names are never read.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from samedge.machine.cpu import governor, physical_cores, usable_cpus
from samedge.machine.jetson import jetson
from samedge.machine.memory import group_limit, meminfo, room
from samedge.machine.nvidia import nvidia
from samedge.machine.reading import text

# Extra -> (what for, packages by their names on the package index). A test compares the packages
# with pyproject.toml; "" is what samedge always brings.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "": (
        "run a bundle on a CPU",
        ("click", "numpy", "opencv-python-headless", "openvino", "rich"),
    ),
    "export": (
        "open checkpoints, fold, write bundles",
        ("onnx", "onnxscript", "safetensors", "torch"),
    ),
    "tensorrt": ("engines for NVIDIA GPUs and Jetsons", ("cuda-bindings", "tensorrt")),
    "triton": (
        "samedge's own engines for NVIDIA GPUs, compiled on any machine",
        ("cuda-bindings", "triton"),
    ),
    "rtx": ("engines for RTX GPUs, built on any machine", ("cuda-bindings", "tensorrt-rtx")),
    "nvml": ("clocks, heat and energy of NVIDIA GPUs in benchmarks", ("nvidia-ml-py",)),
    "stream": (
        "video files, DICOM and NIfTI, live streams and their viewer",
        ("av", "nibabel", "pillow", "pydicom", "starlette", "uvicorn", "websockets"),
    ),
}

# Flag in /proc/cpuinfo (x86, ARM) -> name to print; what inference can make use of.
FEATURES: dict[str, str] = {
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx512f": "avx512",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "amx_fp16": "amx_fp16",
    "asimd": "neon",
    "asimdhp": "neon_fp16",
    "asimddp": "neon_dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
}

_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")


def machine() -> dict[str, Any]:
    """Everything, as plain JSON values: the keys are those of the functions below."""
    return {
        "python": python(),
        "system": system(),
        "cpu": cpu(),
        "memory": memory(),
        "packages": packages(),
        "openvino": openvino_devices(),
        "nvidia": nvidia(),
        "jetson": jetson(),
    }


def python() -> dict[str, str]:
    """Version and implementation of the running interpreter."""
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
    }


def system() -> dict[str, str | None]:
    """Operating system, kernel, architecture, and the board where there is one (a Jetson)."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:  # not Linux, or a minimal container
        name = None
    return {
        "os": name or platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "board": (text(_BOARD) or "").strip("\0\n ") or None,
    }


def cpu() -> dict[str, Any]:
    """Model, instruction sets of use to inference, cores this process may run on, and what sets
    their clock."""
    fields = cpuinfo()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "features": [name for flag, name in FEATURES.items() if flag in flags],
        "physical_cores": physical_cores(),
        "logical_cores": len(usable_cpus()),
        "governor": governor(),
    }


def memory() -> dict[str, int | None]:
    """Memory in MB (10^6 bytes): of the machine, free for this process, and the limit of a
    container or control group if one is set."""
    here = room()
    return {
        "total_mb": _mb(meminfo().get("MemTotal")),
        "available_mb": _mb(None if here is None else here.bytes),
        "limit_mb": _mb(group_limit()),
    }


def _mb(count: int | None) -> int | None:
    return None if count is None else count // 10**6


def packages() -> dict[str, dict[str, str | None]]:
    """Extra -> package -> installed version; None if it is not installed."""
    return {
        extra: {name: installed_version(name) for name in names}
        for extra, (_, names) in EXTRAS.items()
    }


def installed_version(package: str) -> str | None:
    """Version of an installed package, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # OpenCV comes in four packages with one module; any of them will do.
        if package == "opencv-python-headless":
            return installed_version("opencv-python")
        return None


def openvino_devices() -> dict[str, Any]:
    """Devices that OpenVINO sees, with the precisions they compute natively.

    Returns:
        {"version", "devices": [{"device", "name", "native"}]}, or {"error"} with the reason.
    """
    try:
        from samedge._openvino import ov

        core = ov.Core()
        devices = [_openvino_device(core, name) for name in core.available_devices]
    except ImportError as error:
        return {"error": f"cannot be imported: {error}"}
    except RuntimeError as error:  # a broken plugin or driver
        return {"error": str(error).strip().splitlines()[0]}
    return {"version": ov.__version__, "devices": devices}


def _openvino_device(core: Any, device: str) -> dict[str, Any]:
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    native = [name for name in ("FP32", "BF16", "FP16", "INT8") if name in capabilities]
    full_name = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
    return {"device": device, "name": full_name, "native": [name.lower() for name in native]}


def cpuinfo(path: Path | None = None) -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; empty where there is none."""
    fields: dict[str, str] = {}
    for line in (text(path or _CPUINFO) or "").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    if not fields and sys.platform == "darwin" and os.uname().machine == "arm64":
        fields["model name"] = "Apple silicon"
    return fields
