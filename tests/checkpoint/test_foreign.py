"""Files of other projects are called by their names, with the way on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samedge import models, open_checkpoint
from samedge.errors import CheckpointError, NotSupportedError
from samedge.models.build import model_shapes
from tests.checkpoint.tiny_files import Refused, StateDict, samed_file, tensors_of, whole

Save = Callable[..., Path]
BLOCK = "image_encoder.blocks.0"


def _hugging_face(sam: StateDict) -> StateDict:
    pairs = (("image_encoder.blocks.", "vision_encoder.layers."), ("norm1", "layer_norm1"))
    pairs += (("image_encoder.", "vision_encoder."), ("norm2", "layer_norm2"))
    renamed = {}
    for name, tensor in sam.items():
        for ours, theirs in pairs:
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    return renamed


@pytest.mark.parametrize(
    ("extra", "title", "way_on"),
    [
        ("Adapter.channel.0.weight", "SAM-Med2D", "ONNX"),
        ("MLP_Adapter.D_fc1.weight", "a part of Medical SAM Adapter", "every block"),
        ("attn.qkv.lora_A", r"SAM with low-rank branches \(LoRA\)", "save the state_dict"),
        ("attn.qkv.linear_a_k.weight", r"SAM with low-rank branches \(LoRA\)", "Add them"),
        ("attn.qkv.q_FacTs.weight", "MA-SAM", "factorised"),
    ],
)
def test_sam_with_adapters(extra: str, title: str, way_on: str, refused: Refused) -> None:
    tensors = whole(models.tiny(models.SamConfig), 2)
    tensors[f"{BLOCK}.{extra}"] = torch.zeros(2, 8)
    refused(tensors, error=NotSupportedError, says=(rf"^a\.pth: {title} is recognised", way_on))


def test_adapters_that_nobody_knows(refused: Refused) -> None:
    tensors = whole(models.tiny(models.SamConfig), 2)
    tensors[f"{BLOCK}.side_path.0.weight"] = torch.zeros(2, 8)
    tensors[f"{BLOCK}.side_path.0.bias"] = torch.zeros(2)
    message = refused(tensors, says=("it holds 2 that Segment Anything does not have", "side_path"))
    assert "only" not in message  # "only 202 of its 202 tensors fit"


def test_hugging_face(refused: Refused) -> None:
    sam = _hugging_face(whole(models.tiny(models.SamConfig), 2))
    for tensors in (sam, {f"sam.{k}": v for k, v in sam.items()}):
        refused(
            tensors, error=NotSupportedError, says=("Hugging Face transformers", "sam_vit_b_01ec64")
        )
    peft = {f"base_model.model.vision_encoder.layers.0.attn.qkv.lora_{h}.weight": torch.zeros(2, 2)
            for h in "AB"}  # fmt: skip
    refused(peft, error=NotSupportedError, says=("PEFT", "merge_and_unload"))


def test_lora_without_its_decoder(refused: Refused) -> None:
    lora = samed_file(models.tiny(models.SamedConfig))
    factors = {name: tensor for name, tensor in lora.items() if name.startswith("w_")}
    refused(factors, says=("low-rank factors alone", "no mask decoder", "save that model whole"))


@pytest.mark.parametrize("decoder_rank", [0, 2])
def test_samed_saved_whole(decoder_rank: int, saved: Save) -> None:
    config = models.tiny(
        models.SamedConfig, decoder_rank=decoder_rank, img_size=256, num_mask_tokens=3
    )
    tensors = tensors_of(model_shapes(config), 3)
    path = saved({f"module.sam.{name}": tensor for name, tensor in tensors.items()})
    checkpoint = open_checkpoint(path, classes=["liver", "spleen"], family="samed")
    names = ("background", "liver", "spleen")
    assert checkpoint.family == models.tiny(
        models.SamedConfig, img_size=256, num_mask_tokens=3, classes=names
    ).family  # fmt: skip
    assert checkpoint.kind == ("samed_s" if decoder_rank else "samed")
    assert checkpoint.variant.ranks == {"encoder": 3} | ({"decoder": 2} if decoder_rank else {})
    state: dict[str, Any] = dict(checkpoint.build().state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def test_what_does_not_fit_samed_saved_whole(saved: Save) -> None:
    path = saved(whole(models.tiny(models.SamedConfig, num_mask_tokens=3), 3))
    for said, match in (
        ({"classes": 3}, "trained for 2 classes"),
        ({"rank": 5}, "have rank 3, not rank=5"),
        ({"input_size": 224}, "for an input of 128 px"),
    ):
        with pytest.raises(CheckpointError, match=match):
            open_checkpoint(path, **said)
