"""Trained weights as the original projects write them, through fold, ONNX and OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import samedge
from samedge.checkpoint import open_checkpoint
from samedge.checkpoint.reader import CONFIG_ENTRY
from samedge.errors import CheckpointError, OutputError
from samedge.fold.probes import network_pixels
from samedge.geometry.mask_values import decide, mask_values
from samedge.geometry.prompt_tokens import prompt_tokens
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MedsamConfig,
    MobileSamConfig,
    ModelConfig,
    MsaConfig,
    PromptableModel,
    SamConfig,
    SamedConfig,
    SamusConfig,
    build_model,
    tiny,
)
from samedge.tolerances import LIMITS
from samedge.train.data.preparation import Preparation
from samedge.train.data.samples import Sample
from samedge.train.loop.task import decode_batch
from samedge.train.loop.validation import dice_scores
from samedge.train.official import official_tensors, recorded_config, write_weights
from samedge.train.recipes import RECIPES
from samedge.train.start import start
from tests.export.engine import Engine, encoder_feed, geometry_of, open_graph
from tests.fold.oracle import errors
from tests.train.tiny_training import Discs, same, states, tiny_model, tiny_trainer

# The first stage has no attention: its numbers come back as MobileSAM's.
STAGES = {"heads": (2, 2, 3, 2), "windows": (7, 5, 6, 5)}
WHOLE: dict[str, ModelConfig] = {
    "samus": tiny(SamusConfig, decoder_heads=4),
    "autosamus": tiny(AutosamusConfig),
    "msa": tiny(MsaConfig),
    "medsam": tiny(MedsamConfig),
    "mobile_sam": tiny(MobileSamConfig, **STAGES),
    "litemedsam": tiny(LiteMedsamConfig, **STAGES, classes=("cup", "disc")),
}


def noisy(config: ModelConfig) -> PromptableModel:
    """A model none of whose tensors is zero."""
    model = build_model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("family", WHOLE)
def test_a_state_dict_comes_back_to_the_bit(family: str, suffix: str, tmp_path: Path) -> None:
    model = noisy(WHOLE[family])
    write_weights(model, tmp_path / f"w{suffix}")
    opened = open_checkpoint(tmp_path / f"w{suffix}", family=family)
    assert not same(opened.tensors, states(model))
    assert opened.config == model.config


@pytest.mark.parametrize(
    "config", [SamusConfig(), MsaConfig(), SamedConfig(decoder_rank=4), LiteMedsamConfig()]
)
def test_official_sizes_have_no_entry_that_the_original_would_stumble_over(
    config: ModelConfig,
) -> None:
    with torch.device("meta"):
        model = build_model(config)
    assert recorded_config(model) == {}


@pytest.mark.parametrize("rank", [0, 2])
def test_sameds_file_goes_beside_its_base(rank: int, tmp_path: Path) -> None:
    base = noisy(tiny(SamConfig))
    write_weights(base, tmp_path / "sam.pth")
    recipe = RECIPES["samed_s" if rank else "samed"]
    said = {"img_size": 64, "num_mask_tokens": 3, "decoder_rank": rank, "lora_rank": 2}
    begun = start(recipe, [tmp_path / "sam.pth"], said)
    tiny_trainer(
        tmp_path / "run", begun.model, recipe.name, Discs(classes=3), steps=4, held_out=False
    ).run()
    content = torch.load(tmp_path / "run" / "best.pth", weights_only=True)
    assert {"w_a_000", "w_b_007", "mask_decoder.mask_tokens.weight"} <= set(content)
    assert any("mask_decoder.transformer." in k for k in content) == (not rank)
    assert not any("image_encoder" in k for k in content)
    opened = open_checkpoint(tmp_path / "sam.pth", tmp_path / "run" / "best.pth", input_size=64)
    assert not same(opened.tensors, states(begun.model))


def test_half_precision_is_half_the_size(tmp_path: Path) -> None:
    model = noisy(WHOLE["samus"])
    for half in (False, True):
        write_weights(model, tmp_path / f"{half}.safetensors", half)
    sizes = [(tmp_path / f"{half}.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.55 * sizes[0]
    opened = open_checkpoint(tmp_path / "True.safetensors")
    wanted = {k: v.half().float() for k, v in official_tensors(model).items()}
    assert not same(opened.tensors, wanted)


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"expected a name that ends in \.pth"):
        write_weights(noisy(WHOLE["samus"]), tmp_path / "w.onnx")


def trained(recipe: str, folder: Path) -> PromptableModel:
    """A model that segments discs, by adapters or by low-rank branches."""
    if recipe == "samus":
        model = tiny_model(tiny(SamusConfig))
        tiny_trainer(folder / "first", model, "full", steps=60, lr=0.01, held_out=False).run()
        tiny_trainer(folder / "run", model, "samus", steps=12, lr=0.01, held_out=False).run()
        return model.eval()
    model = tiny_model(tiny(SamedConfig, img_size=64, patch_size=8, num_mask_tokens=2))
    tiny_trainer(folder / "run", model, "samed", steps=60, lr=0.02, held_out=False).run()
    return model.eval()


@pytest.mark.parametrize("recipe", ["samus", "samed"])
def test_all_stages_score_as_the_trained_model(recipe: str, tmp_path: Path) -> None:
    """torch, folded, ONNX Runtime and OpenVINO, on the same frames and clicks."""
    model = trained(recipe, tmp_path)
    assert max(errors(model).values()) <= LIMITS["fp32"].embedding
    folded = samedge.fold(model)
    bundle = samedge.export(folded, tmp_path / "m.samedge").bundle
    graphs = [open_graph(bundle.graph(part, "fp32")) for part in ("encoder", "decoder")]
    engine = Engine(folded, *graphs)
    preparation = Preparation(model.config)
    dice: dict[str, list[float]] = {}
    with samedge.load(bundle.path) as session:
        for sample in (Discs(10, 50)[i] for i in range(10)):
            masks = _stages(model, engine, sample, preparation(sample))
            geometry = geometry_of(folded, *sample.label.shape)
            clicks = geometry.to_frame(preparation(sample)["points"].numpy())
            prompt = {"points": clicks} if model.family.prompts else {}
            masks["openvino"] = session.segment(sample.image, **prompt).masks[-1]
            for name, mask in masks.items():
                dice.setdefault(name, []).append(_dice(mask, sample.label))
    means = {name: float(np.mean(values)) for name, values in dice.items()}
    assert means["torch"] > 0.5, means
    for name, value in means.items():
        assert abs(value - means["torch"]) <= 0.001, (name, means)


def _stages(
    model: PromptableModel, engine: Engine, sample: Sample, one: dict[str, Any]
) -> dict[str, NDArray[np.uint8]]:
    """Masks of the frame's size: the trained model's, the folded model's, ONNX Runtime's."""
    family, folded = model.family, engine.folded
    geometry = geometry_of(folded, *sample.label.shape)
    feed = encoder_feed(folded.family, geometry, sample.image)
    embedding = engine.run("encoder", feed)["image_embedding"]
    xy, labels = one["points"][None].numpy(), one["point_labels"][None].numpy()
    frame_xy = geometry.to_frame(xy) if family.prompts else xy[:, :0]
    xy, labels = prompt_tokens(
        family, geometry, frame_xy, labels if family.prompts else labels[:, :0]
    )
    side = model.config.low_res
    inputs = {
        "point_coords": xy,
        "point_labels": labels,
        "mask_input": np.zeros((1, 1, side, side), np.float32),
        "has_mask": np.zeros(1, np.float32),
        "mask_index": np.arange(len(folded.decoder.masks)),
        "mask_rows": geometry.mask_rows,
        "mask_cols": geometry.mask_cols,
    }
    onnx = engine.run("decoder", {"image_embedding": embedding, **inputs})["low_res_logits"]
    prompts = {"coords": torch.from_numpy(xy), "labels": torch.from_numpy(labels)}
    with torch.no_grad():
        batch = {k: v[None] for k, v in one.items() if k != "name"}
        prompt = "click" if family.prompts else "none"
        eager = decode_batch(model, model.encode(batch["image"]), batch, prompt)
        pixels = network_pixels(sample.image, folded.family, geometry)
        mine, _ = folded.decode(folded.encode(pixels), **(prompts if family.prompts else {}))
    found = {"torch": eager.numpy(), "folded": mine.numpy(), "onnx": onnx}
    return {k: decide(mask_values(v, geometry, family), family)[0, -1] for k, v in found.items()}


def _dice(mask: NDArray[np.uint8], label: NDArray[np.uint8]) -> float:
    found, truth = (torch.from_numpy(a > 0)[None, None] for a in (mask, label))
    return float(dice_scores(found, truth))


def test_batch_norm_goes_back_into_torchs_own(tmp_path: Path) -> None:
    """The original code loads strictly, and its BatchNorm counts batches; ours does not."""
    model = noisy(tiny(MobileSamConfig, **STAGES))
    write_weights(model, tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    path = "image_encoder.patch_embed.seq.0.bn."
    own = torch.nn.BatchNorm2d(4)
    own.load_state_dict({k[len(path) :]: v for k, v in state.items() if k.startswith(path)})
    assert torch.equal(own.running_var, state[path + "running_var"])


def test_an_input_size_that_no_tensor_shows_is_recorded(tmp_path: Path) -> None:
    write_weights(noisy(tiny(LiteMedsamConfig, **STAGES, img_size=64)), tmp_path / "w.pth")
    opened = open_checkpoint(tmp_path / "w.pth")
    assert opened.variant.input_size == 64
    assert open_checkpoint(tmp_path / "w.pth", input_size=128).variant.input_size == 128
    # Where tensors show it no record counts.
    write_weights(noisy(tiny(SamConfig)), tmp_path / "sam.pth")
    state = torch.load(tmp_path / "sam.pth", weights_only=True)
    torch.save({**state, CONFIG_ENTRY: {"img_size": 64}}, tmp_path / "sam.pth")
    with pytest.raises(CheckpointError, match="img_size"):
        open_checkpoint(tmp_path / "sam.pth", family="sam")
