"""Folding changes nothing but rounding: against the eager models in float64."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import samedge
from samedge.families import Family
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    ModelConfig,
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


TINY: dict[str, ModelConfig] = {
    "sam": tiny(SamConfig),
    "medsam": tiny(MedsamConfig),
    "samed": tiny(SamedConfig),
    "samed_s": tiny(SamedConfig, decoder_rank=2),
    "msa": tiny(MsaConfig),
    "msa, structures": tiny(MsaConfig, classes=("cup", "disc")),
    "msa, earlier": tiny(MsaConfig, sam_decoder=True, rel_pos_grid=13),
    "msa, lora": tiny(MsaConfig, **LORA),
    "msa 3-d, chunk": tiny(MsaConfig, slices=2, chunk=2),
    "msa 3-d, whole": tiny(MsaConfig, slices=3),
    "samus": tiny(SamusConfig),
    "autosamus": tiny(AutosamusConfig),
    "mobile_sam": tiny(MobileSamConfig),
    "litemedsam": tiny(LiteMedsamConfig),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("config", TINY.values(), ids=TINY)
def test_tiny_models(config: ModelConfig, seed: int) -> None:
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


def check_both(config: ModelConfig, seed: int, family: Family | None = None) -> None:
    """Folded and computed in float32, and in float64."""
    model = random_model(config, seed)
    check(well_conditioned(errors(model, family=family)), FLOAT32, config)
    with folding_in_float64():
        check(errors(model, torch.float64, family), ALGEBRA, config)


@settings(max_examples=15)
@given(
    st.sampled_from([SamConfig, MedsamConfig]),
    sizes(),
    st.integers(2, 7),
    st.sampled_from([2, 5, 8]),
    st.integers(0, 99),
)
def test_any_sam(
    kind: type[SamConfig], fields: dict[str, object], grid: int, patch: int, seed: int
) -> None:
    check_both(kind(**{**fields, "img_size": grid * patch, "patch_size": patch}), seed)


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
    check_both(config, grid, three_channels(config.family) if colour else None)


@settings(max_examples=15)
@given(
    sizes(),
    st.integers(2, 7),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(2, 5),
    st.booleans(),
)
def test_any_samed(
    fields: dict[str, object], grid: int, rank: int, decoder_rank: int, masks: int, colour: bool
) -> None:
    """LoRA of any rank, in the encoder alone or in both halves; any number of classes."""
    fields = {**fields, "lora_rank": rank, "decoder_rank": decoder_rank, "num_mask_tokens": masks}
    config = SamedConfig(**{**fields, "img_size": grid * 4, "patch_size": 4})
    check_both(config, grid, three_channels(config.family) if colour else None)


LAYERS = ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2")


@st.composite
def msa_changes(draw: st.DrawFn) -> dict[str, object]:
    """Adapters or loralib's branches in any layers; structures or one mask; any stored table."""
    changes: dict[str, object] = {"stored_grid": draw(st.integers(2, 9))}
    if draw(st.booleans()):
        changes |= {
            "num_mask_tokens": 4,
            "classes": ("cup", "disc", "rim")[: draw(st.integers(2, 3))],
        }
    if draw(st.booleans()):
        return {**changes, "adapter_ratio": draw(st.sampled_from([0.25, 1.5]))}
    layers = draw(st.lists(st.sampled_from(LAYERS), min_size=1, unique=True))
    groups = draw(st.sampled_from([0, 2, 3]))
    rank = draw(st.integers(1, 4))
    return {**changes, "adapter_ratio": 0.0, "lora_rank": rank, "lora_layers": tuple(layers),
            "lora_groups": groups}  # fmt: skip


@settings(max_examples=25)
@given(sizes(), msa_changes(), st.integers(2, 7), st.sampled_from([2, 5]))
def test_any_msa(
    fields: dict[str, object], changes: dict[str, object], grid: int, patch: int
) -> None:
    check_both(
        MsaConfig(**{**fields, **changes, "img_size": grid * patch, "patch_size": patch}), grid
    )


@settings(max_examples=15)
@given(
    sizes(),
    st.integers(2, 6),
    st.integers(2, 4),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.integers(2, 9),
)
def test_any_volume(
    fields: dict[str, object],
    grid: int,
    chunk: int,
    chunks: int,
    whole: bool,
    colour: bool,
    stored: int,
) -> None:
    """Groups of any depth, of slices or of all windows there are."""
    stack = {"slices": chunk * chunks, "chunk": 0 if whole else chunk, "stored_grid": stored}
    config = MsaConfig(**{**fields, **stack, "img_size": grid * 4, "patch_size": 4})
    family = replace(config.family, channels=3) if colour else None
    check_both(config, grid, family)


@st.composite
def generators(draw: st.DrawFn) -> dict[str, object]:
    """Sizes of a prompt generator and feature adapter."""
    return {
        "object_tokens": draw(st.integers(1, 5)),
        "generator_depth": draw(st.integers(1, 3)),
        "generator_heads": draw(st.sampled_from([1, 3])),
        "generator_head_dim": draw(st.integers(1, 6)),
        "generator_mlp_dim": draw(st.integers(1, 30)),
        "feature_ratio": draw(st.sampled_from([1, 2, 4])),
    }


@settings(max_examples=15)
@given(
    sizes(),
    generators(),
    st.integers(2, 6),
    st.integers(1, 8),
    st.lists(st.integers(2, 5), min_size=1, max_size=2),
)
def test_any_autosamus(
    fields: dict[str, object],
    generator: dict[str, object],
    grid: int,
    patch: int,
    widths: list[int],
) -> None:
    fields = {**fields, **generator, "cnn_channels": tuple(widths)}
    config = AutosamusConfig(**{**fields, "img_size": grid << len(widths), "patch_size": patch})
    check_both(config, grid)


@st.composite
def stages(draw: st.DrawFn) -> dict[str, object]:
    """Sizes of a TinyViT: two to four stages, windows that pad and windows that do not."""
    count = draw(st.integers(2, 4))

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(values, min_size=count, max_size=count)))

    heads = each(st.integers(1, 3))
    first, *others = each(st.integers(4, 6))
    return {
        "widths": (first // 2 * 2, *(h * w for h, w in zip(heads[1:], others, strict=True))),
        "depths": each(st.integers(1, 2)),
        "heads": heads,
        "windows": each(st.integers(1, 8)),
        "mlp_ratio": draw(st.sampled_from([1.0, 2.5])),
        "expand_ratio": draw(st.sampled_from([0.25, 2.0])),
        "patch_stride": draw(st.sampled_from([1, 2])),
    }


@settings(max_examples=10)
@given(st.sampled_from([MobileSamConfig, LiteMedsamConfig]), sizes(), stages(), st.integers(2, 5))
def test_any_tiny_vit(
    kind: type[MobileSamConfig], shared: dict[str, object], own: dict[str, object], grid: int
) -> None:
    """Any statistics of the BatchNorms, any biases of any window."""
    known = {f.name for f in fields(ModelConfig)}
    sizes = {**{k: v for k, v in shared.items() if k in known}, **own}
    stride = int(own["patch_stride"]) ** 2 << (len(own["widths"]) - 2)
    check_both(kind(**{**sizes, "img_size": grid * stride}), grid)
