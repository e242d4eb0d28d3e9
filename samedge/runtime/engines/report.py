"""What lies in the engine cache, and what in it no session of this machine will load again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge.runtime.engines.cache import default_folder

# Kept in the same folder by the same means.
NO_ENGINES = ("calibration-", "tensorrt_rtx-kernels-")
MAX_SIDECAR_BYTES = 64 * 2**20


def engine_cache(
    openvino: str | None, processors: Mapping[str, str], libraries: Mapping[str, str | None]
) -> dict[str, Any]:
    """The engines in the user's cache.

    Args:
        openvino: version of the installed OpenVINO.
        processors: OpenVINO's devices here and their names, {"CPU": "Intel(R) ..."}.
        libraries: "tensorrt" and "tensorrt_rtx" with their installed versions.

    Returns:
        {"engines": how many, "mb": megabytes (10^6 bytes) of all that lies there, "stale":
        [{"engine", "why", "mb"}]}. No folder is named: it may hold the user's name.
    """
    report: dict[str, Any] = {"engines": 0, "mb": 0.0, "stale": []}
    try:
        engines = sorted(default_folder().rglob("*.engine"))
    except OSError:
        return report
    for engine in engines:
        try:
            size = engine.stat().st_size / 1e6
        except OSError:  # another process removed it
            continue
        report["mb"] += size
        if engine.name.startswith(NO_ENGINES):
            continue
        report["engines"] += 1
        why = _why_stale(engine, openvino, processors, libraries)
        if why is not None:
            report["stale"].append({"engine": engine.name, "why": why, "mb": size})
    return report


def _why_stale(
    engine: Path,
    openvino: str | None,
    processors: Mapping[str, str],
    libraries: Mapping[str, str | None],
) -> str | None:
    record = _record(engine)
    if record is None:
        return "it has no readable record of what it is for"
    backend = record.get("backend")
    if isinstance(backend, str):
        here, title = libraries.get(backend), backend
        built = record.get("version")
    else:
        key = record.get("key")
        key = key if isinstance(key, dict) else {}
        here, title, built = openvino, "OpenVINO", key.get("openvino")
        name = processors.get(str(key.get("device", "CPU")))
        if name is not None and key.get("cpu") not in (None, name):
            return f"it was compiled for another processor ({key['cpu']})"
    if not isinstance(built, str):
        return "its record does not say what built it"
    if here is None:
        return f"{title} is not installed any more"
    # TensorRT's packages have a build number behind what the library says of itself.
    if here != built and not here.startswith(f"{built}."):
        return f"it was built by {title} {built}, here is {here}"
    return None


def _record(engine: Path) -> dict[str, Any] | None:
    path = engine.with_name(engine.name.removesuffix(".engine") + ".json")
    try:
        if path.stat().st_size > MAX_SIDECAR_BYTES:
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
