"""What one image asks of one model: which classes, with which prompts.

Prompts come from the label, at its own size, so all models get the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from samedge.errors import ModelError, PromptError
from samedge.families import Family
from samedge.prompts.prompt import Prompt
from samedge.train.data.clicks import box_of, fixed_click
from samedge.train.data.labels import classes_in
from samedge.train.data.samples import Sample

Label = NDArray[np.uint8]
MODES = ("auto", "point", "box", "none")
PLACES = ("frame", "network")


@dataclass(frozen=True)
class Rules:
    """How to evaluate.

    Attributes:
        prompt: "auto" (a point, where the family takes points; else a box; else nothing), "point",
            "box", "none".
        jitter: px of the label that prompts are moved by, at most, in x and y each.
        seed: of the jitter and of the confidence intervals.
        at: "frame" (masks and labels at the label's own size) or "network" (both at the network's
            input size, as SAMUS scores).
        spacing: height and width of a pixel in mm; None: distances are in px.
        worst: pictures to keep of each model.
    """

    prompt: str = "auto"
    jitter: float = 0.0
    seed: int = 0
    at: str = "frame"
    spacing: tuple[float, float] | None = None
    worst: int = 12

    def __post_init__(self) -> None:
        if self.prompt not in MODES:
            raise PromptError(f"the prompt '{self.prompt}' came; expected {', '.join(MODES)}")
        if self.at not in PLACES:
            raise PromptError(f"score at '{self.at}' came; expected {', '.join(PLACES)}")
        if not self.jitter >= 0:
            raise PromptError(f"a jitter of {self.jitter} px came; expected 0 or more")
        if self.at == "network" and self.spacing is not None:
            raise PromptError("at the network's size a pixel has no spacing: leave it out")


@dataclass(frozen=True)
class Task:
    """One prompt, and the classes that are scored in its answer.

    Attributes:
        prompt: in px of the label.
        scored: (class, place in the answer's masks); class 0: everything but the background.
    """

    prompt: Prompt
    scored: tuple[tuple[int, int], ...]


def prompt_mode(family: Family, rules: Rules) -> str:
    """ "point", "box" or "none".

    Raises:
        PromptError: the family does not take what is asked for.
    """
    takes = family.prompts
    if rules.prompt == "auto":
        return next((mode for mode in ("point", "box") if mode in takes), "none")
    if rules.prompt == "none" and takes:
        raise PromptError(f"{family.title} needs a prompt; it takes: {', '.join(takes)}")
    if rules.prompt != "none" and rules.prompt not in takes:
        raise PromptError(
            f"{family.title} takes no {rules.prompt} prompts; it takes: "
            f"{', '.join(takes) or 'none'}. With the prompt auto each model gets its own kind"
        )
    return rules.prompt


def check_fit(family: Family, name: str, classes: int) -> None:
    """A model with classes must know all that a data set has.

    Raises:
        ModelError: it has fewer.
    """
    known = len(family.classes) - family.exclusive
    if family.classes and known < classes - 1:
        raise ModelError(
            f"{name} has {known} classes, the data {classes - 1} (without the background); they "
            "were not made for each other"
        )


def tasks(
    sample: Sample, label: Label, index: int, family: Family, rules: Rules, classes: int
) -> Iterator[Task]:
    """What sample `index` asks of a model of this family.

    Args:
        sample: with its class.
        label: at the size at which prompts are made.
        index: for the random numbers.
        family: of the model.
        rules: how to evaluate.
        classes: of the data set, the background included.
    """
    mode = prompt_mode(family, rules)
    if family.classes:
        wanted = [sample.class_id] if sample.class_id else list(range(1, classes))
        first = 0 if family.exclusive else 1  # class k is mask k, or mask k - 1
        prompt = _prompt((label > 0).astype(np.uint8), 1, mode, rules, index)
        yield Task(prompt, tuple((k, k - first) for k in wanted))
    elif mode == "none":
        yield Task(Prompt(), ((sample.class_id, 0),))
    else:
        wanted = [sample.class_id] if sample.class_id else classes_in(label).tolist() or [1]
        for class_id in wanted:
            yield Task(_prompt(label, class_id, mode, rules, index), ((class_id, 0),))


def truth_of(label: Label, class_id: int) -> Label:
    """The mask of a class, 0 or 1; of everything but the background for class 0."""
    return np.asarray(label == class_id if class_id else label > 0, np.uint8)


def _prompt(label: Label, class_id: int, mode: str, rules: Rules, index: int) -> Prompt:
    """A click or box of one class, moved at random, inside the image."""
    if mode == "none":
        return Prompt()
    rng = np.random.default_rng([rules.seed, index, class_id])
    size = np.array(label.shape[::-1], np.float64)
    if mode == "point":
        xy, inside = fixed_click(label, class_id)
        moved = np.clip(xy + rng.uniform(-rules.jitter, rules.jitter, 2), 0, size - 1)
        return Prompt(points=moved[None].astype(np.float64), labels=inside[None])
    corners = box_of(label, class_id).reshape(2, 2)
    moved = np.clip(corners + rng.uniform(-rules.jitter, rules.jitter, (2, 2)), 0, size)
    low = np.minimum(moved.min(axis=0), size - 1)
    # An object one pixel wide, or corners that have passed each other, still make a box.
    high = np.maximum(moved.max(axis=0), low + 1)
    return Prompt(box=np.concatenate([low, high])[None])
