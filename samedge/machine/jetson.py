"""What a Jetson is set to: JetPack, power mode, clocks; and how TensorRT gets onto one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

_RELEASE = Path("/etc/nv_tegra_release")
_DEVFREQ = Path("/sys/class/devfreq")
# "# R36 (release), REVISION: 4.3, GCID: ..." is L4T 36.4.3.
_L4T = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")
_MODE = re.compile(r"NV Power Mode:\s*(\S+)\s+(-?\d+)?")
# L4T's major version -> JetPack's, where the package nvidia-jetpack is not installed.
_JETPACK = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}
# JetPack's major version -> cuda-bindings for its CUDA, which comes with its driver: neither can be
# updated alone.
BINDINGS = {6: "'cuda-bindings>=12.8,<13'", 7: "'cuda-bindings>=13,<14'"}
_GPUS = ("gpu", "ga10b", "gv11b", "gb10b")  # in the name of the GPU's clock


def jetson() -> dict[str, Any] | None:
    """None on other machines. Else, each None where it cannot be found out:

    Returns:
        {"l4t": "36.4.3", "jetpack": "6.2.1", "power_mode": "MAXN", "power_mode_id": 0,
        "gpu_mhz": {"now", "least", "most"}, "tensorrt": version of JetPack's TensorRT for the
        system's own Python}
    """
    try:
        match = _L4T.search(_RELEASE.read_text(errors="replace"))
    except OSError:
        return None
    mode = _MODE.search(_output("nvpmodel", "-q") or "")
    major = int(match.group(1)) if match else None
    return {
        "l4t": f"{match.group(1)}.{match.group(2)}" if match else None,
        "jetpack": _package("nvidia-jetpack") or _JETPACK.get(major or 0),
        "power_mode": mode.group(1) if mode else None,
        "power_mode_id": int(mode.group(2)) if mode and mode.group(2) else None,
        "gpu_mhz": gpu_clock(),
        "tensorrt": _package("python3-libnvinfer"),
    }


UPDATE = (
    "JetPack 6.1 and newer have TensorRT 10.3, the oldest that samedge knows: update the Jetson"
)


def jetpack() -> int | None:
    """Major version of this Jetson's JetPack, 0 if it cannot be told; None on other machines."""
    try:
        match = _L4T.search(_RELEASE.read_text(errors="replace"))
    except OSError:
        return None
    return int(_JETPACK.get(int(match.group(1)), "0")) if match else 0


def major(found: dict[str, Any] | None) -> int | None:
    """As `jetpack`, for the Jetson of `jetson()`."""
    if found is None:
        return None
    number = str(found["jetpack"] or "").partition(".")[0]
    return int(number) if number.isdigit() else 0


def how_to_install(library: str, version: int) -> str:
    """What to do on a Jetson where a library for its GPU is missing or does not fit.

    Doctor, `samedge build` and errors all say this; docs/jetson.md explains it.

    Args:
        library: "tensorrt", "tensorrt_rtx" or "cuda-bindings".
        version: JetPack's major version, 0 if unknown.
    """
    if library == "tensorrt_rtx":
        return "TensorRT-RTX is not made for Jetsons: use TensorRT there (--target tensorrt)"
    if 0 < version < min(BINDINGS):
        return UPDATE
    fitting = {version: BINDINGS[version]} if version in BINDINGS else BINDINGS
    pip = " or ".join(f"pip install {what} (JetPack {n})" for n, what in fitting.items())
    return (
        "on a Jetson TensorRT comes from JetPack and not from pip: sudo apt install "
        "python3-libnvinfer; make the environment with /usr/bin/python3 -m venv "
        f"--system-site-packages; and in it {pip}"
    )


def advice(found: dict[str, Any] | None) -> list[str]:
    """What to change in the settings of the Jetson of `jetson()`, in plain words."""
    if found is None:
        return []
    lines = []
    if (found["power_mode"] or "").upper().startswith("MAXN") is False and found["power_mode"]:
        lines.append(
            f"the power mode {found['power_mode']} limits the clocks: for full speed "
            "sudo nvpmodel -m 0 (see nvpmodel -p --verbose), then sudo jetson_clocks"
        )
    clock = found["gpu_mhz"]
    if clock and clock["least"] < clock["most"]:
        lines.append(
            f"the GPU's clock varies from {clock['least']} to {clock['most']} MHz: frames are "
            "late after a pause; sudo jetson_clocks holds it at the top"
        )
    return lines


def gpu_clock() -> dict[str, int] | None:
    """MHz of the GPU: now, and the bounds that it may move within."""
    try:
        folders = sorted(_DEVFREQ.iterdir())
    except OSError:
        return None
    for folder in folders:
        if any(name in folder.name for name in _GPUS):
            files = {"now": "cur_freq", "least": "min_freq", "most": "max_freq"}
            try:
                return {k: int((folder / f).read_text()) // 10**6 for k, f in files.items()}
            except (OSError, ValueError):
                continue
    return None


def _package(name: str) -> str | None:
    """Version of a Debian package, without its epoch and build ("6.2.1+b38" is 6.2.1)."""
    text = _output("dpkg-query", "-W", "-f=${Status} ${Version}", name)
    match = re.search(r"\binstalled (?:\d+:)?([\w.]+)", text or "")
    return match.group(1) if match else None


def _output(tool: str, *arguments: str) -> str | None:
    path = shutil.which(tool)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None
