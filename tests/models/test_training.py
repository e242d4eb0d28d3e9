"""Models train: one step lowers the loss, and gradients reach every parameter in use."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("build", "config", "loss", "idle"),
    [
        (models.build_sam, models.tiny_sam_config(), sam_loss, ()),
        (models.build_samus, models.tiny_samus_config(), samus_loss, SAMUS_IDLE),
    ],
    ids=["sam", "samus"],
)
def test_one_step(build, config, loss, idle: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model = build(config, build(config).state_dict()).train()  # as loaded from a checkpoint
    # Tables that start at zero still pass gradients on, but nothing should hide behind zeros.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    torch.manual_seed(1)
    before = loss(model)
    before.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(idle) and idle:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    optimizer.step()
    torch.manual_seed(1)
    assert loss(model) < before
