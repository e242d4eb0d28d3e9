"""How samedge and the packages of its extras are installed: the one place that knows.

samedge is not on the package index yet. Until then every message names a command for what this copy
came from, a clone or a wheel. When it is published, `PUBLISHED = True` changes all of them; a test
then asks for the same in README.md and docs/.
"""

from __future__ import annotations

import json
from pathlib import Path

PUBLISHED = False


def install_command(extra: str, options: str = "") -> str:
    """The pip command that brings an extra to this copy of samedge, and where to give it.

    Args:
        extra: the extra's name, "export" say.
        options: of pip, put behind what is installed.
    """
    where = ""
    if PUBLISHED:
        what = f"'samedge[{extra}]'"
    elif (wheel := _wheel()) is not None:
        what, where = f"'./{wheel}[{extra}]'", " (in the folder of the wheel)"
    else:
        what, where = f"-e '.[{extra}]'", " (in the clone of samedge)"
    return " ".join(filter(None, ("pip install", what, options))) + where


def _wheel() -> str | None:
    """File name of the wheel that this copy was installed from; None for a clone."""
    from importlib import metadata

    if (Path(__file__).parents[1] / "pyproject.toml").is_file():
        return None
    try:
        found = metadata.distribution("samedge")
    except metadata.PackageNotFoundError:
        return None
    # PEP 610: pip notes where a package came from, unless that was an index.
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if "dir_info" in origin or "vcs_info" in origin:
        return None
    name = str(origin.get("url", "")).rpartition("/")[2]
    return name if name.endswith(".whl") else f"samedge-{found.version}-py3-none-any.whl"
