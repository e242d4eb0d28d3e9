"""Dice and cross-entropy on low-res logits, with a recipe's weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses.dice import DiceLoss
from torch import Tensor, nn

from samedge.train.recipes import Loss


def score_loss(scores: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of the predicted IoU against that of the masks (Kirillov et al. 2023).

    Args:
        scores: `[B, K]`, predicted.
        logits: `[B, K, L, L]`; positive is inside. They get no gradient from here.
        target: `[B, K, L, L]`, 0 or 1. Two empty masks have an IoU of 1.

    Returns:
        scalar, float32.
    """
    found, wanted = logits.detach() > 0, target > 0.5
    both = (found & wanted).sum((2, 3))
    either = (found | wanted).sum((2, 3))
    iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    return F.mse_loss(scores.float(), iou)


class SegmentationLoss(nn.Module):
    """`dice * Dice + cross_entropy * CE`, in float32 whatever the precision of the network.

    The Dice loss has a squared denominator. In SAMUS and SAMed it sums over the batch, so that a
    mask that is empty in one image does no harm; MedSAM, whose masks never are, takes the mean.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self.loss = loss
        classes = loss.kind == "classes"
        self.dice = DiceLoss(
            sigmoid=not classes,
            softmax=classes,
            squared_pred=True,
            batch=loss.over_batch,
            reduction="mean",
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            logits: `[B, K, L, L]`.
            target: `[B, K, L, L]`, 0..1; for "classes" it sums to 1 over K.

        Returns:
            scalar, float32.
        """
        logits, target = logits.float(), target.float()
        total = logits.new_zeros(())
        if self.loss.dice:
            total = total + self.loss.dice * self.dice(logits, target)
        if self.loss.cross_entropy:
            total = total + self.loss.cross_entropy * self._cross_entropy(logits, target)
        return total

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.loss.kind == "classes":
            return F.cross_entropy(logits, target)
        weight = logits.new_tensor(self.loss.positive)
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
