"""Scores on held-out samples, and pictures of some of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from samedge.drawing.contact_sheet import Cell, contact_sheet
from samedge.drawing.overlay import draw_overlay
from samedge.prompts.prompt import Prompt
from samedge.train.loop.batches import Items, load
from samedge.train.loop.task import Task, masks_at

_PICTURES = 12
_TRUTH, _FOUND = (96, 220, 120), (255, 176, 0)


@dataclass(frozen=True)
class Score:
    """Of one validation.

    Attributes:
        dice: mean over samples; of several classes the mean over those present or found.
        loss: mean over samples.
        samples: how many there are.
        empty: those of them whose label and mask are both empty, which is a Dice of 1.
        cells: pictures of evenly spaced samples; on the first process only.
    """

    dice: float
    loss: float
    samples: int = 0
    empty: int = 0
    cells: list[Cell] = field(default_factory=list, repr=False)


def dice_scores(found: Tensor, truth: Tensor) -> Tensor:
    """Dice of every sample: bool `[B, K, H, W]` twice -> `[B]`, float64; two empty masks give 1."""
    both = (found & truth).sum((2, 3)).double()
    size = found.sum((2, 3)).double() + truth.sum((2, 3)).double()
    present = size > 0
    dice = torch.where(present, 2 * both / size.clamp(min=1), 0)
    count = present.sum(1)
    mean: Tensor = torch.where(count > 0, dice.sum(1) / count.clamp(min=1), 1)
    return mean


def validate(task: Task, items: Items, fabric: Fabric, batch: int, workers: int = 0) -> Score:
    """Score a model on all items; each process takes its share.

    Args:
        task: in eval mode.
        items: taken from epoch 0, so that all validations see the same.
        batch: how many at once.
    """
    own = list(range(fabric.global_rank, len(items), fabric.world_size))
    batches = [own[i : i + batch] for i in range(0, len(own), batch)]
    shown = set(np.linspace(0, len(items) - 1, min(_PICTURES, len(items))).round().astype(int))
    sums = torch.zeros(4, dtype=torch.float64, device=fabric.device)
    cells: list[Cell] = []
    with torch.no_grad():
        for indices, data in zip(batches, load(items, 0, batches, workers), strict=True):
            on_device = fabric.to_device(data)
            with fabric.autocast():
                logits = task.logits(on_device)
                loss = task.validation_loss(logits, on_device)
            found = masks_at(logits, data["mask"].shape[-1], task.model)
            truth = task.truth(on_device)
            if task.model.family.exclusive:  # the background is no structure
                found, truth = found[:, 1:], truth[:, 1:]
            dice = dice_scores(found, truth)
            empty = ~(found | truth).flatten(1).any(1)
            count = dice.new_tensor(len(indices))
            sums += torch.stack((dice.sum(), loss.double() * count, count, empty.sum().double()))
            if fabric.is_global_zero:
                picked = [k for k, index in enumerate(indices) if index in shown]
                cells += [
                    _cell(data, k, (found[k], truth[k]), float(dice[k]), task.prompt)
                    for k in picked
                ]
    total = fabric.all_reduce(sums, reduce_op="sum")
    assert isinstance(total, Tensor)
    dice_sum, loss_sum, seen, nothing = total.tolist()
    means = dice_sum / max(seen, 1), loss_sum / max(seen, 1)
    return Score(*means, round(seen), round(nothing), cells)


def _cell(
    data: dict[str, Any], k: int, masks: tuple[Tensor, Tensor], dice: float, mode: str
) -> Cell:
    """One picture: what was found in amber, the label in green, the click or box."""
    found, truth = masks
    shapes = [m.cpu().numpy().astype(np.uint8) for m in (*truth, *found)]
    picture = draw_overlay(
        _visible(data["image"][k]),
        shapes,
        _prompt(data, k, mode),
        scale=2,
        colours=[_TRUTH] * len(truth) + [_FOUND] * len(found),
        prompt_colours=[_FOUND],
    )
    return Cell(picture, data["name"][k], f"Dice {dice:.3f}")


def _prompt(data: dict[str, Any], k: int, mode: str) -> Prompt | None:
    """What the model was prompted with, in network px."""
    if mode == "none":
        return None
    if mode == "box":
        return Prompt(box=data["box"][k][None].numpy())
    points, labels = data["points"][k][None], data["point_labels"][k][None]
    return Prompt(points=points.numpy(), labels=labels.numpy())


def _visible(image: Tensor) -> NDArray[np.uint8]:
    """A network input `[C, S, S]`, whatever its normalisation, as a picture."""
    values = image.float()
    low, high = values.min(), values.max()
    grey = ((values - low) / (high - low).clamp(min=1e-6) * 255).round().byte()
    out: NDArray[np.uint8] = grey.permute(1, 2, 0).numpy()
    return out[..., 0] if out.shape[2] == 1 else out


def sheet(score: Score, title: str) -> NDArray[np.uint8]:
    """All pictures of a validation on one page, RGB uint8."""
    empty = f"; {score.empty} empty in label and mask" if score.empty else ""
    return contact_sheet(
        score.cells,
        title,
        f"Dice {score.dice:.4f} over all {score.samples} held-out samples{empty}",
        legend=(("label", _TRUTH), ("found", _FOUND)),
    )
