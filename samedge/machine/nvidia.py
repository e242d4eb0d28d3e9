"""NVIDIA GPUs, their driver and the libraries for them: facts, and whether they fit together.

Nothing here imports a GPU library or fails because something is absent; what cannot be found out
is None.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from samedge._install import install_command
from samedge.machine.jetson import UPDATE, how_to_install

# CUDA's major version -> oldest branch of the driver that runs it, also its later minor versions
# (docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html).
OLDEST_DRIVER: dict[int, int] = {12: 525, 13: 580}
CUDA_OF_JETPACK: dict[int, int] = {6: 12, 7: 13}

# Library -> its packages, whose names may tell the version of CUDA they are for. JetPack's own
# TensorRT is called just "tensorrt".
PACKAGES_OF: dict[str, tuple[str, ...]] = {
    "tensorrt": ("tensorrt-cu13", "tensorrt-cu12", "tensorrt"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
    "cuda-bindings": ("cuda-bindings",),
}
TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX", "cuda-bindings": "cuda-bindings"}
OLDEST_TENSORRT = (10, 3)

_QUERY = "name,driver_version,memory.total,compute_cap"
_FIELDS = ("name", "driver", "memory", "compute_capability")
_SIGNS = (Path("/proc/driver/nvidia"), Path("/dev/nvhost-gpu"))
_CUDA = re.compile(r"<cuda_version>\s*([0-9]+\.[0-9]+)")


def nvidia() -> dict[str, Any]:
    """GPUs and driver, as the driver's own tool tells, and the installed libraries.

    Returns:
        {"gpus": [{"name", "driver", "memory", "compute_capability"}], "cuda": newest version of
        CUDA that the driver runs, as "12.4", or None, "libraries": see `libraries`}; "note" says
        why the list of GPUs is empty although there are signs of one.
    """
    found: dict[str, Any] = {"gpus": [], "cuda": None, "libraries": libraries()}
    tool = shutil.which("nvidia-smi")
    if tool is None:
        if any(path.exists() for path in _SIGNS):
            found["note"] = "driver loaded, nvidia-smi missing"
        return found
    done = _run([tool, f"--query-gpu={_QUERY}", "--format=csv,noheader"])
    if isinstance(done, str):
        return {**found, "note": f"nvidia-smi does not answer: {done}"}
    if done.returncode != 0:
        lines = (done.stdout or done.stderr).strip().splitlines()
        return {**found, "note": lines[0] if lines else "nvidia-smi failed"}
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    found["gpus"] = [dict(zip(_FIELDS, row, strict=True)) for row in rows
                     if len(row) == len(_FIELDS)]  # fmt: skip
    found["cuda"] = _cuda_version(tool)
    return found


def libraries() -> dict[str, dict[str, Any] | None]:
    """Library -> {"version", "cuda": major version of CUDA it is for, or None if its package does
    not tell}; None for one that is not installed."""
    found: dict[str, dict[str, Any] | None] = {}
    for library, packages in PACKAGES_OF.items():
        found[library] = None
        for package in packages:
            try:
                version = metadata.version(package)
            except metadata.PackageNotFoundError:
                continue
            named = re.search(r"-cu(\d+)$", package)
            cuda = int(named.group(1)) if named else None
            if library == "cuda-bindings":  # numbered like CUDA itself
                cuda = _leading(version)
            found[library] = {"version": version, "cuda": cuda}
            break
    return found


def problems(found: dict[str, Any], jetpack: int | None = None) -> list[str]:
    """What stands in the way of running bundles on the GPU of `nvidia()`, each with its remedy.

    Empty where there is no GPU, or nothing is wrong with it.

    Args:
        found: by `nvidia()`.
        jetpack: major version of a Jetson's, 0 if unknown; None on other machines.
    """
    if jetpack is not None:  # has a GPU whatever nvidia-smi says, which older ones do not have
        return _on_jetson(found["libraries"], jetpack)
    if not found["gpus"]:
        note = found.get("note")
        return [f"{note}: install or repair the NVIDIA driver, then restart"] if note else []
    return [*_missing(found), *_drivers(found), *_ages(found["libraries"])]


def _on_jetson(there: dict[str, Any], jetpack: int) -> list[str]:
    """What is missing or does not fit, all in one line: one remedy mends it all."""
    wrong = [f"{TITLES[n]} is missing" for n in ("tensorrt", "cuda-bindings") if there[n] is None]
    bindings = there["cuda-bindings"]
    cuda = CUDA_OF_JETPACK.get(jetpack)
    if bindings is not None and cuda is not None and bindings["cuda"] != cuda:
        wrong.append(
            f"cuda-bindings {bindings['version']} is for CUDA {bindings['cuda']} and JetPack "
            f"{jetpack} has CUDA {cuda}"
        )
    lines = [f"{', '.join(wrong)}: {how_to_install('tensorrt', jetpack)}"] if wrong else []
    return [*lines, *_ages(there, UPDATE)]


def _missing(found: dict[str, Any]) -> list[str]:
    there = found["libraries"]
    lines = []
    if there["tensorrt"] is None and there["tensorrt_rtx"] is None:
        lines.append(
            "neither TensorRT nor TensorRT-RTX is installed: for any NVIDIA GPU "
            f"{install_command('tensorrt')}; for GeForce and RTX cards {install_command('rtx')}"
        )
    if there["cuda-bindings"] is None:
        newest = _leading(found["cuda"] or "")
        package = "cuda-bindings" if newest is None else f"'cuda-bindings<{newest + 1}'"
        lines.append(f"cuda-bindings is not installed: pip install {package}")
    return lines


def _drivers(found: dict[str, Any]) -> list[str]:
    """Libraries that are for a newer CUDA than the driver."""
    driver = _leading(found["gpus"][0].get("driver", ""))
    newest = _leading(found["cuda"] or "")
    lines = []
    for name, library in found["libraries"].items():
        if library is None or library["cuda"] is None:
            continue
        wanted = library["cuda"]
        oldest = OLDEST_DRIVER.get(wanted)
        too_old = oldest is not None and driver is not None and driver < oldest
        if too_old or (newest is not None and newest < wanted):
            runs = f" (it runs CUDA up to {found['cuda']})" if found["cuda"] else ""
            needed = f", driver {oldest} or newer" if oldest else ""
            lines.append(
                f"{TITLES[name]} {library['version']} is for CUDA {wanted}{needed}; the driver is "
                f"{found['gpus'][0]['driver']}{runs}: update the driver, or install "
                f"{TITLES[name]} for CUDA {newest or wanted - 1}"
            )
    return lines


def _ages(there: dict[str, Any], remedy: str = "update it") -> list[str]:
    library = there["tensorrt"]
    if library is None:
        return []
    version = tuple(int(n) for n in re.findall(r"\d+", library["version"])[:2])
    if version >= OLDEST_TENSORRT:
        return []
    return [
        f"TensorRT {library['version']} is older than 10.3, the oldest that samedge knows: {remedy}"
    ]


def _cuda_version(tool: str) -> str | None:
    """The newest CUDA that the driver runs: only the XML and the banner tell."""
    done = _run([tool, "-q", "-x"])
    if isinstance(done, str) or done.returncode != 0:
        return None
    match = _CUDA.search(done.stdout)
    return match.group(1) if match else None


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str] | str:
    """The finished command, or why it did not finish."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        return type(error).__name__


def _leading(version: str) -> int | None:
    match = re.match(r"\s*(\d+)", version)
    return int(match.group(1)) if match else None
