"""`samedge.fold` itself: report, what it leaves alone, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import samedge
from samedge.bundle import SelfTest
from samedge.errors import CheckpointError, ModelError
from samedge.fold import FoldedModel, FoldReport, folding
from samedge.models import (
    AutosamusConfig,
    MedsamConfig,
    MsaConfig,
    SamConfig,
    SamedConfig,
    SamusConfig,
    tiny,
    tiny_sam_config,
    tiny_samus_config,
)
from samedge.progress import Step
from samedge.tolerances import LIMITS
from tests.fold.oracle import random_model

CONFIGS: dict[str, SamConfig] = {
    "sam": tiny_sam_config(),
    "medsam": tiny(MedsamConfig),
    "samed": tiny(SamedConfig),
    "msa": tiny(MsaConfig),
    "volume": tiny(MsaConfig, slices=4, chunk=2),
    "samus": tiny_samus_config(),
    "autosamus": tiny(AutosamusConfig),
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, FoldedModel]:
    """A random model and its fold."""
    model = random_model(CONFIGS[request.param])
    return model, samedge.fold(model)


def lines(folded: FoldedModel) -> dict[tuple[str, str], int]:
    return {(kind, text): times for kind, text, times in folded.report.folded}


def test_a_plan_counts_the_same_and_runs_nothing(
    pair: tuple[nn.Module, FoldedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folded = pair
    monkeypatch.setattr(folding, "measure", None)
    plan = samedge.fold(model, compare=False)
    measured = {"embedding_error", "embedding_max", "logit_error"}
    planned, compared = plan.report.to_json(), folded.report.to_json()
    assert planned == {**compared, **dict.fromkeys(measured)}
    assert "error" not in str(plan.report)
    with pytest.raises(ModelError, match="fold it without compare=False"):
        samedge.export(plan, tmp_path / "a.samedge")


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


def named(config: SamConfig) -> tuple[FoldReport, set[str]]:
    """The report, and the kinds of folding in it."""
    report = samedge.fold(random_model(config)).report
    return report, {kind for kind, _, _ in report.folded}


ALWAYS = {
    "constants",
    "softmax scale",
    "attention biases",
    "window padding",
    "LayerNorm mean",
    "decoder",
}
SECOND = "its GELU stands between two matrices, so the second one stays"


def test_report_of_medsam() -> None:
    report, kinds = named(tiny(MedsamConfig))
    assert kinds == ALWAYS  # its frames need neither mean nor scale
    assert not report.kept


@pytest.mark.parametrize(("decoder_rank", "count"), [(0, 0), (2, 14)])
def test_report_of_samed(decoder_rank: int, count: int) -> None:
    """One branch pair for each block; in the decoder two for each of its seven attentions."""
    report, kinds = named(tiny(SamedConfig, decoder_rank=decoder_rank))
    assert kinds == ALWAYS | {"LoRA", "grey input", "normalisation"}
    found = {text: times for kind, text, times in report.folded if kind == "LoRA"}
    assert found.pop("branches of rank 3 merged into the weights beside them") == 4
    assert sum(found.values()) == count
    assert ("decoder", "encoding of points and boxes left out: the family takes none", 1) in (
        report.folded
    )
    assert not any("hypernetworks" in text for _, text, _ in report.folded)
    assert not report.kept


def test_report_of_loralib() -> None:
    layers = ("attn.qkv", "mlp.lin2")
    config = tiny(MsaConfig, adapter_ratio=0.0, lora_rank=2, lora_layers=layers, lora_groups=3)
    report, kinds = named(config)
    assert kinds == ALWAYS | {"LoRA", "normalisation"}
    assert ("LoRA", "branches of rank 2 merged into the weights beside them", 8) in report.folded
    assert not report.kept


def test_report_of_medical_sam_adapter() -> None:
    report, kinds = named(tiny(MsaConfig))
    assert kinds == ALWAYS | {
        "normalisation",
        "LayerNorm affine",
        "serial adapter",
        "parallel adapter",
        "depth branch",
    }
    for line in (
        ("constants", "position table resized from 13 to 8 once", 1),
        ("normalisation", "patch_embed: the mean into a bias", 1),
        ("LayerNorm affine", "norm1's scale and shift into qkv; padding becomes zero", 4),
        ("serial adapter", "Space_Adapter: first matrix into the projection in front", 4),
        ("parallel adapter", "MLP_Adapter joins the MLP: 128 -> 136 hidden channels", 4),
        ("depth branch", "Depth_Adapter left out: images have no slices to relate", 4),
    ):
        assert line in report.folded, line
    assert report.kept == [f"Space_Adapter: {SECOND}"]


@pytest.mark.parametrize(
    ("chunk", "grids"),
    [(2, {"2 entries as 1 x 2": 4}), (0, {"16 entries as 2 x 8": 2, "4 entries as 1 x 4": 2})],
)
def test_report_of_volumes(chunk: int, grids: dict[str, int]) -> None:
    """Without a chunk windowed blocks relate all windows of all slices, global ones the slices."""
    report, kinds = named(tiny(MsaConfig, slices=4, chunk=chunk))
    assert "grey input" in kinds
    found = {text: times for kind, text, times in report.folded if kind == "depth branch"}
    assert {text.split("; ")[1]: times for text, times in found.items()} == grids
    assert report.kept == [
        f"Space_Adapter: {SECOND}",
        "depth branch: its attention relates slices, as the other relates places",
        "Depth_Adapter: its GELU, too; the second matrix is one with Space_Adapter's",
    ]


def test_report_of_autosamus() -> None:
    samus, plain = named(tiny(SamusConfig))
    report, kinds = named(tiny(AutosamusConfig))
    assert kinds == plain | {"prompt generator"}
    assert report.kept == [
        *samus.kept,
        "prompt generator: depends on the image",
        "feature_adapter: LayerNorm and GELU follow every convolution",
    ]
    assert not any("no-mask" in text for _, text, _ in report.folded)
    assert ("LayerNorm mean", "into the weights of the convolution or matrix in front", 12) in (
        report.folded
    )


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_folded_as_float32(dtype: torch.dtype) -> None:
    """To the bit as their values in float32; the model keeps its own."""
    model = random_model(CONFIGS["samus"]).to(dtype).train()
    frozen = next(model.parameters()).requires_grad_(False)
    widened = samedge.fold(deepcopy(model).float()).state_dict()
    folded = samedge.fold(model)
    assert folded.report.embedding_error <= LIMITS["fp32"].embedding
    for key, value in folded.state_dict().items():
        assert torch.equal(value, widened[key]), key
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert [p.requires_grad for p in model.parameters()] == [
        p is not frozen for p in model.parameters()
    ]
    assert all(module.training for module in model.modules())


def test_float32_models_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(*_: object) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(nn.Module, "__deepcopy__", copied, raising=False)
    model = random_model(CONFIGS["samus"])
    samedge.fold(model)
    with pytest.raises(AssertionError, match="copied"):
        samedge.fold(model.half())


SELFTESTS = {
    "sam": {"square-point": 1, "colour-three-objects": 3, "colour-box": 1, "colour-multimask": 9},
    "medsam": {"square-box": 1, "colour-two-boxes": 2},
    "samed": {"square": 4, "colour": 4},
    "msa": {"square-point": 1, "colour-three-objects": 3},
    "volume": {"stack-points": 4},
    "samus": {"square-point": 1, "colour-three-objects": 3},
    "autosamus": {"square": 1, "colour": 1},
}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_selftests_come_from_the_unfolded_model(name: str) -> None:
    """Every prompt that the family takes is there, and every mask that it gives."""
    folded = samedge.fold(random_model(CONFIGS[name]))
    tests = {test.name: test for test in folded.selftests}
    assert {key: len(test.masks) for key, test in tests.items()} == SELFTESTS[name]
    for key, test in tests.items():
        assert test.frame.dtype == np.uint8
        assert np.isfinite(test.low_res_logits).all()
        assert len(test.masks) == len(test.low_res_logits) == len(test.scores)
        assert test.multimask == ("multimask" in key)
        assert test.stack == (name == "volume")
        assert (test.box is not None) == ("box" in key)
        assert bool(test.points.shape[1]) == ("point" in folded.family.prompts)
        assert SelfTest.from_bytes(key, test.to_bytes()).scores.shape == test.scores.shape


def test_folding_twice_gives_the_same_bits() -> None:
    model = random_model(CONFIGS["samus"])
    first, second = samedge.fold(model), samedge.fold(model)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
    assert first.report == second.report


def test_steps_are_told() -> None:
    steps: list[Step] = []
    samedge.fold(random_model(CONFIGS["sam"]), progress=steps.append)
    assert len(steps) == 3
    assert all(step.name for step in steps)


@pytest.mark.parametrize(
    ("config", "channels"), [("sam", 1), ("samus", 2), ("samus", 0), ("msa", 1), ("volume", 4)]
)
def test_channels_that_do_not_fit(config: str, channels: int) -> None:
    with pytest.raises(ModelError, match=rf"channels={channels} does not fit"):
        samedge.fold(random_model(CONFIGS[config]), channels=channels)


@pytest.mark.parametrize("config", list(CONFIGS))
def test_own_channels_may_be_named(config: str) -> None:
    family = CONFIGS[config].family
    folded = samedge.fold(random_model(CONFIGS[config]), channels=family.channels)
    assert folded.family == family
    assert folded.variant.channels == family.channels


@pytest.mark.parametrize("name", ["samus", "samed", "volume", "autosamus"])
def test_three_channels_are_in_the_records(name: str) -> None:
    folded = samedge.fold(random_model(CONFIGS[name]), channels=3)
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
