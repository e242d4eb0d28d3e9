"""Sizes that fit each other, and the family record behind each config."""

from __future__ import annotations

import re
from typing import Any

import pytest

from samedge import models
from samedge.errors import ModelError
from samedge.families import FAMILIES
from samedge.models.config import LORA_LAYERS

LORA = {"adapter_ratio": 0.0, "lora_rank": 2, "lora_layers": ("attn.qkv",)}

IMPOSSIBLE = [
    # config, changes, the message behind the config's name
    (models.SamConfig, {"img_size": 100}, "img_size must be a multiple of 16; got img_size=100"),
    (models.SamConfig, {"img_size": 0}, "img_size must be at least 1; got img_size=0"),
    (models.SamConfig, {"num_heads": 0}, "num_heads must be at least 1; got num_heads=0"),
    (models.SamConfig, {"decoder_heads": 0}, "decoder_heads must be at least 1; got"),
    (models.SamConfig, {"decoder_downsample": 0}, "decoder_downsample must be at least 1"),
    (models.SamConfig, {"patch_size": 0}, "patch_size must be at least 1"),
    (models.SamConfig, {"num_mask_tokens": 0}, "num_mask_tokens must be at least 1"),
    (models.SamConfig, {"depth": 0}, "depth must be at least 1"),
    (
        models.SamConfig,
        {"num_heads": 5},
        "num_heads must divide embed_dim; got embed_dim=32, num_heads=5",
    ),
    (models.SamConfig, {"global_blocks": (4,)}, "global_blocks must lie within depth; got depth=4"),
    (models.SamedConfig, {"lora_rank": 0}, "lora_rank must be at least 1; got lora_rank=0"),
    (models.SamedConfig, {"decoder_rank": -1}, "decoder_rank must not be negative"),
    (models.SamedConfig, {"num_mask_tokens": 1}, "num_mask_tokens must be at least 2"),
    (models.SamedConfig, {"classes": ("a",)}, "classes must name the background and every class"),
    (models.SamedConfig, {"classes": ("a", "a", "b", "c")}, "classes must name .* differently"),
    (models.MsaConfig, {"classes": ("a",)}, "a single structure needs no name; leave classes"),
    (models.MsaConfig, {"classes": tuple("abcde")}, "there are more classes than num_mask_tokens"),
    (models.MsaConfig, {"adapter_ratio": 0.0}, "either adapters .* or low-rank branches"),
    (models.MsaConfig, {"lora_rank": 2}, "either adapters .* or low-rank branches"),
    (models.MsaConfig, {**LORA, "lora_layers": ()}, "lora_rank and lora_layers go together"),
    (models.MsaConfig, {"lora_layers": ("attn.qkv",)}, "lora_rank and lora_layers go together"),
    (models.MsaConfig, {**LORA, "lora_groups": 1}, "lora_groups must be 0, 2 or 3; got"),
    *(
        (models.MsaConfig, {**LORA, "lora_layers": ("attn.qkv", odd)}, "lora_layers are some of")
        for odd in ("surprise", "norm1", "attn", "attn.rel_h", "mlp.lin1.x", "", "mlp.lin3")
    ),
    (models.MsaConfig, {"slices": 0}, "slices must be at least 1"),
    (models.MsaConfig, {"slices": 4, "chunk": 1}, "chunk=1 has no depth"),
    (models.MsaConfig, {"slices": 4, "chunk": 3}, "slices must be a multiple of chunk; got"),
    (models.MsaConfig, {**LORA, "slices": 4}, "slices of a volume need depth adapters"),
]


@pytest.mark.parametrize(("config_type", "changes", "says"), IMPOSSIBLE)
def test_impossible_sizes(
    config_type: type[models.SamConfig], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError) as caught:
        models.tiny(config_type, **changes)
    message = str(caught.value)
    assert re.match(f"{config_type.__name__}: .*{says}", message), message
    # Only what it is about: a user has not chosen, and does not know, two dozen sizes.
    assert len(message) < 200
    assert message.partition("; got ")[2]


def test_layers_that_may_have_a_branch() -> None:
    for layer in LORA_LAYERS:
        config = models.tiny(models.MsaConfig, **{**LORA, "lora_layers": (layer,)})
        names = [n for n, _ in models.build_model(config).named_parameters() if "lora_" in n]
        assert names == [
            f"image_encoder.blocks.{i}.{layer}.lora_{half}" for i in range(4) for half in "AB"
        ]


@pytest.mark.parametrize(
    ("config_type", "changes", "name"),
    [
        (models.SamConfig, {}, "sam"),
        (models.MedsamConfig, {}, "medsam"),
        (models.SamedConfig, {}, "samed"),
        (models.SamedConfig, {"decoder_rank": 2}, "samed"),
        (models.MsaConfig, {}, "msa"),
        (models.MsaConfig, LORA, "msa"),
        (models.MsaConfig, {"slices": 4, "chunk": 2}, "msa_3d"),
        (models.SamusConfig, {}, "samus"),
        (models.AutosamusConfig, {}, "autosamus"),
    ],
)
def test_families(config_type: type[models.SamConfig], changes: dict[str, Any], name: str) -> None:
    config = models.tiny(config_type, **changes)
    family = config.family
    assert family.name == name
    assert family.input_size == config.img_size
    assert family.stride == config.img_size // config.grid
    model = models.build_model(config)
    assert model.family == family
    assert model.prompt_encoder.pad_without_box_only == (name != "samus")
    default = FAMILIES[name]
    assert (family.prompts, family.resize, family.mean) == (
        default.prompts, default.resize, default.mean,
    )  # fmt: skip


def test_volumes() -> None:
    for options, whole in (({"slices": 4}, True), ({"slices": 4, "chunk": 2}, False)):
        config = models.tiny(models.MsaConfig, **options)
        assert (config.family.slices, config.family.whole_volume) == (4, whole)
    assert not models.tiny(models.MsaConfig).family.whole_volume
