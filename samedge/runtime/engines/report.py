"""What lies in the engine cache, and what in it no session of this machine will load again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samedge.errors import SourceError
from samedge.runtime.engines.keys import Installed
from samedge.runtime.engines.records import read_record
from samedge.runtime.engines.store import cache_folder, stored_files


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
    here = Installed(openvino, processors, libraries)
    report: dict[str, Any] = {"engines": 0, "mb": 0.0, "stale": []}
    try:
        files = stored_files(cache_folder())
    except OSError:
        return report
    for path in files:
        try:
            size = path.stat().st_size / 1e6
        except OSError:  # another process removed it
            continue
        report["mb"] += size
        runs, why = _judge(path, here)
        report["engines"] += runs
        if why is not None:
            report["stale"].append({"engine": path.name, "why": why, "mb": size})
    return report


def _judge(path: Path, here: Installed) -> tuple[bool, str | None]:
    """Whether a file is an engine, and why nobody will load it; None if somebody may."""
    try:
        key = read_record(path).key
    except SourceError:
        return True, "it has no readable record of what it is for"
    return key.runs, key.stale(here)
