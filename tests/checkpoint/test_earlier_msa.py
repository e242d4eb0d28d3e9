"""Earlier versions of Medical SAM Adapter: other names, SAM's decoder, tables for 1024 px."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from samedge import models, open_checkpoint
from samedge.cli import run
from samedge.errors import CheckpointError
from samedge.models.build import build_model
from tests.checkpoint.tiny_files import Refused, earlier_msa, whole

Save = Callable[..., Path]
POINTS, LABELS = torch.tensor([[[60.0, 80.0], [20.0, 99.0]]]), torch.tensor([[1, 0]])


def with_sams_decoder(**changes: Any) -> models.MsaConfig:
    return models.tiny(models.MsaConfig, sam_decoder=True, stored_grid=8, **changes)


def test_the_first_versions_have_sams_decoder(saved: Save) -> None:
    """The encoder is the present one, by other names; the decoder is that of a SAM."""
    path = saved({"state_dict": earlier_msa(with_sams_decoder(), 3)})
    checkpoint = open_checkpoint(path)
    assert (checkpoint.kind, checkpoint.family.name) == ("msa", "msa")
    assert checkpoint.describe().startswith("Medical SAM Adapter, an earlier version")
    assert not checkpoint.questions  # their tables are for the size they were trained for
    ours: Any = checkpoint.build()
    present: Any = build_model(models.tiny(models.MsaConfig, stored_grid=8))
    sam: Any = build_model(models.tiny(models.SamConfig))
    state = ours.state_dict()
    present.load_state_dict(state | {k: v for k, v in present.state_dict().items() if "mlp.fc" in k
                                     or "mlp.layers" in k}, strict=False)  # fmt: skip
    sam.load_state_dict({k: v for k, v in state.items() if not k.startswith("image_encoder.")} | {
        k: v for k, v in sam.state_dict().items() if k.startswith("image_encoder.")
    })  # fmt: skip
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        embedding = ours.encode(image)
        assert torch.equal(embedding, present.encode(image))
        found, scores = ours.decode(embedding, POINTS, LABELS)
        expected, rated = sam.decode(embedding, POINTS, LABELS)
        other, _ = present.decode(embedding, POINTS, LABELS)
    assert torch.equal(found, expected)
    assert torch.equal(scores, rated)
    assert not torch.allclose(found, other, atol=1e-3)  # EfficientSAM's is another


def test_the_next_versions_differ_in_names_alone(saved: Save) -> None:
    config = models.tiny(models.MsaConfig)  # tables for a grid of 8, stored image table of 13
    checkpoint = open_checkpoint(saved(earlier_msa(config)))
    assert checkpoint.config == config
    assert not checkpoint.questions
    tensors = whole(config)
    assert checkpoint.tensors.keys() == tensors.keys()
    assert all(torch.equal(checkpoint.tensors[k], v) for k, v in tensors.items())
    assert any("names of an earlier version" in note for note in checkpoint.notes)


def test_size_that_no_tensor_shows(saved: Save, capsys: pytest.CaptureFixture[str]) -> None:
    """All tables are for the largest grid; others are resized when it runs, which is asked for."""
    stored = earlier_msa(models.tiny(models.MsaConfig, img_size=208), 5)
    path = saved({"state_dict": stored})
    unsaid = open_checkpoint(path)
    assert unsaid.variant.input_size == 208
    assert any("--input-size 256" in question for question in unsaid.questions)
    assert run(["inspect", str(path)]) == 0
    assert "for which input size was the checkpoint trained?" in capsys.readouterr().out
    said = open_checkpoint(path, input_size=128)
    assert not said.questions
    assert (said.variant.input_size, said.family.input_size) == (128, 128)
    resized = dict(said.tensors)
    for index in models.tiny(models.MsaConfig).global_blocks:
        for axis in "hw":  # 25 rows to 15
            key = f"image_encoder.blocks.{index}.attn.rel_{axis}"
            resized[key] = F.interpolate(resized[key].T[None], size=15, mode="linear")[0].T
    expected: Any = build_model(models.tiny(models.MsaConfig), resized)
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.allclose(said.build().encode(image), expected.encode(image), atol=1e-6)  # type: ignore[operator]


def test_size_that_tensors_do_show(saved: Save) -> None:
    for config in (models.tiny(models.MsaConfig), with_sams_decoder()):
        path = saved(earlier_msa(config))
        assert open_checkpoint(path, input_size=128).variant.input_size == 128
        with pytest.raises(CheckpointError, match="for an input of 128 px"):
            open_checkpoint(path, input_size=256)
    with pytest.raises(CheckpointError, match="for an input of 208 px"):  # the present version
        open_checkpoint(saved(whole(models.tiny(models.MsaConfig, img_size=208))), input_size=128)


def test_volumes_and_structures(saved: Save) -> None:
    path = saved(earlier_msa(with_sams_decoder()))
    assert open_checkpoint(path, family="msa_3d", chunk=2).family.slices == 2
    assert open_checkpoint(path, classes=["cup", "disc"]).family.classes == ("cup", "disc")


def test_adapters_in_the_decoder_are_named(refused: Refused) -> None:
    tensors = earlier_msa(with_sams_decoder())
    name = "mask_decoder.transformer.layers.0.MLP_Adapter.D_fc1.weight"
    refused(
        tensors | {name: torch.zeros(8, 32)},
        says=("Medical SAM Adapter", "does not have", "layers.0.MLP_Adapter", "something else"),
    )
    lacking = {k: v for k, v in tensors.items() if "Depth_Adapter" not in k}
    refused(lacking, says=("missing: .*Depth_Adapter",))
