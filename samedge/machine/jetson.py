"""What a Jetson is set to: JetPack, power mode, clocks."""

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
_JETPACK = {35: "5", 36: "6", 38: "7", 39: "7"}
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
        "gpu_mhz": _gpu_clock(),
        "tensorrt": _package("python3-libnvinfer"),
    }


def advice(found: dict[str, Any] | None, nvidia: dict[str, Any]) -> list[str]:
    """What to change on the Jetson of `jetson()`, in plain words."""
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
    if nvidia["libraries"]["tensorrt"] is None:
        lines.append(_tensorrt(found))
    return lines


def _tensorrt(found: dict[str, Any]) -> str:
    if found["tensorrt"]:
        return (
            f"JetPack's TensorRT {found['tensorrt']} is there, but not for this Python: make the "
            "environment with python3 -m venv --system-site-packages"
        )
    return "JetPack's TensorRT is not installed: sudo apt install nvidia-jetpack"


def _gpu_clock() -> dict[str, int] | None:
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
