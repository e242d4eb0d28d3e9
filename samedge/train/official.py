"""Trained models -> files that `open_checkpoint` and the original projects' code read.

SAMUS, AutoSAMUS, MedSAM, SAM, Medical SAM Adapter, MobileSAM and LiteMedSAM: the state dict, flat,
float32. SAMed: the file of what it trains, `w_a_000` and so on, which goes beside its SAM base.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from samedge._optional import importing, require

with importing("torch", extra="export", what="samedge.train"):
    import torch
    from torch import Tensor


from samedge.checkpoint.reader import CONFIG_ENTRY
from samedge.checkpoint.samed import file_name
from samedge.errors import OutputError
from samedge.files.whole import whole_file, write_bytes
from samedge.models import MobileSamConfig, PromptableModel, Samed

SUFFIXES = (".pth", ".safetensors")
# What no shape shows. Written only where it is not the official value: the original code loads a
# file strictly, and an entry that is no tensor would be in its way.
_NOT_IN_SHAPES = (
    "decoder_heads",
    "generator_heads",
    "generator_head_dim",
    "slices",
    "chunk",
    "classes",
    "prompts",
)


def official_tensors(model: PromptableModel) -> dict[str, Tensor]:
    """What the original project's training writes: float32, on the CPU, not shared with the model.

    SAMed: low-rank factors by their numbers, prompt encoder, mask decoder (SAMed_s: without its
    transformer, whose own weights stay as in the base).
    """
    state = {k: v.detach().float().cpu().clone() for k, v in model.state_dict().items()}
    if not isinstance(model, Samed):
        return state
    own = {key: tensor for name, tensor in state.items() if (key := file_name(name)) is not None}
    if model.config.decoder_rank:  # type: ignore[attr-defined]
        own = {k: v for k, v in own.items() if not k.startswith("mask_decoder.transformer.")}
    return own


def recorded_config(model: PromptableModel) -> dict[str, Any]:
    """Sizes that the tensors do not show and that differ from the official ones."""
    defaults = {f.name: f.default for f in fields(model.config)}
    # TinyViT has no position table, which shows the input size of all others.
    hidden = (*_NOT_IN_SHAPES, *(["img_size"] if isinstance(model.config, MobileSamConfig) else []))
    values = {n: getattr(model.config, n) for n in hidden if n in defaults}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value != defaults[name] and not isinstance(model, Samed)
    }


def write_weights(model: PromptableModel, path: Path, half: bool = False, kept: str = "") -> None:
    """Write a model as its original project would; whole or not at all.

    Args:
        model: any family.
        path: `.pth` or `.safetensors`.
        half: float16 instead of float32: half the size, and not the same numbers.
        kept: for the message: what is still good if this fails.

    Raises:
        OutputError: another suffix, a full disk, a folder that cannot be written.
    """
    tensors = official_tensors(model)
    if half:
        tensors = {k: v.half() for k, v in tensors.items()}
    config = recorded_config(model)
    if path.suffix == ".pth":
        content: dict[str, Any] = dict(tensors)
        if config:
            content[CONFIG_ENTRY] = config
        with whole_file(path, kept) as file:
            torch.save(content, file)
    elif path.suffix == ".safetensors":
        require("safetensors", extra="export", what="writing .safetensors")
        from safetensors.torch import save

        data = save(tensors, {CONFIG_ENTRY: json.dumps(config)} if config else None)
        write_bytes(path, data, kept)
    else:
        raise OutputError(f"{path.name}: expected a name that ends in {' or '.join(SUFFIXES)}")
