"""Checkpoint -> torch modules with the official state-dict keys, in eager float32; trainable.

One file per network part; `build` is the only composer. The modules follow segment-anything
(Kirillov et al. 2023) and SAMUS (Lin et al. 2023), operation by operation, with every size taken
from a config, and are checked against the reference vectors in `tests/golden`.
"""

from __future__ import annotations

from samedge.errors import MissingDependencyError

try:
    import torch as _torch
except ModuleNotFoundError as error:
    raise MissingDependencyError("torch", "export", "samedge.models") from error

from samedge.models.build import build_sam, build_samus, load_strictly
from samedge.models.config import (
    VIT_SIZES,
    SamConfig,
    SamusConfig,
    sam_config,
    samus_config,
    tiny_sam_config,
    tiny_samus_config,
)
from samedge.models.sam import PromptableModel, Sam
from samedge.models.samus import Samus

__all__ = [
    "VIT_SIZES",
    "PromptableModel",
    "Sam",
    "SamConfig",
    "Samus",
    "SamusConfig",
    "build_sam",
    "build_samus",
    "load_strictly",
    "sam_config",
    "samus_config",
    "tiny_sam_config",
    "tiny_samus_config",
]

del _torch
