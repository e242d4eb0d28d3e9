"""Folding changes nothing but rounding: against the eager models in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import samedge
from samedge.models import (
    AutosamusConfig,
    MedsamConfig,
    MsaConfig,
    SamConfig,
    SamedConfig,
    SamusConfig,
    tiny,
    tiny_samus_config,
)
from samedge.tolerances import LIMITS
from tests.fold.oracle import errors, folding_in_float64, random_model, three_channels

FLOAT32 = LIMITS["fp32"].embedding
LORA = {"adapter_ratio": 0.0, "lora_rank": 2, "lora_layers": ("attn.qkv",), "lora_groups": 2}
ALGEBRA = 1e-8  # float64 leaves about 1e-14; a wrong constant leaves 1e-3 and more


def check(found: dict[str, float], limit: float, what: object) -> None:
    """Every error is below the limit; the message tells them all."""
    assert max(found.values()) <= limit, f"{found} of {what}; limit {limit:.0e}"


def well_conditioned(found: dict[str, float]) -> dict[str, float]:
    """Without mask prompts: a LayerNorm over 1 or 2 channels of noise has no fixed float32 limit,
    neither before nor after folding."""
    return {name: error for name, error in found.items() if "mask" not in name}


TINY: dict[str, SamConfig] = {
    "sam": tiny(SamConfig),
    "medsam": tiny(MedsamConfig),
    "samed": tiny(SamedConfig),
    "samed_s": tiny(SamedConfig, decoder_rank=2),
    "msa": tiny(MsaConfig),
    "msa, structures": tiny(MsaConfig, classes=("cup", "disc")),
    "msa, lora": tiny(MsaConfig, **LORA),
    "msa 3-d, chunk": tiny(MsaConfig, slices=2, chunk=2),
    "msa 3-d, whole": tiny(MsaConfig, slices=3),
    "samus": tiny(SamusConfig),
    "autosamus": tiny(AutosamusConfig),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("config", TINY.values(), ids=TINY)
def test_tiny_models(config: SamConfig, seed: int) -> None:
    model = random_model(config, seed)
    check(errors(model), FLOAT32, config)
    with folding_in_float64():
        check(errors(model, torch.float64), ALGEBRA, config)


def test_three_channels() -> None:
    model = random_model(tiny_samus_config())
    family = three_channels(model.family)
    check(errors(model, family=family), FLOAT32, family)
    with folding_in_float64():
        check(errors(model, torch.float64, family), ALGEBRA, family)


def test_three_equal_channels_are_grey() -> None:
    model = random_model(tiny_samus_config())
    grey, colour = samedge.fold(model), samedge.fold(model, channels=3)
    levels = torch.randint(0, 256, (1, 1, 64, 64)).float()
    error = float((grey.encode(levels) - colour.encode(levels.expand(1, 3, 64, 64))).abs().max())
    assert error <= FLOAT32, error


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, object]:
    """Fields that both families share: any depth, heads, grid and window, global blocks or none."""
    depth, heads = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3]))
    return {
        "embed_dim": heads * draw(st.sampled_from([4, 6])),
        "depth": depth,
        "num_heads": heads,
        "mlp_ratio": draw(st.sampled_from([1.0, 2.5])),
        "global_blocks": tuple(sorted(draw(st.sets(st.integers(0, depth - 1))))),
        "window_size": draw(st.integers(1, 8)),
        "prompt_dim": draw(st.sampled_from([32, 40])),
        "mask_channels": draw(st.sampled_from([4, 8])),
        "num_mask_tokens": draw(st.integers(1, 4)),
        "decoder_depth": draw(st.integers(1, 3)),
        "decoder_heads": draw(st.sampled_from([1, 2])),
        "decoder_mlp_dim": 20,
        "decoder_downsample": draw(st.sampled_from([1, 2])),
        "iou_hidden_dim": 12,
        "iou_depth": draw(st.integers(1, 3)),
        "rel_pos_grid": draw(st.sampled_from([None, 3, 6])),
    }


@settings(max_examples=15)
@given(sizes(), st.integers(2, 7), st.sampled_from([2, 5, 8]), st.integers(0, 99))
def test_any_sam(fields: dict[str, object], grid: int, patch: int, seed: int) -> None:
    config = SamConfig(**{**fields, "img_size": grid * patch, "patch_size": patch})
    model = random_model(config, seed)
    check(well_conditioned(errors(model)), FLOAT32, config)
    with folding_in_float64():
        check(errors(model, torch.float64), ALGEBRA, config)


@settings(max_examples=15)
@given(
    sizes(),
    st.integers(2, 7),
    st.integers(1, 8),
    st.lists(st.integers(2, 5), min_size=1, max_size=3),
    st.sampled_from([0.25, 1.5]),
    st.booleans(),
)
def test_any_samus(
    fields: dict[str, object], grid: int, patch: int, widths: list[int], ratio: float, colour: bool
) -> None:
    fields = {**fields, "cnn_channels": tuple(widths), "adapter_ratio": ratio}
    config = SamusConfig(**{**fields, "img_size": grid << len(widths), "patch_size": patch})
    model = random_model(config, seed=grid)
    family = three_channels(model.family) if colour else model.family
    check(well_conditioned(errors(model, family=family)), FLOAT32, config)
    with folding_in_float64():
        check(errors(model, torch.float64, family), ALGEBRA, config)
