"""Runs that take seconds: very small models, discs in noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from samedge.models import ModelConfig, PromptableModel, SamusConfig, tiny
from samedge.train.data.items import PreparedItems
from samedge.train.data.preparation import Preparation, fixed_prompt
from samedge.train.data.samples import Sample
from samedge.train.loop.devices import make_fabric
from samedge.train.loop.task import Segmentation
from samedge.train.loop.trainer import DataSplits, Trainer
from samedge.train.recipes import RECIPES, Recipe
from samedge.train.settings import settings_for
from samedge.train.start import fresh_model
from samedge.train.trainable import freeze
from tests.train.data.layouts import disc, picture


class Discs:
    """Samples of one dark disc in noise each."""

    def __init__(self, count: int = 12, first: int = 0, classes: int = 2) -> None:
        self.notes: tuple[str, ...] = ()
        self.classes = ("background", *(f"class {i}" for i in range(1, classes)))
        self._count, self._first = count, first

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        number = self._first + index
        rng = np.random.default_rng(number)
        x, y = rng.uniform(30, 60, 2)
        label = disc(88, 92, (x, y), rng.uniform(14, 22), 1 + number % (len(self.classes) - 1))
        return Sample(picture(label, number), label, f"discs/{number}", int(label.max()))


class Broken(Discs):
    """Discs, one of which cannot be read."""

    def __init__(self, bad: int, error: Exception) -> None:
        super().__init__()
        self._bad, self._error = bad, error

    def __getitem__(self, index: int) -> Sample:
        if index == self._bad:
            raise self._error
        return super().__getitem__(index)


def tiny_model(config: ModelConfig | None = None, seed: int = 0) -> PromptableModel:
    """A very small network from scratch."""
    return fresh_model(config or tiny(SamusConfig), seed)


def tiny_items(model: PromptableModel, recipe: Recipe, samples: Any = None) -> PreparedItems:
    """Samples for it, not augmented, so that the loss falls quickly."""
    return PreparedItems(samples or Discs(), Preparation(model.config, recipe.prompt), seed=0)


def tiny_trainer(
    folder: Path,
    model: PromptableModel | None = None,
    recipe: str = "full",
    samples: Any = None,
    held_out: bool = True,
    suffix: str = ".pth",
    progress: Any = None,
    fabric: Any = None,
    **said: Any,
) -> Trainer:
    """A trainer in `folder`."""
    chosen = RECIPES[recipe]
    model = tiny_model() if model is None else model
    freeze(model, chosen)
    items = tiny_items(model, chosen, samples)
    scored = None
    if held_out:
        mode = fixed_prompt(chosen.prompt)
        classes = len(items.samples.classes)
        scored = PreparedItems(Discs(4, 100, classes), Preparation(model.config, mode))
    said = {"batch": 4, "steps": 6, "warmup": 0, "seed": 5, **said}
    settings = settings_for(chosen, len(items), **said)
    fabric = fabric or make_fabric(settings.precision, "cpu")
    folder.mkdir(exist_ok=True)
    return Trainer(
        Segmentation(model, chosen.prompt, chosen.loss),
        settings,
        DataSplits(items, scored),
        folder,
        fabric,
        suffix=suffix,
        progress=progress,
    )


def states(model: PromptableModel) -> dict[str, torch.Tensor]:
    """A copy of all tensors."""
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of tensors that differ in any bit."""
    assert one.keys() == other.keys()
    return [k for k in one if not torch.equal(one[k], other[k])]
