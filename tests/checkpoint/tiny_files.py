"""State dicts of very small networks, as the official files of every family would hold them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samedge import models
from samedge.checkpoint.samed import lora_file_shapes
from samedge.models.build import model_shapes
from samedge.models.synthetic import synthetic_state_dict

StateDict = dict[str, Tensor]
Files = dict[str, Path]  # record name -> file
Refused = Callable[..., str]  # the fixture `refused`
LOADABLE = "autosamus, samed_s, samed, msa_lora, msa, litemedsam, mobile_sam, samus, medsam, sam"

# Smaller still than the tiny presets, for tests with many examples.
MINUTE: dict[str, Any] = {
    "embed_dim": 8,
    "num_heads": 1,
    "depth": 2,
    "global_blocks": (1,),
    "decoder_mlp_dim": 8,
    "iou_hidden_dim": 8,
}
LORALIB: dict[str, Any] = {
    "adapter_ratio": 0.0,
    "lora_rank": 2,
    "lora_layers": ("attn.qkv", "mlp.lin1"),
    "lora_groups": 2,
}


def tensors_of(shapes: Mapping[str, tuple[int, ...]], seed: int) -> StateDict:
    """Tensors of these names and shapes from the weight formula."""
    return {k: torch.from_numpy(v) for k, v in synthetic_state_dict(shapes, seed).items()}


def whole(config: models.SamConfig, seed: int = 1) -> StateDict:
    """The file of a family that comes in one."""
    return tensors_of(model_shapes(config), seed)


def samed_file(config: models.SamedConfig, seed: int = 51) -> StateDict:
    """SAMed's own file: low-rank factors, prompt encoder and mask decoder."""
    return tensors_of(lora_file_shapes(model_shapes(config)), seed)


def earlier_msa(config: models.MsaConfig, seed: int = 1) -> StateDict:
    """The file of an earlier Medical SAM Adapter: its position tables have SAM's names."""
    return {k.replace("attn.rel_", "attn.rel_pos_"): v for k, v in whole(config, seed).items()}


def every_family(**changes: Any) -> dict[str, list[StateDict]]:
    """Name of the record -> its files; `changes` are for all configs."""
    sam = whole(models.tiny(models.SamConfig, **changes), 2)
    samed = models.tiny(models.SamedConfig, **changes)
    samed_s = models.tiny(models.SamedConfig, decoder_rank=2, **changes)
    return {
        "sam": [sam],
        "samed": [sam, samed_file(samed)],
        "samed_s": [sam, samed_file(samed_s)],
        "msa": [whole(models.tiny(models.MsaConfig, **changes))],
        "msa_lora": [whole(models.tiny(models.MsaConfig, **LORALIB, **changes))],
        "samus": [whole(models.tiny(models.SamusConfig, **changes))],
        "autosamus": [whole(models.tiny(models.AutosamusConfig, **changes))],
    }
