"""Names and shapes of all tensors are the official ones; wrong tensors are named."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from math import prod
from pathlib import Path

import pytest
import torch

from samedge import models
from samedge.checkpoint.samed import lora_file_shapes
from samedge.errors import CheckpointError, ModelError
from samedge.models import build
from samedge.models.build import SAM_BUILDER, model_shapes

GAUSSIAN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
MANIFESTS = Path(__file__).parents[1] / "golden" / "vectors" / "manifests"


BUILDERS = {b.config_type: b for b in vars(build).values() if isinstance(b, build.FamilyBuilder)}
OFFICIAL = {
    "sam_vit_b": models.sam_config(),
    "medsam_vit_b": models.preset(models.MedsamConfig, "vit_b"),
    "samus_vit_b": models.samus_config(),
    "autosamus_vit_b": models.preset(models.AutosamusConfig, "vit_b"),
    "msa_vit_b_256": models.preset(models.MsaConfig, "vit_b"),
    "msa_vit_b_1024": models.preset(models.MsaConfig, "vit_b", img_size=1024),
    "samed_lora_vit_b_r4_c8": models.preset(models.SamedConfig, "vit_b"),
    "samed_s_lora_vit_b_r4_c8": models.preset(models.SamedConfig, "vit_b", decoder_rank=4),
}


@pytest.mark.parametrize("manifest", sorted(path.stem for path in MANIFESTS.glob("*.json")))
def test_keys_of_the_official_checkpoints(manifest: str) -> None:
    document = json.loads((MANIFESTS / f"{manifest}.json").read_text())
    expected = {key: tuple(entry["shape"]) for key, entry in document["tensors"].items()}
    config = OFFICIAL[manifest]
    shapes = BUILDERS[type(config)].shapes(asdict(config))
    assert shapes == model_shapes(config)
    found = lora_file_shapes(shapes) if "lora" in manifest else shapes
    assert found == expected


SAM = model_shapes(models.sam_config())


def test_samed_keeps_the_layers_of_sam_inside_its_own() -> None:
    """Nothing of SAM is lost: its layers are called `qkv` and `proj` within those with branches."""
    for rank in (0, 4):
        config = models.preset(
            models.SamedConfig, "vit_b", img_size=1024, num_mask_tokens=4, decoder_rank=rank
        )
        inner = {
            name.replace("qkv.qkv.", "qkv.").replace("_proj.proj.", "_proj."): shape
            for name, shape in model_shapes(config).items()
            if not re.search(r"\.linear_[ab]_[qv]\.|\.w_[ab]\.", name)
        }
        assert inner == SAM


def test_samus_is_sam_with_additions() -> None:
    for config in (OFFICIAL["samus_vit_b"], OFFICIAL["autosamus_vit_b"]):
        assert SAM.keys() <= model_shapes(config).keys()


def test_loralib_branches_stand_beside_their_weights() -> None:
    plain = models.preset(models.MsaConfig, "vit_b")
    for groups, rows, columns in ((0, 4, 2304), (2, 8, 1536), (3, 12, 2304)):
        config = models.preset(
            models.MsaConfig,
            "vit_b",
            adapter_ratio=0.0,
            lora_rank=4,
            lora_layers=("attn.qkv", "mlp.lin2"),
            lora_groups=groups,
        )
        shapes = model_shapes(config)
        own = {name: shape for name, shape in shapes.items() if ".lora_" in name}
        block = "image_encoder.blocks.11."
        assert len(own) == 12 * 2 * 2
        assert own[block + "attn.qkv.lora_A"] == (rows, 768)
        assert own[block + "attn.qkv.lora_B"] == (columns, 4)
        assert own[block + "mlp.lin2.lora_A"] == (4, 3072)
        assert own[block + "mlp.lin2.lora_B"] == (768, 4)
        rest = {n: s for n, s in model_shapes(plain).items() if "_Adapter." not in n}
        assert {n: s for n, s in shapes.items() if n not in own} == rest


@pytest.mark.parametrize(("vit", "millions"), [("vit_b", 93.7), ("vit_l", 312.3), ("vit_h", 641.1)])
def test_published_sizes(vit: str, millions: float) -> None:
    assert models.sam_config(vit).vit == vit
    shapes = SAM_BUILDER.preset_shapes(vit)
    total = sum(map(prod, shapes.values())) - prod(shapes[GAUSSIAN])  # a buffer, no parameter
    assert total / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("config_type", BUILDERS, ids=lambda t: t.__name__)
def test_tiny_models_are_tiny_and_complete(config_type: type[models.ModelConfig]) -> None:
    model = models.build_model(models.tiny(config_type))
    config = model.config
    assert sum(p.numel() for p in model.parameters()) < 1e6
    assert config.grid == 8
    assert dict(model_shapes(config)) == {k: tuple(v.shape) for k, v in model.state_dict().items()}
    if isinstance(config, models.MobileSamConfig):
        grids = [config.stage_grid(i) for i in (1, 2, 3)]
        assert all(grid % w for grid, w in zip(grids, config.windows[1:], strict=True))
    else:
        assert isinstance(config, models.SamConfig)
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
