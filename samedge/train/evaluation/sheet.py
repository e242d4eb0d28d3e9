"""The worst cases of one model on a page: its mask, and the outline of the truth."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.drawing.colours import INK, Colour, colour_of
from samedge.drawing.contact_sheet import Cell, contact_sheet
from samedge.drawing.overlay import display_scale, draw_overlay
from samedge.prompts.prompt import Prompt
from samedge.train.evaluation.reporting import unit
from samedge.train.evaluation.running import Case, Evaluation

Picture = NDArray[np.uint8]
PREDICTED: Colour = colour_of(0)
TRUTH: Colour = colour_of(3)


def worst_sheet(evaluation: Evaluation, model: int, subtitle: str = "") -> Picture:
    """Draw the page.

    Args:
        evaluation: done.
        model: place among the contenders.
        subtitle: the data set and what else belongs under the title.

    Returns:
        RGB, uint8 `[H, W, 3]`.
    """
    cases = evaluation.worst[model]
    cells = [_cell(evaluation, model, case) for case in cases]
    return contact_sheet(
        cells,
        f"{evaluation.contenders[model].name}: the {len(cells)} lowest Dice",
        subtitle,
        legend=[("predicted", PREDICTED), ("truth (line)", TRUTH), ("prompt", INK)],
    )


def _cell(evaluation: Evaluation, model: int, case: Case) -> Cell:
    scores = case.row.scores
    distance = "no surface" if isnan(scores.hd95) else f"HD95 {scores.hd95:.1f} {unit(evaluation)}"
    area = f"{case.row.predicted_px} of {case.row.truth_px} px"
    words = [f"Dice {scores.dice:.3f}", distance, area]
    title = case.row.name
    if len(evaluation.classes) > 2:
        title = f"{title}   {evaluation.class_name(model, case.row.class_id)}"
    return Cell(draw_case(case), _ascii(title), "   ".join(words))


def draw_case(case: Case) -> Picture:
    """The image with the predicted mask, the prompt and the outline of the truth, enlarged."""
    height, width = case.truth.shape
    scale = display_scale(height, width)
    picture = draw_overlay(case.image, [case.predicted], None, scale, [PREDICTED])
    size = (width * scale, height * scale)
    large = cv2.resize(case.truth * np.uint8(255), size, interpolation=cv2.INTER_LINEAR)
    outline, _ = cv2.findContours(
        (np.asarray(large) > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    line = max(1, round(min(size) / 240))
    cv2.drawContours(picture, outline, -1, (0, 0, 0), line + 2, cv2.LINE_AA)
    cv2.drawContours(picture, outline, -1, TRUTH, line, cv2.LINE_AA)
    # The prompt comes last: a click on the outline must be seen.
    prompt = _enlarged(case.prompt, scale)
    return draw_overlay(picture, [], prompt, 1, prompt_colours=[INK] * prompt.objects)


def _enlarged(prompt: Prompt, scale: int) -> Prompt:
    """A prompt in px of the enlarged picture; a point stays in the middle of its pixel."""
    points = None if prompt.points is None else (np.asarray(prompt.points) + 0.5) * scale - 0.5
    box = None if prompt.box is None else prompt.box * scale
    return replace(prompt, points=points, box=box)


def _ascii(text: str) -> str:
    """The small text of pictures has ASCII only."""
    return text.encode("ascii", "replace").decode()
