"""Models train: one step lowers the loss, and gradients reach every parameter in use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from samedge import models

# What SAMUS carries over from SAM but never uses: box, mask and multimask parts.
SAMUS_IDLE = (
    "prompt_encoder.mask_downscaling.",
    "prompt_encoder.point_embeddings.2.",
    "prompt_encoder.point_embeddings.3.",
    *(f"mask_decoder.output_hypernetworks_mlps.{i}." for i in (1, 2, 3)),
)


def sam_loss(model: models.Sam) -> Tensor:
    """Every kind of prompt once, single and several masks."""
    x = torch.randn(1, 3, model.config.img_size, model.config.img_size)
    embedding = model.encode(x)
    xy, labels = torch.tensor([[[30.0, 40.0], [50.0, 60.0]]]), torch.tensor([[1, 0]])
    box = torch.tensor([[10.0, 20.0, 60.0, 70.0]])
    side = model.config.low_res
    single, iou = model.decode(embedding, xy, labels)
    several, ious = model.decode(embedding, boxes=box, multimask=True)
    refined, _ = model.decode(embedding, xy, labels, box, torch.randn(1, 1, side, side))
    logits = torch.cat((single, several, refined), dim=1)
    return F.softplus(logits).mean() + iou.pow(2).mean() + ious.pow(2).mean()


def samus_loss(model: models.Samus) -> Tensor:
    """Four points: both labels and padding; two objects."""
    x = torch.rand(2, 1, model.config.img_size, model.config.img_size)
    xy = torch.rand(2, 2, 3, 2) * 60
    labels = torch.tensor([[1, 0, -1], [1, 1, 0]]).repeat(2, 1, 1)
    low_res, full = model(x, xy, labels)
    iou = model.decode(model.encode(x), xy[:, 0], labels[:, 0])[1]
    return F.softplus(low_res).mean() + F.softplus(full).mean() + iou.pow(2).mean()


def image_loss(model: models.Samed | models.Autosamus) -> Tensor:
    """Families without prompts."""
    size = model.config.img_size
    x = torch.rand(2, 1, size, size)
    low_res, full = model(x)
    iou = model.decode(model.encode(x))[1]
    return F.softplus(low_res).mean() + F.softplus(full).mean() + iou.pow(2).mean()


def msa_loss(model: models.Msa) -> Tensor:
    """One point with either label, and padding, on every image or slice."""
    count = max(model.config.slices, 2)
    x = torch.rand(count, 3, model.config.img_size, model.config.img_size)
    labels = torch.tensor([[1, 0], [0, -1]]).repeat(count // 2, 1)
    low_res, iou = model(x, torch.rand(count, 2, 2) * 120, labels)
    return F.softplus(low_res).mean() + iou.pow(2).mean()


# What a family carries over from SAM but never uses.
NO_PROMPTS = (
    "prompt_encoder.mask_downscaling.",
    "prompt_encoder.point_embeddings.",
    "prompt_encoder.not_a_point_embed.",
)
AUTOSAMUS_IDLE = (
    *NO_PROMPTS,
    "prompt_encoder.no_mask_embed.",
    # The decoder's own tokens are dropped after the last layer that updates them.
    "prompt_generator.cross_token_token.layers.1.1.",
    "prompt_generator.cross_token_token.layers.1.3.",
    *(f"mask_decoder.output_hypernetworks_mlps.{i}." for i in (1, 2, 3)),
)
DEPTH_IDLE = tuple(f"image_encoder.blocks.{i}.Depth_Adapter." for i in range(4))
LORALIB: dict[str, Any] = {
    "adapter_ratio": 0.0,
    "lora_rank": 2,
    "lora_layers": ("attn.qkv", "attn.proj", "mlp.lin1", "mlp.lin2"),
    "lora_groups": 2,
}
STACK = {"slices": 4, "chunk": 2}
LORA_UP = (".linear_b_q.weight", ".linear_b_v.weight", ".w_b.weight", ".lora_B")
LORA_DOWN = (".linear_a_q.weight", ".linear_a_v.weight", ".w_a.weight", ".lora_A")

FAMILIES = {
    "sam": (models.tiny_sam_config(), sam_loss, ()),
    "samus": (models.tiny_samus_config(), samus_loss, SAMUS_IDLE),
    "samed": (models.tiny(models.SamedConfig), image_loss, NO_PROMPTS),
    "samed_s": (models.tiny(models.SamedConfig, decoder_rank=2), image_loss, NO_PROMPTS),
    "msa": (models.tiny(models.MsaConfig), msa_loss, (*SAMUS_IDLE, *DEPTH_IDLE)),
    "msa_3d": (models.tiny(models.MsaConfig, **STACK), msa_loss, SAMUS_IDLE),
    "msa_lora": (models.tiny(models.MsaConfig, **LORALIB), msa_loss, SAMUS_IDLE),
    "autosamus": (models.tiny(models.AutosamusConfig), image_loss, AUTOSAMUS_IDLE),
}


@pytest.mark.parametrize(("config", "loss", "idle"), FAMILIES.values(), ids=FAMILIES)
def test_one_step(config: models.SamConfig, loss: Any, idle: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    build = models.build_model
    model = build(config, build(config).state_dict()).train()  # as loaded from a checkpoint
    # Tables that start at zero still pass gradients on, but nothing should hide behind zeros.
    for name, parameter in model.named_parameters():
        if name.endswith(LORA_UP):
            torch.nn.init.normal_(parameter, std=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    torch.manual_seed(1)
    before = loss(model)
    before.backward()
    for name, parameter in model.named_parameters():
        if idle and name.startswith(idle):
            assert parameter.grad is None or not parameter.grad.any(), name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    optimizer.step()
    torch.manual_seed(1)
    assert loss(model) < before


@pytest.mark.parametrize("family", ["samed", "samed_s", "msa_lora"])
def test_branches_start_at_zero_and_leave_it(family: str) -> None:
    """With the rest frozen, as they are trained: first B gets gradients, from the next step on A,
    too."""
    config, loss, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = models.build_model(config).train()
    up = {n: p for n, p in model.named_parameters() if n.endswith(LORA_UP)}
    down = {n: p for n, p in model.named_parameters() if n.endswith(LORA_DOWN)}
    assert len(up) == len(down) > 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in up or name in down)
    assert not any(p.any() for p in up.values())
    assert all(p.abs().min() > 0 for p in down.values())

    optimizer = torch.optim.SGD([*up.values(), *down.values()], lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        loss(model).backward()
        for name, parameter in up.items():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        for name, parameter in down.items():
            assert parameter.grad is not None, name
            assert bool(parameter.grad.any()) == (step > 0), name
        optimizer.step()
    assert all(p.any() for p in up.values())


@pytest.mark.parametrize("family", ["msa", "msa_3d", "samus", "autosamus"])
def test_adapters_train_with_the_rest_frozen(family: str) -> None:
    config, loss, idle = FAMILIES[family]
    torch.manual_seed(0)
    model = models.build_model(config).train()
    own = {n: p for n, p in model.named_parameters() if "dapter" in n or "generator" in n}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in own)
    loss(model).backward()
    used = {n: p for n, p in own.items() if not n.startswith(idle)}
    assert used
    for name, parameter in used.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
