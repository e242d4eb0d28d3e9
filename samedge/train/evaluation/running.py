"""Every image through every model; scores, comparisons with the first model, the worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from samedge.families import Family
from samedge.geometry.frame_geometry import FrameGeometry, frame_geometry, valid_size
from samedge.geometry.mask_values import decide, mask_values
from samedge.progress import Progress, Step, silent
from samedge.prompts.prompt import Prompt
from samedge.train.data.labels import resize_label
from samedge.train.data.samples import Sample, Samples
from samedge.train.evaluation.contenders import Answer, Contender
from samedge.train.evaluation.metrics import Scores, score
from samedge.train.evaluation.tasks import Rules, check_fit, prompt_mode, tasks, truth_of

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One class of one image, by one model.

    Attributes:
        model: place among the contenders.
        name: of the sample.
        class_id: number in the label; 0: everything but the background.
        scores: against the truth.
        truth_px, predicted_px: areas.
        equal: share of pixels with the first model's decision; NaN where that has no such mask.
    """

    model: int
    name: str
    class_id: int
    scores: Scores
    truth_px: int
    predicted_px: int
    equal: float


@dataclass(frozen=True)
class Case:
    """A picture to look at: what was asked, what came, what is true; all of one size."""

    row: Row
    image: Mask
    truth: Mask
    predicted: Mask
    prompt: Prompt


@dataclass
class Evaluation:
    """All results.

    Attributes:
        contenders: what was evaluated.
        rules: how.
        classes: of the data set, the background first.
        rows: in the order of the images, then of the contenders.
        worst: per contender, its cases with the lowest Dice, the lowest first.
    """

    contenders: list[Contender]
    rules: Rules
    classes: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    worst: list[list[Case]] = field(default_factory=list)

    def class_name(self, model: int, class_id: int) -> str:
        """What a class is called: by the model, if it names its classes; else by the data."""
        family = self.contenders[model].family
        if not class_id:
            return "object"
        if family.classes:
            return family.classes[class_id if family.exclusive else class_id - 1]
        return self.classes[class_id]


def evaluate(
    contenders: Sequence[Contender],
    samples: Samples,
    rules: Rules,
    indices: Sequence[int] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Run all models on a data set.

    Args:
        contenders: the first is the one that the others are compared with.
        samples: the data set.
        rules: how to evaluate.
        indices: only these samples.
        progress: told the images that are done.

    Raises:
        PromptError, ModelError: a model does not fit the rules or the data.
        SamEdgeError: of the data set, a model or an engine.
    """
    for contender in contenders:
        prompt_mode(contender.family, rules)
        check_fit(contender.family, contender.name, len(samples.classes))
    result = Evaluation(list(contenders), rules, samples.classes)
    result.worst = [[] for _ in contenders]
    title = f"{len(contenders)} models" if len(contenders) > 1 else contenders[0].name
    places = range(len(samples)) if indices is None else indices
    for done, index in enumerate(places, 1):
        _one_image(result, samples[index], index)
        progress(Step(title, done, len(places)))
    return result


def _one_image(result: Evaluation, sample: Sample, index: int) -> None:
    """All models on one image."""
    first: dict[int, Mask] = {}
    for number, contender in enumerate(result.contenders):
        view = _View.of(sample, contender, result.rules)
        contender.set_frame(sample.image)
        family, count = contender.family, len(result.classes)
        for task in tasks(sample, view.label, index, family, result.rules, count):
            answer = contender.answer(view.to_frame(task.prompt))
            masks = view.masks(answer)
            for class_id, place in task.scored:
                truth, predicted = truth_of(view.label, class_id), masks[place]
                before = (
                    first.setdefault(class_id, predicted) if number == 0 else (first.get(class_id))
                )
                row = Row(
                    number,
                    sample.name,
                    class_id,
                    score(predicted, truth, result.rules.spacing or (1, 1)),
                    int(truth.sum()),
                    int(predicted.sum()),
                    _equal(predicted, before),
                )
                result.rows.append(row)
                case = Case(row, view.image, truth, predicted, task.prompt)
                _keep_worst(result.worst[number], case, result.rules.worst)


def _equal(mask: Mask, other: Mask | None) -> float:
    if other is None or other.shape != mask.shape:
        return nan
    return float(np.mean(mask == other))


def _keep_worst(kept: list[Case], case: Case, most: int) -> None:
    kept.append(case)
    kept.sort(key=lambda c: c.row.scores.dice)  # stable: of equals the earlier image stays
    del kept[most:]


@dataclass(frozen=True)
class _View:
    """An image as it is scored: at its own size, or at that of one network.

    Attributes:
        image, label: at that size.
        family: of the model.
        square: geometry of the network's own frame; None at the image's own size.
        geometry: of the image.
    """

    image: Mask
    label: Mask
    family: Family
    square: FrameGeometry | None = None
    geometry: FrameGeometry | None = None

    @classmethod
    def of(cls, sample: Sample, contender: Contender, rules: Rules) -> _View:
        family, size = contender.family, contender.input_size
        if rules.at == "frame":
            return cls(sample.image, sample.label, family)
        height, width = sample.label.shape
        valid = valid_size(family, height, width, size)
        room = ((0, size - valid[0]), (0, size - valid[1]))
        label = np.pad(resize_label(sample.label, *valid, family), room)
        grey = sample.image if sample.image.ndim == 2 else sample.image[..., 1]
        image = np.pad(resize_label(grey, *valid, family), room)  # only to look at
        square = frame_geometry(family, size, size, None, size, contender.low_res)
        geometry = frame_geometry(family, height, width, None, size, contender.low_res)
        return cls(image, label, family, square, geometry)

    def to_frame(self, prompt: Prompt) -> Prompt:
        """A prompt in px of the image."""
        if self.geometry is None:
            return prompt
        points, box = prompt.points, prompt.box
        high = np.array([self.geometry.width, self.geometry.height], np.float64)
        return Prompt(
            # A padded network is larger than its image; a click beyond goes to the border.
            None if points is None else np.minimum(self.geometry.to_frame(points), high - 1e-3),
            prompt.labels,
            None
            if box is None
            else np.minimum(self.geometry.to_frame(box.reshape(-1, 2, 2)), high).reshape(-1, 4),
        )

    def masks(self, answer: Answer) -> Mask:
        """The answer's masks at the size of `label`."""
        if self.square is None:
            return answer.masks
        return decide(mask_values(answer.low_res, self.square, self.family), self.family)
