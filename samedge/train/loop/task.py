"""A model as training sees it: a batch in, a loss out."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samedge.models import PromptableModel
from samedge.train.data.preparation import decoder_prompts
from samedge.train.loop.losses import SegmentationLoss, score_loss
from samedge.train.loop.statistics import keep_frozen_norms
from samedge.train.recipes import Loss


class Task(nn.Module):
    """What is minimised: `forward(batch)` gives the loss, a scalar, in float32.

    Args:
        model: what is trained and written.
        prompt: what it is prompted with: "click", "random_click", "mixed", "box" or "none".
    """

    def __init__(self, model: PromptableModel, prompt: str) -> None:
        super().__init__()
        self.model, self.prompt = model, prompt

    def train(self, mode: bool = True) -> Task:
        """As torch's; BatchNorms that are not trained stay as at inference."""
        super().train(mode)
        keep_frozen_norms(self)
        return self

    def logits(self, batch: dict[str, Any]) -> Tensor:
        """Low-res logits `[B, K, L, L]`, for validation."""
        raise NotImplementedError

    def validation_loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """Loss of those logits, a scalar."""
        raise NotImplementedError

    def truth(self, batch: dict[str, Any]) -> Tensor:
        """What the masks ought to be: bool `[B, K, S, S]` at network size."""
        return true_masks(batch, self.model)


class Segmentation(Task):
    """Masks against labels.

    Args:
        model: any family.
        prompt: what it is prompted with: "click", "random_click", "box" or "none".
        loss: weights of Dice and cross-entropy.
    """

    def __init__(self, model: PromptableModel, prompt: str, loss: Loss) -> None:
        super().__init__(model, prompt)
        self.loss = SegmentationLoss(loss)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        embedding = self.model.encode(batch["image"])
        logits, scores = decode_batch_scored(self.model, embedding, batch, self.prompt)
        loss = self.validation_loss(logits, batch)
        if self.loss.loss.score:
            loss = loss + self.loss.loss.score * score_loss(scores, logits, batch["target"])
        return loss

    def logits(self, batch: dict[str, Any]) -> Tensor:
        return decode_batch(self.model, self.model.encode(batch["image"]), batch, self.prompt)

    def validation_loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        loss: Tensor = self.loss(logits, batch["target"])
        return loss


def decode_batch(
    model: PromptableModel, embedding: Tensor, batch: dict[str, Any], prompt: str
) -> Tensor:
    """Low-res logits `[B, K, L, L]` of image embeddings `[B, D, g, g]` and a batch's prompts."""
    return decode_batch_scored(model, embedding, batch, prompt)[0]


def decode_batch_scored(
    model: PromptableModel, embedding: Tensor, batch: dict[str, Any], prompt: str
) -> tuple[Tensor, Tensor]:
    """The same with the predicted IoU `[B, K]`."""
    if "count" not in batch:
        return model.decode(embedding, **decoder_prompts(batch, prompt))
    # Objects with equally many tokens together, as at inference: padding would change the masks.
    counts: list[int] = batch["count"].tolist()
    places: list[int] = []
    answers = []
    for count in sorted(set(counts)):
        own = [i for i, each in enumerate(counts) if each == count]
        part = {name: batch[name][own] for name in ("points", "point_labels", "box")}
        part = {k: v if k == "box" else v[:, :count] for k, v in part.items()}
        prompts = decoder_prompts(part, "click" if count else "box")
        answers.append(model.decode(embedding[own], **prompts))
        places += own
    back = torch.argsort(torch.tensor(places)).to(embedding.device)
    logits, scores = (torch.cat(parts)[back] for parts in zip(*answers, strict=True))
    return logits, scores


def masks_at(logits: Tensor, side: int, model: PromptableModel) -> Tensor:
    """Low-res logits `[B, K, L, L]` -> masks at network size as the family decides.

    Returns:
        bool `[B, K, side, side]`; for exclusive classes the background is one of them.
    """
    family = model.family
    values = logits.float()
    if family.mask_values == "probability":
        values = values.sigmoid()
    values = F.interpolate(values, size=(side, side), mode="bilinear", align_corners=False)
    if family.exclusive:
        winner = values.argmax(dim=1)
        return F.one_hot(winner, values.shape[1]).permute(0, 3, 1, 2).bool()
    return values > family.threshold


def true_masks(batch: dict[str, Any], model: PromptableModel) -> Tensor:
    """Labels at network size: bool `[B, K, S, S]`, K the masks that the model answers with."""
    mask = batch["mask"]
    family = model.family
    if not family.classes:
        one: Tensor = mask > 0
        return one[:, None]
    first = 0 if family.exclusive else 1
    return torch.stack([mask == first + k for k in range(len(family.classes))], dim=1)
