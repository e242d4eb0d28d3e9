"""FLOPs of the real sizes, counted without weights."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import samedge
from samedge.fold.encoder import Tree, fold_encoder
from samedge.fold.folding import encoder_spec
from samedge.fold.layers import FoldedEncoder
from samedge.fold.report import Notes
from samedge.models import PromptableModel, SamConfig, samus_config, tiny_samus_config
from samedge.models.build import _skeleton
from samedge.models.samus import Samus
from tests.fold.oracle import random_model


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding moves tensors to the CPU; those without memory have to stay where they are."""
    monkeypatch.setattr(
        Tree, "__getitem__", lambda tree, key: tree.tensors[tree.prefix + key].double()
    )


def weightless(config: SamConfig) -> tuple[PromptableModel, FoldedEncoder]:
    """The model and its folded encoder on the meta device."""
    model = _skeleton(Samus, config).eval()
    with torch.device("meta"):
        encoder = fold_encoder(model.state_dict(), model.family, encoder_spec(model), Notes())
    return model.requires_grad_(False), encoder.to("meta")


def flops(module: torch.nn.Module, size: int) -> int:
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 1, size, size, device="meta"))
    return int(counter.get_total_flops())


@pytest.mark.usefixtures("on_meta")
def test_samus_vit_b() -> None:
    """The numbers that the design asks for: 325 GFLOP before, at most 282 after."""
    model, folded = weightless(samus_config("vit_b"))
    before, after = flops(model.image_encoder, 256), flops(folded, 256)
    assert 324.5e9 < before < 326e9, before
    assert after <= 282e9, after


@pytest.mark.parametrize("config", [tiny_samus_config(), tiny_samus_config(window_size=4)])
def test_the_count_without_weights_is_that_of_the_report(
    config: SamConfig, request: pytest.FixtureRequest
) -> None:
    report = samedge.fold(random_model(config)).report
    request.getfixturevalue("on_meta")
    model, folded = weightless(config)
    assert flops(model.image_encoder, config.img_size) == report.flops_before
    assert flops(folded, config.img_size) == report.flops_after
