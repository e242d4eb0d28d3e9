"""The source tree as the packaging tests see it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; pytest brings tomli there
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("bench", "export", "kernels")
NATIVE = ROOT / "samedge" / "capi"
RECORDED = ROOT / "samedge" / "bench" / "results"


def pyproject() -> dict[str, Any]:
    """The project's pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_files() -> dict[str, Path]:
    """Every file of the package: name inside the package (`samedge/...`) -> path in the tree.

    The sources of libsamedge, which CMake builds, are none of it, and neither are recorded tables.
    """
    files = {}
    for folder, names, members in os.walk(ROOT / "samedge", followlinks=True):
        names[:] = [name for name in names if name != "__pycache__"]
        for member in members:
            path = Path(folder) / member
            if RECORDED in path.parents:
                continue
            if path.suffix != ".pyc" and (path.suffix == ".py" or NATIVE not in path.parents):
                files[path.relative_to(ROOT).as_posix()] = path
    return files


def modules() -> dict[str, Path]:
    """Every module: dotted name -> path."""
    found = {}
    for name, path in package_files().items():
        if path.suffix == ".py":
            parts = name.removesuffix(".py").split("/")
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found
