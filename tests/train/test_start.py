"""What a run begins with: whole checkpoints, SAM's weights in another network, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from samedge.errors import CheckpointError, TrainingError
from samedge.models import (
    AutosamusConfig,
    LiteMedsamConfig,
    MobileSamConfig,
    MsaConfig,
    SamConfig,
    SamedConfig,
    SamusConfig,
    build_model,
    tiny,
)
from samedge.train.official import write_weights
from samedge.train.recipes import RECIPES
from samedge.train.run import begin
from samedge.train.start import fresh_model, start
from tests.train.tiny_training import Discs, same, states


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SAM's, SAMUS's and AutoSAMUS's weights, no tensor of which is zero."""
    folder = tmp_path_factory.mktemp("files")
    configs = {"sam": tiny(SamConfig), "samus": tiny(SamusConfig), "auto": tiny(AutosamusConfig)}
    torch.manual_seed(0)
    for name, config in configs.items():
        model = build_model(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
        write_weights(model, folder / f"{name}.pth")
    return folder


def taken(files: Path, name: str = "sam") -> dict[str, torch.Tensor]:
    return torch.load(files / f"{name}.pth", weights_only=True)


def test_a_whole_checkpoint_goes_on(files: Path) -> None:
    begun = start(RECIPES["samus"], [files / "samus.pth"])
    assert not same(states(begun.model), taken(files, "samus"))
    assert begun.sources[0][0] == "samus.pth"
    with pytest.raises(TrainingError, match=r"is a whole SAMUS.*says embed_dim"):
        start(RECIPES["samus"], [files / "samus.pth"], {"embed_dim": 8})


def test_sam_in_samus(files: Path) -> None:
    """SAM's grid is twice that of the new network, as with the official sizes."""
    said = {"img_size": 32, "cnn_channels": [8, 12, 16]}
    begun = start(RECIPES["samus"], [files / "sam.pth"], said)
    model, sam = states(begun.model), taken(files)
    tables = {k for k in sam if "blocks.1.attn.rel_pos" in k or "blocks.3.attn.rel_pos" in k}
    for name, tensor in sam.items():
        if name in tables:
            assert model[name].shape == (7, 16)
        else:
            assert torch.equal(model[name], tensor), name
    assert any("poured into SAMUS" in note for note in begun.notes)


def test_sam_in_samed(files: Path) -> None:
    begun = begin(RECIPES["samed"], Discs(classes=3), init=[files / "sam.pth"])
    config = begun.model.config
    assert isinstance(config, SamedConfig)
    assert (config.num_mask_tokens, config.classes) == (3, ("background", "class 1", "class 2"))
    assert config.img_size == 512
    model, sam = states(begun.model), taken(files)
    name = "image_encoder.blocks.0.attn.qkv"
    assert torch.equal(model[f"{name}.qkv.weight"], sam[f"{name}.weight"])
    assert not model[f"{name}.linear_b_q.weight"].any()
    assert model["image_encoder.pos_embed"].shape[1] == 32
    assert torch.equal(
        model["mask_decoder.transformer.norm_final_attn.weight"],
        sam["mask_decoder.transformer.norm_final_attn.weight"],
    )
    # On from SAMed's own file, whose classes are given.
    write_weights(begun.model, files / "lora.pth")
    again = begin(RECIPES["samed"], Discs(classes=3), init=[files / "sam.pth", files / "lora.pth"])
    assert not same(states(again.model), model)


def test_sam_in_medical_sam_adapter(files: Path) -> None:
    begun = start(RECIPES["msa"], [files / "sam.pth"], {"img_size": 64})
    assert isinstance(begun.model.config, MsaConfig)
    assert begun.model.config.stored_grid == 8
    model, sam = states(begun.model), taken(files)
    assert torch.equal(model["image_encoder.pos_embed"], sam["image_encoder.pos_embed"])
    windowed, whole = "image_encoder.blocks.0.attn.", "image_encoder.blocks.1.attn."
    assert torch.equal(model[f"{windowed}rel_h"], sam[f"{windowed}rel_pos_h"])
    assert model[f"{whole}rel_w"].shape == (7, 16)
    mlp = "mask_decoder.transformer.layers.0.mlp."
    assert torch.equal(model[f"{mlp}layers.0.0.weight"], sam[f"{mlp}lin1.weight"])
    assert torch.equal(model[f"{mlp}fc.bias"], sam[f"{mlp}lin2.bias"])
    new = {k for k in model if "Adapter" in k}
    assert f"{len(new)} start anew" in " ".join(begun.notes)


def test_sam_in_medsam(files: Path) -> None:
    begun = start(RECIPES["medsam"], [files / "sam.pth"])
    assert begun.model.family.name == "medsam"
    assert not same(states(begun.model), taken(files))


def test_samus_in_autosamus(files: Path) -> None:
    said = {"object_tokens": 4, "generator_heads": 2, "generator_head_dim": 8}
    begun = start(RECIPES["autosamus"], [files / "samus.pth"], said)
    model = states(begun.model)
    for name, tensor in taken(files, "samus").items():
        assert torch.equal(model[name], tensor), name
    assert model["prompt_generator.object_token"].shape == (1, 4, 32)


@pytest.mark.parametrize(
    ("family", "kind"), [("litemedsam", LiteMedsamConfig), ("mobile_sam", MobileSamConfig)]
)
def test_tiny_vits_go_on_from_their_own(family: str, kind: Any, tmp_path: Path) -> None:
    model = fresh_model(tiny(kind, img_size=256 if family == "litemedsam" else 1024), 3)
    write_weights(model, tmp_path / "w.pth")
    begun = start(RECIPES[family], [tmp_path / "w.pth"])
    assert begun.model.family == model.family
    assert not same(states(begun.model), states(model))
    other = "mobile_sam" if family == "litemedsam" else "litemedsam"
    with pytest.raises(TrainingError, match=f"from which no {other} can start"):
        start(RECIPES[other], [tmp_path / "w.pth"])


@pytest.mark.parametrize(
    ("recipe", "init", "config", "error", "message"),
    [
        ("samus", "auto", {}, TrainingError, "from which no samus can start"),
        ("autosamus", "sam", {}, TrainingError, "from which no autosamus can start"),
        ("full", "sam", {"family": "sam", "depth": 2}, TrainingError, "leave the config out"),
        ("full", "", {"family": "samed"}, TrainingError, "trains samus, sam, medsam"),
        ("samus", "missing", {}, CheckpointError, "no such file"),
        ("samus", "sam", {"cnn_channels": [8, 8, 8], "img_size": 64}, CheckpointError, "pos_embed"),
    ],
)
def test_what_does_not_fit(
    files: Path, recipe: str, init: str, config: dict[str, Any], error: type, message: str
) -> None:
    paths = [files / f"{init}.pth"] if init else []
    with pytest.raises(error, match=message):
        start(RECIPES[recipe], paths, config)


@pytest.mark.parametrize(
    "config",
    [
        tiny(SamusConfig, depth=8, global_blocks=(3, 7)),
        tiny(MobileSamConfig, depths=(4, 1, 4, 2)),
    ],
    ids=["samus", "mobile_sam"],
)
def test_fresh_weights_are_sane(config: Any) -> None:
    """Signals neither die nor explode on the way through a network from scratch."""
    model = fresh_model(config, 0)
    with torch.no_grad():
        side = config.img_size
        embedding = model.encode(torch.rand(2, model.family.channels, side, side))
        logits, _ = model.decode(embedding, torch.rand(2, 1, 2) * side, torch.ones(2, 1))
    assert 0.3 < float(embedding.std()) < 3
    assert 0.003 < float(logits.std()) < 10
    assert not any(p.isnan().any() for p in model.parameters())
