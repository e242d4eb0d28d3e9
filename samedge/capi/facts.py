"""What libsamedge there is on this machine, for `samedge doctor`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_SECONDS = 60


def facts() -> dict[str, Any] | None:
    """The library that programs would find; None if there is none.

    A process of its own asks it: it may be of another release, with an OpenVINO of its own.

    Returns:
        {"path"} and {"version", "abi", "backends"}, or {"error"}. "backends": name -> None where it
        works here, else why not.
    """
    from samedge.capi.library import library_path

    if library_path() is None:
        return None
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        found = {"error": f"it did not answer within {_SECONDS} s"}
    except ValueError:
        found = {"error": f"asking it ended a process with status {done.returncode}"}
    return {"path": str(library_path()), **found}


def asked() -> dict[str, Any]:
    """What the library says about itself, in this process."""
    from samedge.capi import structs
    from samedge.capi.library import Library
    from samedge.errors import SamEdgeError

    try:
        library = Library()
        abi = library.samedge_abi_version()
        found = {
            "version": library.samedge_version().decode(),
            "abi": f"{abi >> 16}.{abi & 0xFFFF}",
            "backends": {},
        }
        for name, number in structs.BACKENDS.items():
            if name != "auto":
                works = library.samedge_backend_check(number) == structs.OK
                why = None if works else library.samedge_last_error().decode("utf-8", "replace")
                found["backends"][name] = why
    except SamEdgeError as error:
        return {"error": str(error)}
    place = _loaded_from()
    return {"path": place, **found} if place else found


def _loaded_from() -> str | None:
    """The linker finds a library by its name alone; where it was is among the process's maps."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return None
    paths = [line.split(maxsplit=5)[-1] for line in maps.read_text(errors="replace").splitlines()]
    return next((path for path in paths if "/libsamedge.so" in path), None)


if __name__ == "__main__":
    print(json.dumps(asked()))
