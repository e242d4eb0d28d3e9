"""Names and shapes of all tensors are the official ones; wrong tensors are named."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import prod
from pathlib import Path

import pytest
import torch

from samedge import models
from samedge.errors import CheckpointError, ModelError
from samedge.models.build import SAM_BUILDER, SAMUS_BUILDER

GAUSSIAN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
MANIFESTS = Path(__file__).parents[1] / "golden" / "vectors" / "manifests"


@pytest.mark.parametrize(
    ("builder", "config", "manifest"),
    [
        (SAM_BUILDER, models.sam_config(), "sam_vit_b"),
        (SAMUS_BUILDER, models.samus_config(), "samus_vit_b"),
    ],
)
def test_keys_of_the_official_checkpoints(builder, config, manifest: str) -> None:
    document = json.loads((MANIFESTS / f"{manifest}.json").read_text())
    expected = {key: tuple(entry["shape"]) for key, entry in document["tensors"].items()}
    assert builder.shapes(asdict(config)) == expected


@pytest.mark.parametrize(("vit", "millions"), [("vit_b", 93.7), ("vit_l", 312.3), ("vit_h", 641.1)])
def test_published_sizes(vit: str, millions: float) -> None:
    assert models.sam_config(vit).vit == vit
    shapes = SAM_BUILDER.preset_shapes(vit)
    total = sum(map(prod, shapes.values())) - prod(shapes[GAUSSIAN])  # a buffer, no parameter
    assert total / 1e6 == pytest.approx(millions, abs=0.05)


def test_tiny_models_are_tiny_and_complete() -> None:
    for model in (
        models.build_sam(models.tiny_sam_config()),
        models.build_samus(models.tiny_samus_config()),
    ):
        config = model.config
        assert sum(p.numel() for p in model.parameters()) < 1e6
        assert config.grid % config.window_size  # windows are padded
        assert 0 < len(config.global_blocks) < config.depth


def test_family_follows_the_config() -> None:
    family = models.build_samus(models.tiny_samus_config()).family
    assert (family.name, family.input_size, family.upscale_size) == ("samus", 64, 64)
    small = models.tiny_samus_config(img_size=32, cnn_channels=(8, 12))
    assert (small.stride, small.grid, small.family.stride) == (4, 8, 4)
    assert models.samus_config().resized == 264


def test_wrong_tensors_are_named() -> None:
    config = models.tiny_sam_config()
    tensors = dict(models.build_sam(config).state_dict())
    del tensors["mask_decoder.iou_token.weight"]
    tensors["image_encoder.neck.0.weight"] = torch.zeros(1)
    tensors["more"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        models.build_sam(config, tensors)
    message = str(caught.value)
    assert "missing: mask_decoder.iou_token.weight" in message
    assert "not part of the model: more" in message
    assert "image_encoder.neck.0.weight [1] instead of [32, 32, 1, 1]" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"img_size": 100},
        {"num_heads": 5},
        {"decoder_heads": 3},
        {"prompt_dim": 36, "decoder_heads": 2},
        {"global_blocks": (9,)},
        {"window_size": 0},
        {"mask_channels": 6},
    ],
)
def test_impossible_sizes(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="SamConfig"):
        models.tiny_sam_config(**changes)


def test_unknown_vit() -> None:
    with pytest.raises(ModelError, match="expected one of vit_b, vit_l, vit_h"):
        models.samus_config("vit_xl")
