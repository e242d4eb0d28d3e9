"""SAM under other names: Hugging Face's, and those that classes put before a network's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import samedge
from samedge import models, open_checkpoint
from samedge.models.build import model_shapes
from tests.checkpoint.tiny_files import Refused, StateDict, whole

Save = Callable[..., Path]
# Names and shapes of a SamModel of transformers 4.57: ViT of 2 blocks, 96 wide, 256 px.
LISTED = Path(__file__).with_name("hugging_face_sam.txt")
FIRST, SECOND = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)


def hugging_face() -> StateDict:
    """Such a model's tensors, each with numbers of its own; the two tied ones are equal."""
    random = torch.Generator().manual_seed(1)
    tensors = {}
    for line in LISTED.read_text().splitlines():
        name, _, shape = line.partition(" ")
        tensors[name] = torch.randn([int(n) for n in shape.split("x")], generator=random)
    tensors[SECOND] = tensors[FIRST].clone()
    return tensors


@pytest.mark.parametrize("left_out", [None, FIRST, SECOND])
def test_hugging_face_sam(left_out: str | None, tmp_path: Path) -> None:
    tensors = hugging_face()
    if left_out:  # save_pretrained writes one of the two
        del tensors[left_out]
    save_file(tensors, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path / "model.safetensors", family="medsam")
    config = checkpoint.variant.config
    assert (config["embed_dim"], config["depth"], config["img_size"]) == (96, 2, 256)
    state: dict[str, Any] = dict(checkpoint.build().state_dict())
    assert sorted(float(t.double().sum()) for t in state.values()) == pytest.approx(
        sorted(float(t.double().sum()) for k, t in tensors.items() if left_out or k != SECOND)
    )
    assert any("names of Hugging Face transformers" in note for note in checkpoint.notes)


def test_each_tensor_goes_to_its_own_place() -> None:
    tensors = hugging_face()
    state = samedge.checkpoint.checkpoint_from_tensors(tensors, family="sam").tensors
    pairs = {
        "image_encoder.blocks.1.norm2.bias": "vision_encoder.layers.1.layer_norm2.bias",
        "image_encoder.neck.3.weight": "vision_encoder.neck.layer_norm2.weight",
        "image_encoder.neck.1.weight": "vision_encoder.neck.layer_norm1.weight",
        "prompt_encoder.mask_downscaling.4.bias": "prompt_encoder.mask_embed.layer_norm2.bias",
        "prompt_encoder.point_embeddings.3.weight": "prompt_encoder.point_embed.3.weight",
        "mask_decoder.iou_prediction_head.layers.1.bias": (
            "mask_decoder.iou_prediction_head.layers.0.bias"
        ),
        "mask_decoder.output_hypernetworks_mlps.2.layers.0.weight": (
            "mask_decoder.output_hypernetworks_mlps.2.proj_in.weight"
        ),
        "mask_decoder.output_hypernetworks_mlps.2.layers.2.weight": (
            "mask_decoder.output_hypernetworks_mlps.2.proj_out.weight"
        ),
        "mask_decoder.transformer.layers.0.norm3.bias": (
            "mask_decoder.transformer.layers.0.layer_norm3.bias"
        ),
        "mask_decoder.transformer.norm_final_attn.weight": (
            "mask_decoder.transformer.layer_norm_final_attn.weight"
        ),
        "mask_decoder.output_upscaling.3.bias": "mask_decoder.upscale_conv2.bias",
    }
    for ours, theirs in pairs.items():
        assert torch.equal(state[ours], tensors[theirs]), ours


def test_two_that_should_be_one_and_differ(refused: Refused) -> None:
    refused(
        hugging_face() | {SECOND: torch.zeros(2, 128)},
        says=("two tensors of Hugging Face", "save_pretrained"),
        family="sam",
    )


def test_one_that_is_missing_is_named(refused: Refused) -> None:
    tensors = hugging_face()
    del tensors["mask_decoder.upscale_layer_norm.bias"]
    refused(tensors, says=(r"missing: mask_decoder\.output_upscaling\.1\.bias",), family="sam")


def test_it_computes_what_transformers_computes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vision = transformers.SamVisionConfig(
        hidden_size=96, num_hidden_layers=2, num_attention_heads=4, image_size=256,
        global_attn_indexes=[1], output_channels=256,
    )  # fmt: skip
    config = transformers.SamConfig(vision_config=vision.to_dict())
    config.prompt_encoder_config.image_size = 256
    config.prompt_encoder_config.image_embedding_size = 16
    theirs = transformers.SamModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(tmp_path)
    ours = open_checkpoint(tmp_path / "model.safetensors", family="sam").build().eval()
    x, points = torch.randn(1, 3, 256, 256), torch.tensor([[[60.0, 80.0], [100.0, 20.0]]])
    labels = torch.tensor([[1, 0]])
    with torch.no_grad():
        embedding = theirs.vision_encoder(x)[0]
        answer = theirs(
            image_embeddings=embedding, input_points=points[:, None], input_labels=labels[:, None]
        )
        logits, scores = ours.decode(ours.encode(x), points, labels, multimask=True)
    assert torch.allclose(ours.encode(x), embedding, atol=1e-4)
    # Normalisation in their decoder has an epsilon of 1e-6, and 1e-5 in segment_anything.
    assert torch.allclose(logits[0], answer.pred_masks[0, 0], rtol=1e-4, atol=1e-3)
    assert torch.allclose(scores[0], answer.iou_scores[0, 0], atol=1e-4)


@pytest.mark.parametrize("holder", ["model.", "net.", "sam_model.", "module.model.sam."])
def test_a_lightning_module_around_it(holder: str, saved: Save) -> None:
    config = models.tiny(models.SamusConfig)
    tensors = whole(config, 5)
    path = saved(
        {
            "state_dict": {f"{holder}{name}": tensor for name, tensor in tensors.items()},
            "pytorch-lightning_version": "2.5.0",
            "epoch": 3,
        },
        "last.ckpt",
    )
    checkpoint = open_checkpoint(path)
    assert checkpoint.family.name == "samus"
    assert checkpoint.tensors.keys() == model_shapes(config).keys()
    assert any("stripped from tensor names" in note for note in checkpoint.notes)
