"""Checkpoint -> torch modules with the official state-dict keys, in eager float32; trainable.

One file per network part; `build` is the only composer. The modules follow segment-anything
(Kirillov et al. 2023) and its medical descendants, operation by operation, with every size taken
from a config, and are checked against the reference vectors in `tests/golden`.
"""

from __future__ import annotations

from samedge._optional import importing

with importing("torch", extra="export", what="samedge.models"):
    from samedge.models.autosamus import Autosamus
    from samedge.models.build import build_model, build_sam, build_samus, load_strictly
    from samedge.models.config import (
        VIT_SIZES,
        AutosamusConfig,
        LiteMedsamConfig,
        MedsamConfig,
        MobileSamConfig,
        ModelConfig,
        MsaConfig,
        SamConfig,
        SamedConfig,
        SamusConfig,
    )
    from samedge.models.msa import Msa
    from samedge.models.presets import (
        preset,
        sam_config,
        samus_config,
        tiny,
        tiny_sam_config,
        tiny_samus_config,
    )
    from samedge.models.sam import PromptableModel, Sam
    from samedge.models.samed import Samed
    from samedge.models.samus import Samus

__all__ = [
    "VIT_SIZES",
    "Autosamus",
    "AutosamusConfig",
    "LiteMedsamConfig",
    "MedsamConfig",
    "MobileSamConfig",
    "ModelConfig",
    "Msa",
    "MsaConfig",
    "PromptableModel",
    "Sam",
    "SamConfig",
    "Samed",
    "SamedConfig",
    "Samus",
    "SamusConfig",
    "build_model",
    "build_sam",
    "build_samus",
    "load_strictly",
    "preset",
    "sam_config",
    "samus_config",
    "tiny",
    "tiny_sam_config",
    "tiny_samus_config",
]
