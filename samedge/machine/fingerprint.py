"""What a figure depends on: the machine, its settings and its libraries, in plain JSON values.

No host or user names, no paths: a fingerprint can be published.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge._version import __version__
from samedge.machine.cpu import usable_cpus
from samedge.machine.facts import (
    cpu,
    cpuinfo,
    installed_version,
    memory,
    openvino_devices,
    python,
    system,
)
from samedge.machine.jetson import jetson
from samedge.machine.nvidia import nvidia
from samedge.machine.reading import folders, number, text

LIBRARIES = (
    *("numpy", "opencv-python-headless", "openvino", "onnxruntime", "torch", "triton"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx", "cuda-bindings"),
)
# Beginnings of environment variables that change speed.
VARIABLES = (
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "TBB_", "ONEDNN_", "DNNL_", "OV_"),
    *("OPENVINO_", "ATEN_", "TORCH_", "PYTORCH_", "CUDA_", "NVIDIA_TF32_", "CUBLAS_", "CUDNN_"),
    *("MALLOC_", "GLIBC_TUNABLES", "TRITON_", "SAMEDGE_"),
)
_PRELOADED = "LD_PRELOAD"
_PLAIN = re.compile(r"[\w.,:;=+ -]{0,200}")


def fingerprint(root: Path = Path("/")) -> dict[str, Any]:
    """Of this machine, in plain values; each None or left out where the system does not tell.

    Args:
        root: where /proc and /sys stand; a test has its own.

    Returns:
        {"samedge": version, "python", "system", "cpu", "memory": as `samedge.machine.facts` has
        them, "libraries": package -> version, of those that are installed, "openvino": {"version",
        "devices"}, "nvidia", "jetson": of the functions of these names, "environment": variables
        that change speed}; "system" also has "product" and "virtual", and "cpu" has "microcode",
        "caches", "clock_mhz": {"least", "most"}, "turbo", "smt", "quota"
    """
    versions = {name: installed_version(name) for name in LIBRARIES}
    openvino = openvino_devices()
    openvino.pop("error", None)  # its words may hold a path
    return {
        "samedge": __version__,
        "python": python(),
        "system": {**system(), "product": _product(root), "virtual": _virtual(root)},
        "cpu": {**cpu(), **_processor(root)},
        "memory": memory(),
        "libraries": {name: version for name, version in versions.items() if version},
        "openvino": openvino,
        "nvidia": nvidia(),
        "jetson": jetson(),
        "environment": environment(os.environ),
    }


def title(found: Mapping[str, Any]) -> str:
    """A fingerprint in one line, to stand above a table: processor, cores, GPU, system, OpenVINO.

    Args:
        found: of `fingerprint`, perhaps from a file of somebody else; what it lacks is left out.
    """
    processor, machine, libraries, gpu_side, board = (
        part if isinstance(part := found.get(name), Mapping) else {}
        for name in ("cpu", "system", "libraries", "nvidia", "jetson")
    )
    cores, mode = processor.get("physical_cores"), board.get("power_mode")
    gpus = gpu_side.get("gpus")
    names = [
        gpu.get("name")
        for gpu in (gpus if isinstance(gpus, list) else ())
        if isinstance(gpu, Mapping)
    ]
    parts = [
        machine.get("board") or processor.get("model"),
        f"{cores} core{'' if cores == 1 else 's'}" if cores else None,
        f"power mode {mode}" if mode else None,
        *dict.fromkeys(f"{names.count(name)} x {name}" for name in names),
        f"in {machine['virtual']}" if machine.get("virtual") else None,
        machine.get("os"),
        f"OpenVINO {libraries['openvino']}" if "openvino" in libraries else None,
    ]
    return ", ".join(str(part) for part in parts if part)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that change speed, sorted. Of what is preloaded only the libraries' names are
    told, and of other values with paths nothing but that they are set."""
    found = {}
    for name in sorted(variables):
        if name.startswith(VARIABLES):
            value = variables[name]
            found[name] = value if _PLAIN.fullmatch(value) else "(set)"
    if libraries := variables.get(_PRELOADED):
        files = re.split(r"[: ]+", libraries.strip())
        found[_PRELOADED] = ", ".join(name.rpartition("/")[2] for name in files)
    return found


def _product(root: Path) -> str | None:
    """Maker and model, as the firmware has them: a cart's, or a cloud's type of machine."""
    names = [text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return " ".join(name.strip() for name in names if name and name.strip()) or None


def _virtual(root: Path) -> str | None:
    """What the processor says of itself; None on real hardware."""
    flags = cpuinfo(root / "proc/cpuinfo").get("flags", "").split()
    return "a virtual machine" if "hypervisor" in flags else None


def _processor(root: Path) -> dict[str, Any]:
    cpus = root / "sys/devices/system/cpu"
    numbers = usable_cpus()
    first = cpus / f"cpu{numbers[0]}"
    frequencies = {
        "least": number(first / "cpufreq/cpuinfo_min_freq"),
        "most": number(first / "cpufreq/cpuinfo_max_freq"),
    }
    smt = number(cpus / "smt/active")
    return {
        "microcode": cpuinfo(root / "proc/cpuinfo").get("microcode"),
        "caches": _caches(first),
        "clock_mhz": {name: khz // 1000 for name, khz in frequencies.items() if khz} or None,
        "turbo": _turbo(cpus),
        "smt": None if smt is None else bool(smt),
        "quota": _quota(root),
    }


def _caches(cpu_folder: Path) -> dict[str, str]:
    """ "L1d": "48K" and so on, of one core."""
    found = {}
    for index in folders(cpu_folder / "cache", "index*"):
        level, kind = number(index / "level"), (text(index / "type") or "").strip()
        if level is not None and kind:
            letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
            found[f"L{level}{letter}"] = (text(index / "size") or "").strip()
    return found


def _turbo(cpus: Path) -> bool | None:
    """Whether clocks may rise above the nominal one: Intel's driver says no, others say yes."""
    off = number(cpus / "intel_pstate/no_turbo")
    if off is not None:
        return not off
    boost = number(cpus / "cpufreq/boost")
    return None if boost is None else bool(boost)


def _quota(root: Path) -> float | None:
    """Processors' worth of time that a container may take; None without a limit."""
    for group in ("", "cpu"):
        folder = root / "sys/fs/cgroup" / group
        words = (text(folder / "cpu.max") or "").split()
        if len(words) != 2:
            words = [text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        try:
            quota, period = int(words[0]), int(words[1])
        except ValueError:  # "max", or no such file
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None
