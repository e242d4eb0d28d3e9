"""FLOPs of the real sizes, counted without weights."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import samedge
from samedge.fold.encoder import fold_encoder
from samedge.fold.folding import encoder_spec, no_mask_embedding
from samedge.fold.layers import FoldedEncoder
from samedge.fold.report import Notes
from samedge.fold.tree import Tree
from samedge.models import (
    AutosamusConfig,
    MsaConfig,
    PromptableModel,
    SamConfig,
    SamedConfig,
    SamusConfig,
    preset,
    tiny,
    tiny_samus_config,
)
from samedge.models.build import MODELS
from tests.fold.oracle import random_model


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding moves tensors to the CPU; those without memory have to stay where they are."""
    monkeypatch.setattr(
        Tree, "__getitem__", lambda tree, key: tree.tensors[tree.prefix + key].double()
    )


def weightless(config: SamConfig) -> tuple[PromptableModel, FoldedEncoder]:
    """The model and its folded encoder on the meta device."""
    with torch.device("meta"):
        model = MODELS[type(config)](config).eval()
        no_mask = no_mask_embedding(model)
        encoder = fold_encoder(
            model.state_dict(), model.family, encoder_spec(config), no_mask, Notes()
        )
    return model.requires_grad_(False), encoder.to("meta")


def flops(module: torch.nn.Module, config: SamConfig, channels: int) -> int:
    """Of an image encoder, for one frame or one stack of slices."""
    shape = (config.family.slices, channels, config.img_size, config.img_size)
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(shape, device="meta"))
    return int(counter.get_total_flops())


def both(config: SamConfig) -> tuple[int, int]:
    """Before and after folding."""
    model, folded = weightless(config)
    channels = model.family.channels
    before = channels if isinstance(config, SamusConfig) else config.in_channels
    return flops(model.image_encoder, config, before), flops(folded, config, channels)


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("config_type", [SamusConfig, AutosamusConfig])
def test_samus_vit_b(config_type: type[SamConfig]) -> None:
    """The numbers that the design asks for: 325 GFLOP before, at most 282 after."""
    before, after = both(preset(config_type, "vit_b"))
    assert 324.5e9 < before < 326e9, before
    assert after <= 282e9, after


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("decoder_rank", [0, 4])
def test_samed_costs_what_sam_costs(decoder_rank: int) -> None:
    """LoRA is gone; of the patch convolution a third is left, since the frame is grey."""
    config = preset(SamedConfig, "vit_b", decoder_rank=decoder_rank)
    before, after = both(config)
    sam_before, sam_after = both(preset(SamConfig, "vit_b", img_size=config.img_size))
    patches = 2 * config.grid**2 * config.embed_dim * config.patch_size**2
    assert after == sam_after - 2 * patches
    # Two branches of rank 4 on the tokens of every block, padding included.
    tokens = 8 * 42**2 + 4 * 32**2
    assert before == sam_before + tokens * 2 * 2 * 2 * config.lora_rank * config.embed_dim


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("layers", [("attn.qkv",), ("attn.qkv", "attn.proj", "mlp.lin1")])
def test_loralib_costs_nothing(layers: tuple[str, ...]) -> None:
    lora = {"adapter_ratio": 0.0, "lora_rank": 4, "lora_layers": layers}
    config = preset(MsaConfig, "vit_b", **lora)
    assert both(config)[1] == both(preset(SamConfig, "vit_b", img_size=256))[1]


@pytest.mark.usefixtures("on_meta")
def test_adapters_of_medical_sam_adapter() -> None:
    """What they cost after folding: their matrices on the real tokens, and nothing besides."""
    config = preset(MsaConfig, "vit_b")
    dim, hidden, tokens = config.embed_dim, config.adapter_dim, config.grid**2
    _, plain = both(preset(SamConfig, "vit_b", img_size=config.img_size))
    before, after = both(config)
    # Per block: A1 P and A2 behind the attention; A1 and s A2 beside the MLP.
    assert after == plain + config.depth * 4 * 2 * tokens * dim * hidden
    assert after < 0.8 * before  # upstream runs every linear map on padding: 784 for 256 tokens


@pytest.mark.parametrize(
    "config",
    [
        tiny_samus_config(),
        tiny_samus_config(window_size=4),
        tiny(MsaConfig),
        tiny(MsaConfig, slices=4, chunk=2),
        tiny(AutosamusConfig),
    ],
)
def test_the_count_without_weights_is_that_of_the_report(
    config: SamConfig, request: pytest.FixtureRequest
) -> None:
    report = samedge.fold(random_model(config)).report
    request.getfixturevalue("on_meta")
    assert both(config) == (report.flops_before, report.flops_after)
