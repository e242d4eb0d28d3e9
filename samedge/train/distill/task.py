"""A small encoder learns a large one's embedding, and the masks that come of it.

The student's grid may differ from the teacher's, and so may the way from frame to network. Both
grids cover the same frame, so the teacher's embedding is read, bilinearly, where the student's
tokens lie; padding of the teacher's input is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samedge.models import PromptableModel
from samedge.train.loop.task import Segmentation, decode_batch, masks_at, true_masks
from samedge.train.recipes import Loss


@dataclass(frozen=True)
class DistillWeights:
    """Weights of the parts of the loss.

    Attributes:
        embedding: squared error, relative to the variance of the teacher's embedding.
        cosine: one minus the cosine between the two, per token.
        mask: Dice and cross-entropy of the student's masks, against labels, or against the
            teacher's masks where there are none.
    """

    embedding: float = 1.0
    cosine: float = 1.0
    mask: float = 1.0


class Distillation(Segmentation):
    """Embedding and masks of a student against those of a frozen teacher.

    Args:
        student: gets gradients.
        teacher: gets none.
        prompt: what the student is prompted with, and the teacher, for its masks.
        loss: weights of Dice and cross-entropy.
        weights: of the parts of the loss.
        labelled: masks are compared with labels; otherwise with the teacher's.
    """

    def __init__(
        self,
        student: PromptableModel,
        teacher: PromptableModel,
        prompt: str,
        loss: Loss,
        weights: DistillWeights,
        labelled: bool,
    ) -> None:
        super().__init__(student, prompt, loss)
        self.teacher = teacher.requires_grad_(False)
        self.weights, self.labelled = weights, labelled

    def train(self, mode: bool = True) -> Distillation:
        """As torch's; the teacher is never trained."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: dict[str, Any]) -> Tensor:
        embedding = self.model.encode(batch["image"])
        with torch.no_grad():
            taught = self.teacher.encode(batch["teacher_image"])
        aligned = align(taught, batch["teacher_valid"], batch["valid"], self._grid, self._strides)
        total = embedding_loss(embedding, aligned, self.weights)
        if self.weights.mask:
            logits = decode_batch(self.model, embedding, batch, self.prompt)
            target = batch["target"] if self.labelled else self._taught_masks(taught, batch)
            total = total + self.weights.mask * self.loss(logits, target)
        return total

    def truth(self, batch: dict[str, Any]) -> Tensor:
        """Labels; without any the teacher's masks."""
        if self.labelled:
            return true_masks(batch, self.model)
        taught = self.teacher.encode(batch["teacher_image"])
        return self._masks(self._taught_logits(taught, batch), batch, batch["mask"].shape[-1])

    def validation_loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        """The mask part alone: the embedding's has no meaning of its own."""
        if self.labelled:
            return super().validation_loss(logits, batch)
        taught = self.teacher.encode(batch["teacher_image"])
        loss: Tensor = self.loss(logits, self._taught_masks(taught, batch))
        return loss

    @property
    def _grid(self) -> int:
        return self.model.config.grid

    @property
    def _strides(self) -> tuple[int, int]:
        return self.teacher.config.stride, self.model.config.stride

    def _taught_logits(self, taught: Tensor, batch: dict[str, Any]) -> Tensor:
        """The teacher's low-res logits for the student's prompts, `[B, 1, L, L]`."""
        scale = (batch["teacher_valid"] / batch["valid"]).flip(-1)  # (x, y)
        prompts = {
            "points": batch["points"] * scale[:, None],
            "point_labels": batch["point_labels"],
            "box": batch["box"] * torch.cat((scale, scale), dim=-1),
        }
        with torch.no_grad():
            return decode_batch(self.teacher, taught, prompts, self.prompt)

    def _taught_masks(self, taught: Tensor, batch: dict[str, Any]) -> Tensor:
        side = self.model.config.low_res
        return self._masks(self._taught_logits(taught, batch), batch, side).float()

    def _masks(self, logits: Tensor, batch: dict[str, Any], side: int) -> Tensor:
        """The teacher's logits `[B, 1, L, L]` -> bool `[B, 1, side, side]` in the student's frame.

        0 or 1: a mask between the two has no smallest Dice.
        """
        stride = self.teacher.config.stride / 4, self.model.config.img_size / side
        aligned = align(logits, batch["teacher_valid"], batch["valid"], side, stride)
        return masks_at(aligned, side, self.teacher)


def align(
    maps: Tensor,
    valid: Tensor,
    student_valid: Tensor,
    side: int,
    strides: tuple[float, float],
) -> Tensor:
    """A teacher's map where the student's samples lie.

    Args:
        maps: `[B, C, g, g]` of the teacher.
        valid, student_valid: `[B, 2]`, (height, width) of the part of either network input that is
            image, in its px.
        side: of the student's map.
        strides: network px per sample, teacher's and student's.

    Returns:
        `[B, C, side, side]`, float32; bilinear. The student's padding repeats the image's edge.
    """
    grid = maps.shape[-1]
    full = grid * strides[0]
    same = grid == side and bool((valid == full).all())
    if same and bool((student_valid == side * strides[1]).all()):
        return maps.float()
    centres = (torch.arange(side, device=maps.device) + 0.5) * strides[1]
    # Student px -> part of the image -> teacher px -> -1..1 over the teacher's whole input.
    y, x = (
        (centres[None] / student_valid[:, axis : axis + 1]).clamp(max=1)
        * valid[:, axis : axis + 1]
        / full
        * 2
        - 1
        for axis in (0, 1)
    )
    b = maps.shape[0]
    where = torch.stack(
        (x[:, None, :].expand(b, side, side), y[:, :, None].expand(b, side, side)), -1
    )
    return F.grid_sample(maps.float(), where, padding_mode="border", align_corners=False)


def embedding_loss(student: Tensor, teacher: Tensor, weights: DistillWeights) -> Tensor:
    """Distance of two embeddings `[B, D, g, g]`; 0 for equal ones. Scalar, float32.

    The squared error is relative to the variance of the teacher's, so that its scale does not
    matter: a student that knows only the mean has 1.
    """
    student, teacher = student.float(), teacher.float()
    centred = teacher - teacher.mean((0, 2, 3), keepdim=True)
    error = (student - teacher).square().mean() / centred.square().mean().clamp(min=1e-12)
    angle = 1 - F.cosine_similarity(student, teacher, dim=1).mean()
    return weights.embedding * error + weights.cosine * angle
