"""`samedge.fold` itself: report, what it leaves alone, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import samedge
from samedge.errors import CheckpointError, ModelError
from samedge.fold import FoldedModel, FoldReport, folding
from samedge.models import SamConfig, tiny_sam_config, tiny_samus_config
from samedge.tolerances import LIMITS
from tests.fold.oracle import random_model

CONFIGS = {"sam": tiny_sam_config(), "samus": tiny_samus_config()}


@pytest.fixture(scope="module", params=list(CONFIGS))
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, FoldedModel]:
    """A random model and its fold."""
    model = random_model(CONFIGS[request.param])
    return model, samedge.fold(model)


def lines(folded: FoldedModel) -> dict[tuple[str, str], int]:
    return {(kind, text): times for kind, text, times in folded.report.folded}


def test_report_counts_what_was_folded() -> None:
    found = lines(samedge.fold(random_model(CONFIGS["samus"])))
    kinds = {kind for kind, _ in found}
    assert kinds == {
        "constants",
        "serial adapter",
        "grey input",
        "normalisation",
        "softmax scale",
        "attention biases",
        "window padding",
        "LayerNorm mean",
        "cross-branch attention",
        "parallel adapter",
        "decoder",
    }
    assert found["parallel adapter", "MLP_Adapter joins the MLP: 128 -> 136 hidden channels"] == 2
    padding = "10x10 -> 8x8 tokens in qkv and proj; padding keys are zero"
    assert found["window padding", padding] == 2  # the two of four blocks with windows
    assert found["softmax scale", "into the query weights, tables divided by it"] == 4
    assert found["decoder", "hypernetworks: 1 of 4 masks"] == 1


def test_report_of_sam_names_no_adapters() -> None:
    report = samedge.fold(random_model(tiny_sam_config(rel_pos_grid=16))).report
    kinds = {kind for kind, _, _ in report.folded}
    assert not kinds & {"parallel adapter", "serial adapter", "grey input"}
    assert ("constants", "position table of 31 rows resized to 15", 2) in report.folded
    assert not report.kept


def test_no_padding_no_note() -> None:
    folded = samedge.fold(random_model(tiny_sam_config(window_size=4)))
    assert not any(kind == "window padding" for kind, _ in lines(folded))


def test_report_errors_and_counts(pair: tuple[nn.Module, FoldedModel]) -> None:
    model, folded = pair
    report, limit = folded.report, LIMITS["fp32"]
    assert 0 < report.embedding_error <= limit.embedding, report.embedding_error
    assert 0 < report.logit_error <= limit.logits, report.logit_error
    assert report.embedding_max > 0.5
    assert report.flops_after < report.flops_before
    assert report.decoder_flops_after < report.decoder_flops_before
    assert report.parameters_before == sum(p.numel() for p in model.parameters())
    assert report.parameters_after == sum(p.numel() for p in folded.parameters())


def test_report_is_text_and_json(pair: tuple[nn.Module, FoldedModel]) -> None:
    report = pair[1].report
    data = report.to_json()
    assert json.loads(json.dumps(data)) == data
    again = FoldReport(**json.loads(json.dumps(data)))
    assert again.to_json() == data
    assert str(again) == str(report)
    for kind, text, _ in report.folded:
        assert kind in str(report)
        assert text in str(report)
    for kept in report.kept:
        assert kept in str(report)


def test_the_model_passed_in_is_left_alone() -> None:
    model = random_model(CONFIGS["samus"]).train()
    model.mask_decoder.eval()  # a mixture, as in fine-tuning
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    gradients = [p.requires_grad for p in model.parameters()]
    samedge.fold(model)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == gradients
    assert all(p.grad is None for p in model.parameters())


def test_the_model_passed_in_is_left_alone_by_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(CONFIGS["samus"]).train()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folding, "_encode_both", fail)
    with pytest.raises(KeyboardInterrupt):
        samedge.fold(model)
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_the_fold_shares_nothing_with_the_model(pair: tuple[nn.Module, FoldedModel]) -> None:
    model, folded = pair
    theirs = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    ours = {t.untyped_storage().data_ptr() for t in folded.state_dict().values()}
    assert not theirs & ours
    assert not any(p.requires_grad for p in folded.parameters())
    assert not any(m.training for m in folded.modules())
    assert {t.dtype for t in folded.state_dict().values()} == {torch.float32}


def test_other_types_are_folded_as_float32() -> None:
    model = random_model(CONFIGS["samus"])
    half = model.half()
    folded = samedge.fold(half)
    assert folded.report.embedding_error <= LIMITS["fp32"].embedding
    assert {p.dtype for p in half.parameters()} == {torch.float16}


def test_selftests_come_from_the_unfolded_model(pair: tuple[nn.Module, FoldedModel]) -> None:
    _, folded = pair
    names = [test.name for test in folded.selftests]
    expected = ["square-point", "colour-three-objects"]
    if "box" in folded.family.prompts:
        expected += ["colour-box", "colour-multimask"]
    assert names == expected
    for test in folded.selftests:
        assert test.frame.dtype == np.uint8
        assert np.isfinite(test.low_res_logits).all()
        assert len(test.masks) == len(test.low_res_logits) == len(test.scores)
    assert len(folded.selftests[1].masks) == 3


def test_folding_twice_gives_the_same_bits() -> None:
    model = random_model(CONFIGS["samus"])
    first, second = samedge.fold(model), samedge.fold(model)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
    assert first.report == second.report


def test_steps_are_told() -> None:
    steps: list[str] = []
    samedge.fold(random_model(CONFIGS["sam"]), on_step=steps.append)
    assert len(steps) == 3
    assert all(steps)


@pytest.mark.parametrize(("config", "channels"), [("sam", 1), ("samus", 2), ("samus", 0)])
def test_channels_that_do_not_fit(config: str, channels: int) -> None:
    with pytest.raises(ModelError, match=rf"channels={channels} does not fit"):
        samedge.fold(random_model(CONFIGS[config]), channels=channels)


@pytest.mark.parametrize("config", list(CONFIGS))
def test_own_channels_may_be_named(config: str) -> None:
    family = CONFIGS[config].family
    folded = samedge.fold(random_model(CONFIGS[config]), channels=family.channels)
    assert folded.family == family
    assert folded.variant.channels == family.channels


def test_three_channels_are_in_the_records() -> None:
    folded = samedge.fold(random_model(CONFIGS["samus"]), channels=3)
    assert folded.family.channels == folded.variant.channels == 3
    assert len(folded.family.mean) == len(folded.family.std) == 3
    assert folded.report.embedding_error <= LIMITS["fp32"].embedding


@pytest.mark.parametrize("thing", [None, "samus.pth", {"weights": 1}, np.zeros(3)])
def test_things_that_are_no_model(thing: object) -> None:
    with pytest.raises(ModelError, match="expected a torch module"):
        samedge.fold(thing)


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(2, 2), nn.Module, lambda: samedge.fold(random_model(CONFIGS["sam"]))]
)
def test_modules_of_no_family(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(CheckpointError):
        samedge.fold(make())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["image_encoder.neck.3.bias", "mask_decoder.iou_token.weight"])
def test_weights_that_are_not_finite(key: str, value: float) -> None:
    model = random_model(CONFIGS["sam"])
    model.state_dict()[key].view(-1)[0] = value
    with pytest.raises(ModelError, match=key):
        samedge.fold(model)


@pytest.mark.parametrize(
    "config", [tiny_samus_config(depth=1, global_blocks=()), tiny_sam_config(img_size=48)]
)
def test_unusual_shapes(config: SamConfig) -> None:
    report = samedge.fold(random_model(config)).report
    assert report.embedding_error <= LIMITS["fp32"].embedding
