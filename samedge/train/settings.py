"""What a run was asked to do, in one record that is written beside its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from samedge.errors import TrainingError
from samedge.train.recipes import OPTIMISERS, SCHEDULES, Recipe

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Settings:
    """All that decides the numbers of a run, besides model and data.

    Attributes:
        steps: optimiser steps of the whole run.
        batch: images per micro-batch and process.
        accumulate: micro-batches per step.
        lr, weight_decay, warmup, schedule, optimiser, decay_all, clip: see `Recipe`.
        seed: of fresh weights, order, augmentation and prompts.
        precision: "32-true", "bf16-mixed" or "16-mixed".
        ema: decay of the weights' average; 0: none.
        validate_every: epochs between two validations.
        patience: validations without a better score after which the run ends; 0: never.
        save_every: steps between two saved states, besides those at the end of each epoch; 0: none.
        workers: processes that prepare samples; changes no number.
        channels_last: memory format of convolutions.
        deterministic: only algorithms that give the same bits every time.
    """

    steps: int
    batch: int
    lr: float
    optimiser: str = "adamw"
    weight_decay: float = 0.0
    decay_all: bool = True
    warmup: int = 0
    schedule: str = "constant"
    accumulate: int = 1
    clip: float = 0.0
    seed: int = 0
    precision: str = "32-true"
    ema: float = 0.0
    validate_every: int = 1
    patience: int = 0
    save_every: int = 0
    workers: int = 0
    channels_last: bool = False
    deterministic: bool = True

    def __post_init__(self) -> None:
        at_least = {"steps": 1, "batch": 1, "accumulate": 1, "validate_every": 1}
        at_least |= dict.fromkeys(("warmup", "patience", "save_every", "workers", "seed"), 0)
        for name, least in at_least.items():
            self._require(getattr(self, name) >= least, name, f"at least {least}")
        self._require(self.lr > 0, "lr", "a positive number")
        self._require(self.clip >= 0, "clip", "0 (not clipped) or a positive number")
        self._require(0 <= self.ema < 1, "ema", "0 (none) or a decay below 1, such as 0.999")
        self._require(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}")
        self._require(self.schedule in SCHEDULES, "schedule", f"one of {', '.join(SCHEDULES)}")
        self._require(self.optimiser in OPTIMISERS, "optimiser", f"one of {', '.join(OPTIMISERS)}")

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise TrainingError(f"{name}={getattr(self, name)!r} came; expected {expected}")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def settings_for(recipe: Recipe, samples: int, world: int = 1, **said: Any) -> Settings:
    """A recipe's numbers, with what was said instead.

    Args:
        recipe: where the rest comes from.
        samples: in the training set.
        world: processes.
        said: fields of `Settings`, and `epochs` instead of `steps`; None where nothing was said.

    Raises:
        TrainingError: a value that does not fit, or both `epochs` and `steps`.
    """
    given = {name: value for name, value in said.items() if value is not None}
    if "epochs" in given and "steps" in given:
        raise TrainingError("epochs and steps both came; expected one of them")
    names = ("lr", "optimiser", "weight_decay", "decay_all", "warmup", "schedule", "clip", "batch")
    values = {name: getattr(recipe, name) for name in names} | given
    epochs = values.pop("epochs", recipe.epochs)
    per_step = values["batch"] * values.get("accumulate", 1) * world
    if epochs < 1:
        raise TrainingError(f"epochs={epochs} came; expected at least 1")
    values.setdefault("steps", epochs * max(samples // max(per_step, 1), 1))
    return Settings(**values)
