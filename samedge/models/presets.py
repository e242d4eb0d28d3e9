"""Configs of the official checkpoints, and very small ones for tests."""

from __future__ import annotations

from typing import Any, TypeVar

from samedge.errors import ModelError
from samedge.models.config import (
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

_Config = TypeVar("_Config", bound=ModelConfig)
_TITLES = {"vit_t": "TinyViT", "vit_b": "ViT-B", "vit_l": "ViT-L", "vit_h": "ViT-H"}


def vit_title(vit: str) -> str:
    """ "vit_b" -> "ViT-B"."""
    return _TITLES.get(vit, "a ViT of its own size")


def encoder_title(vit: str, blocks: int, width: int) -> str:
    """ "ViT-B (12 blocks of width 768)", or "an encoder of 4 blocks of width 32"."""
    size = f"{blocks} blocks of width {width}"
    return f"{_TITLES[vit]} ({size})" if vit in _TITLES else f"an encoder of {size}"


def preset(config_type: type[_Config], vit: str, **changes: Any) -> _Config:
    """The config of the official checkpoint of size `vit`; `changes` override single fields."""
    known = config_type.SIZES
    if vit not in known:
        raise ModelError(f"unknown ViT size '{vit}'; expected one of {', '.join(known)}")
    return config_type(**{**known[vit], **changes})


def sam_config(vit: str = "vit_b", **changes: Any) -> SamConfig:
    """SAM with encoder `vit` ("vit_b", "vit_l", "vit_h"); `changes` override single fields."""
    return preset(SamConfig, vit, **changes)


def samus_config(vit: str = "vit_b", **changes: Any) -> SamusConfig:
    """SAMUS with encoder `vit` ("vit_b", "vit_l", "vit_h"); `changes` override single fields."""
    return preset(SamusConfig, vit, **changes)


# Small enough for tests, yet with padded windows (8 -> 10), both block kinds and all branches.
_TINY: dict[str, Any] = {"prompt_dim": 32, "decoder_mlp_dim": 64, "iou_hidden_dim": 32}
_TINY_VIT: dict[str, Any] = {
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "global_blocks": (1, 3),
    "window_size": 5,
}
_TINY_STAGES: dict[str, Any] = {
    "widths": (8, 16, 24, 32),
    "depths": (1, 1, 2, 1),
    "heads": (1, 2, 3, 2),
    "windows": (5, 5, 6, 5),
}
_TINY_OF: dict[type[ModelConfig], dict[str, Any]] = {
    MobileSamConfig: {**_TINY_STAGES, "img_size": 128},
    LiteMedsamConfig: {**_TINY_STAGES, "img_size": 32},
    SamConfig: {"img_size": 128},
    MedsamConfig: {"img_size": 128},
    SamedConfig: {"img_size": 128, "num_mask_tokens": 4, "lora_rank": 3},
    MsaConfig: {"img_size": 128, "stored_grid": 13},
    SamusConfig: {"img_size": 64, "cnn_channels": (8, 12, 16)},
    AutosamusConfig: {
        "img_size": 64,
        "cnn_channels": (8, 12, 16),
        "object_tokens": 6,
        "generator_heads": 2,
        "generator_head_dim": 8,
        "generator_mlp_dim": 48,
    },
}


def tiny(config_type: type[_Config], **changes: Any) -> _Config:
    """A network of about 0.1 M parameters (grid 8) that has every part of a real one."""
    encoder = _TINY_VIT if issubclass(config_type, SamConfig) else {}
    return config_type(**{**_TINY, **encoder, **_TINY_OF[config_type], **changes})


def tiny_sam_config(**changes: Any) -> SamConfig:
    """A SAM of about 0.1 M parameters (input 128, grid 8) that has every part of a real one."""
    return tiny(SamConfig, **changes)


def tiny_samus_config(**changes: Any) -> SamusConfig:
    """A SAMUS of about 0.1 M parameters (input 64, grid 8) that has every part of a real one."""
    return tiny(SamusConfig, **changes)
