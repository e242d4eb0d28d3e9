"""One image for two networks: prepared for a student and for its teacher."""

from __future__ import annotations

import numpy as np
import torch

from samedge.families import Family
from samedge.geometry.frame_geometry import valid_size
from samedge.models import ModelConfig
from samedge.train.data.augmentation import NONE, Augmentation, augment
from samedge.train.data.preparation import Preparation, Prepared
from samedge.train.data.samples import Sample, Samples

_SMALLEST_BOX, _LARGEST_BOX = 0.1, 0.5  # parts of the image


class PairedItems:
    """`Items` with "teacher_image" and both valid sizes besides what a student needs.

    Args:
        samples: labelled or not.
        student, teacher: their configs.
        prompt: mode of the student's prompts, see `Preparation`.
        labelled: prompts come from labels; otherwise clicks and boxes are anywhere in the image.
        augmentation: what is done to samples.
        seed: of everything random; None: no augmentation, and prompts that are always the same.
    """

    def __init__(
        self,
        samples: Samples,
        student: ModelConfig,
        teacher: ModelConfig,
        prompt: str,
        labelled: bool,
        augmentation: Augmentation = NONE,
        seed: int | None = None,
    ) -> None:
        self.samples, self.labelled = samples, labelled
        self.augmentation, self.seed = augmentation, seed
        self._student, self._teacher = Preparation(student, prompt), Preparation(teacher)
        self._sizes = teacher.img_size, student.img_size

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, epoch: int, index: int) -> Prepared:
        """One sample for both.

        Raises:
            SamEdgeError: of the data set or the preparations.
        """
        sample = self.samples[index]
        rng = None if self.seed is None else np.random.default_rng([self.seed, epoch, index])
        if rng is not None:
            sample = augment(sample, self.augmentation, rng)
        made = self._student(sample, rng, 0.0 if rng is None else self.augmentation.box_jitter)
        made["teacher_image"] = self._teacher(sample)["image"]
        made["valid"] = _valid(self._student.family, sample, self._sizes[1])
        made["teacher_valid"] = _valid(self._teacher.family, sample, self._sizes[0])
        if not self.labelled:
            random = rng or np.random.default_rng([0, 0, index])
            made |= _anywhere(made["valid"], random)
        return made


def _valid(family: Family, sample: Sample, size: int) -> torch.Tensor:
    """(height, width) of the network input that is image, px; float32 `[2]`."""
    height, width = sample.label.shape
    return torch.tensor(valid_size(family, height, width, size), dtype=torch.float32)


def _anywhere(valid: torch.Tensor, rng: np.random.Generator) -> Prepared:
    """A click and a box at random places of the image."""
    height, width = valid.tolist()
    x, y = rng.uniform(0.1, 0.9, 2)
    w, h = rng.uniform(_SMALLEST_BOX, _LARGEST_BOX, 2) / 2
    x0, x1 = max(x - w, 0) * width, min(x + w, 1) * width
    y0, y1 = max(y - h, 0) * height, min(y + h, 1) * height
    return {
        "points": torch.tensor([[x * width, y * height]], dtype=torch.float32),
        "point_labels": torch.ones(1, dtype=torch.int64),
        "box": torch.tensor([x0, y0, x1, y1], dtype=torch.float32),
    }
