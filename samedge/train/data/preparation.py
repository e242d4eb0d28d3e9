"""A sample -> the tensors that a model of any family trains on.

The image takes the very way that frames take at inference (`samedge.geometry.network_input`).
Prompts are made from the label at the network's size, as SAMUS does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samedge._optional import importing

with importing("torch", extra="export", what="samedge.train"):
    import torch
    from torch import Tensor


from samedge.errors import ModelError, NotSupportedError, PromptError
from samedge.families import Family
from samedge.fold.probes import eager_input
from samedge.geometry.frame_geometry import frame_geometry, valid_size
from samedge.geometry.network_input import network_input, to_network_colours
from samedge.train.data.clicks import (
    box_of,
    fixed_click,
    grown_box,
    loose_box,
    random_click,
    several_clicks,
)
from samedge.train.data.labels import classes_in, resize_label
from samedge.train.data.samples import Sample
from samedge.train.data.shrink import pil_resize

if TYPE_CHECKING:
    from samedge.models import ModelConfig

Prepared = dict[str, Any]
# Prompt mode -> what the family must take.
MODES = {"click": "point", "random_click": "point", "mixed": "point", "box": "box", "none": ""}
# Of "mixed": most clicks of an object, and the shares of boxes and of several clicks.
MOST_CLICKS, BOX_SHARE, SEVERAL_SHARE = 5, 0.2, 0.25


def usual_prompt(family: Family) -> str:
    """The prompt mode to train a family with: "random_click", "box" or "none"."""
    if "point" in family.prompts:
        return "random_click"
    return "box" if "box" in family.prompts else "none"


def decoder_prompts(batch: Prepared, prompt: str) -> dict[str, Any]:
    """Arguments of a model's `decode` for a batch of prepared samples, by the prompt mode."""
    if prompt == "none":
        return {}
    if prompt == "box":
        return {"boxes": batch["box"]}
    return {"point_coords": batch["points"], "point_labels": batch["point_labels"]}


def fixed_prompt(prompt: str) -> str:
    """The mode to score with what was trained in mode `prompt`: nothing random."""
    return "click" if prompt in ("random_click", "mixed") else prompt


class Preparation:
    """Makes samples ready for one model.

    Args:
        config: of the model; its type says which family.
        prompt: "click" (the middle pixel), "random_click", "box", "none", or "mixed" (one click,
            in the middle or anywhere inside; several, inside and outside; boxes, if the family
            takes them); by default what suits the family.

    Attributes:
        family, prompt: as given.
        classes: how many numbers a label may have, the background included; 2 for families that
            have one mask per prompt.

    Raises:
        PromptError: the family does not take this kind of prompt, or needs one.
        NotSupportedError: the family takes volumes.
    """

    def __init__(self, config: ModelConfig, prompt: str | None = None) -> None:
        self.family = config.family
        self.prompt = usual_prompt(self.family) if prompt is None else prompt
        self._size, self._low = config.img_size, config.low_res
        _check_mode(self.family, self.prompt)
        if self.family.slices > 1:
            raise NotSupportedError(
                f"{self.family.title} takes {self.family.slices} slices of a volume at once; data "
                "sets of images cannot train it"
            )
        names = len(self.family.classes)
        self.classes = (names if self.family.exclusive else names + 1) if names else 2

    def __call__(
        self, sample: Sample, rng: np.random.Generator | None = None, box_jitter: float = 0.0
    ) -> Prepared:
        """Make one sample ready. S is the side of the network input, L of the low-res logits.

        Args:
            sample: any size.
            rng: for "random_click", box jitter, and the class of a sample that names none; without
                one the middle pixel, the box itself and the first class that there is.
            box_jitter: how far the sides of the box move outwards, in S.

        Returns:
            "image": float32 `[C, S, S]`, what the model's `encode` takes;
            "target": float32 `[K, L, L]`, 0 or 1 per mask that the model answers with;
            "mask": uint8 `[S, S]`, 1 inside the object; for families with classes the label's
                numbers (mask token k stands for number k if classes are exclusive, else k + 1);
            "points": float32 `[1, 2]` (x, y) and "box": float32 `[4]` (x0, y0, x1, y1), network px;
            "point_labels": int64 `[1]`, 1 inside, 0 where there is no object;
            "count" of "mixed": int64, how many of its five "points" are meant (the others are
            labelled -1); 0: the box is;
            "name": str.

        Raises:
            FrameError: an image that the family cannot take.
            ModelError: the label has more classes than the model.
        """
        family = self.family
        label = self._label(sample)
        if family.classes:
            mask, prompted = label, (label > 0).astype(np.uint8)
        else:
            class_id = sample.class_id or _some_class(label, rng)
            mask = prompted = (label == class_id).astype(np.uint8)
        points, point_labels = self._click(prompted, rng)
        box = box_of(prompted)
        own: Prepared = {}
        if self.prompt == "mixed" and rng is not None:
            points, point_labels, count = self._mixed(prompted, rng)
            box = loose_box(box, rng, (self._size, self._size))
            own = {"count": torch.tensor(count)}
        elif rng is not None and box_jitter:
            reach = round(box_jitter * self._size)
            box = grown_box(box, rng, reach, (self._size, self._size))
        return {
            "image": self._image(sample),
            "target": torch.from_numpy(self._target(mask)),
            "mask": torch.from_numpy(np.ascontiguousarray(mask)),
            "points": torch.from_numpy(points.astype(np.float32)),
            "point_labels": torch.from_numpy(point_labels),
            "box": torch.from_numpy(np.clip(box, 0, self._size).astype(np.float32)),
            "name": sample.name,
            **own,
        }

    def check(self, sample: Sample) -> None:
        """Nothing, if the model has all classes of a label.

        Raises:
            ModelError: it lacks one.
        """
        self._check_label(sample.label, sample.name)

    def _check_label(self, label: NDArray[np.uint8], name: str) -> None:
        if self.family.classes and int(label.max()) >= self.classes:
            raise ModelError(
                f"{name}: the label has class {int(label.max())}; the model has "
                f"{self.classes - 1} besides the background"
            )

    def _image(self, sample: Sample) -> Tensor:
        family = self.family
        if family.interpolation == "pil" and not family.padded:
            # The same bits, several times as fast.
            colours = to_network_colours(sample.image, family)
            small = pil_resize(colours, self._size, self._size)
            pixels = np.ascontiguousarray(np.moveaxis(small, 2, 0)[None], np.float32)
        else:
            height, width = sample.label.shape
            geometry = frame_geometry(family, height, width, None, self._size, self._low)
            pixels = network_input(sample.image, geometry, family)
        return eager_input(torch.from_numpy(pixels), family)[0]

    def _label(self, sample: Sample) -> NDArray[np.uint8]:
        """The label at network size; background on padding."""
        stored = sample.label.shape
        height, width = valid_size(self.family, stored[0], stored[1], self._size)
        small = resize_label(sample.label, height, width, self.family)
        self._check_label(small, sample.name)
        if (height, width) == (self._size, self._size):
            return small
        return np.pad(small, ((0, self._size - height), (0, self._size - width)))

    def _target(self, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
        low = resize_label(mask, self._low, self._low, self.family)
        first = 0 if self.family.exclusive else 1
        numbers = np.arange(first, self.classes)[:, None, None]
        return np.asarray(low == numbers, np.float32)

    def _mixed(
        self, label: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Points `[MOST_CLICKS, 2]`, their labels, and how many are meant; 0: the box is."""
        points = np.zeros((MOST_CLICKS, 2), np.int64)
        labels = np.full(MOST_CLICKS, -1, np.int64)
        kind = rng.random()
        if not label.any():
            own = fixed_click(label)
        elif kind < BOX_SHARE and "box" in self.family.prompts:
            return points, labels, 0
        elif kind < BOX_SHARE + SEVERAL_SHARE:
            own = several_clicks(label, rng, int(rng.integers(2, MOST_CLICKS + 1)))
        else:
            own = fixed_click(label) if rng.random() < 0.5 else random_click(label, rng)
        count = len(own[1])
        points[:count], labels[:count] = own
        return points, labels, count

    def _click(
        self, label: NDArray[np.uint8], rng: np.random.Generator | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.prompt == "random_click" and rng is not None:
            return random_click(label, rng)
        return fixed_click(label)


def _some_class(label: NDArray[np.uint8], rng: np.random.Generator | None) -> int:
    """One of the classes that are there, as MedSAM picks one; 1 if there is none."""
    there = classes_in(label)
    if not len(there):
        return 1
    return int(there[0] if rng is None else there[rng.integers(len(there))])


def _check_mode(family: Family, prompt: str) -> None:
    if prompt not in MODES:
        raise PromptError(f"there is no prompt mode '{prompt}'; expected {', '.join(MODES)}")
    needs = MODES[prompt]
    takes = ", ".join(family.prompts) or "none"
    if needs and needs not in family.prompts:
        raise PromptError(f"{family.title} takes no {needs} prompts; it takes: {takes}")
    if not needs and family.prompts:
        raise PromptError(f"{family.title} needs a prompt; it takes: {takes}")
