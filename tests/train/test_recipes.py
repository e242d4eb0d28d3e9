"""What each recipe trains, and that it does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from samedge.errors import TrainingError
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    SamedConfig,
    SamusConfig,
    build_model,
    tiny,
)
from samedge.models.config import VIT_SIZES
from samedge.train.data import augmentation
from samedge.train.data.preparation import MODES
from samedge.train.loop.schedule import Schedule
from samedge.train.recipes import RECIPES, recipe
from samedge.train.trainable import freeze, parameter_table, trainable_names
from tests.train.tiny_training import Discs, same, states, tiny_model, tiny_trainer

CONFIGS: dict[str, ModelConfig] = {
    "samus": tiny(SamusConfig),
    "autosamus": tiny(AutosamusConfig),
    "samed": tiny(SamedConfig),
    "samed_s": tiny(SamedConfig, decoder_rank=2),
    "msa": tiny(MsaConfig),
    "medsam": tiny(MedsamConfig, img_size=64, patch_size=8),
    "mobile_sam": tiny(MobileSamConfig, img_size=64),
    "litemedsam": tiny(LiteMedsamConfig),
    "full": tiny(SamusConfig),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_loss_falls_and_what_is_frozen_keeps_every_bit(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    # Random weights are no pretrained SAM: what is frozen must still pass signals on.
    model = tiny_model(config)
    before, losses = states(model), []
    names = set(trainable_names(model, RECIPES[name]))
    classes = config.num_mask_tokens if isinstance(config, SamedConfig) else 2
    trainer = tiny_trainer(
        tmp_path,
        model,
        name,
        Discs(classes=classes),
        held_out=False,
        steps=24,
        lr=0.01,
        progress=lambda p: losses.append(p.loss),
    )
    trainer.run()
    changed = set(same(before, states(model)))
    statistics = {name for name in before if ".running_" in name}  # every encoder with them learns
    assert statistics <= changed <= names | statistics
    assert len(changed) > 0.3 * len(names)
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.015, losses


@pytest.mark.parametrize("name", RECIPES)
def test_records_are_complete(name: str) -> None:
    found = recipe(name)
    assert found.augment in augmentation.AUGMENTATIONS
    assert found.prompt in MODES
    assert found.about
    assert found.source


def test_an_unknown_recipe() -> None:
    with pytest.raises(TrainingError, match="expected one of samus"):
        recipe("sam3")


def test_samus_trains_what_the_original_trains() -> None:
    """By the original's own test of names, on its own sizes."""
    with torch.device("meta"):
        from samedge.models import Samus

        model = Samus(SamusConfig())
    parts = ("cnn_embed", "post_pos_embed", "Adapter", "upneck")
    tables = tuple(f"{i}.attn.rel_pos" for i in (2, 5, 8, 11))
    wanted = [
        name
        for name, _ in model.named_parameters()
        if name.startswith("image_encoder.") and any(p in name for p in (*parts, *tables))
    ]
    assert trainable_names(model, RECIPES["samus"]) == wanted
    assert "image_encoder.pos_embed" not in wanted


def test_samus_names_of_larger_encoders_follow_their_global_blocks() -> None:
    with torch.device("meta"):
        from samedge.models import Samus

        model = Samus(SamusConfig(**VIT_SIZES["vit_l"]))
    tables = [n for n in trainable_names(model, RECIPES["samus"]) if "rel_pos" in n]
    assert sorted({int(re.findall(r"blocks\.(\d+)", n)[0]) for n in tables}) == [5, 11, 17, 23]


@pytest.mark.parametrize(
    ("name", "trained", "frozen"),
    [
        ("autosamus", ["prompt_generator.", "feature_adapter."], ["image_encoder.", "mask_d"]),
        ("samed", [".linear_a_q.", "prompt_encoder.", "mask_decoder.transformer."], [".qkv.qkv."]),
        (
            "samed_s",
            [".linear_b_v.", "q_proj.w_a.", "mask_decoder.mask_tokens"],
            [".q_proj.proj.", "mask_decoder.transformer.norm_final_attn"],
        ),
        ("msa", ["Space_Adapter", "mask_decoder."], ["prompt_encoder.", ".attn.qkv.", ".rel_h"]),
        ("medsam", ["image_encoder.", "mask_decoder."], ["prompt_encoder."]),
    ],
)
def test_parts(name: str, trained: list[str], frozen: list[str]) -> None:
    model = build_model(CONFIGS[name])
    names = freeze(model, RECIPES[name])
    for part in trained:
        assert any(part in n for n in names), part
    for part in frozen:
        assert not any(part in n for n in names), part
    wants = [n for n, p in model.named_parameters() if p.requires_grad]
    assert wants == names


@pytest.mark.parametrize("name", RECIPES)
def test_the_table_counts_every_parameter_once(name: str) -> None:
    model = build_model(CONFIGS[name])
    *rows, total = parameter_table(model, RECIPES[name])
    assert total.part == "all"
    assert total.trained + total.frozen == sum(p.numel() for p in model.parameters())
    assert total.trained == sum(row.trained for row in rows)
    assert total.tensors == sum(row.tensors for row in rows)
    names = trainable_names(model, RECIPES[name])
    assert total.trained == sum(p.numel() for n, p in model.named_parameters() if n in names)


def test_schedules() -> None:
    poly = Schedule("poly", 10, 110, 5)
    assert poly.factor(0) == 0.1
    assert poly.factor(9) == 1
    assert poly.factor(10) == 1
    assert poly.factor(60) == pytest.approx(0.5**0.9)
    assert Schedule("cosine", 0, 100, 5).factor(50) == pytest.approx(0.5)
    assert Schedule("halving", 0, 1000, 5).factor(100) == 0.25
    assert Schedule("constant", 100, 20, 5).factor(4) == 1  # warm-up is at most a quarter
