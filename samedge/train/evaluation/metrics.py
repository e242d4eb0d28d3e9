"""How well a mask fits the truth: Dice, IoU, 95 % Hausdorff distance, average surface distance.

Surfaces and their distances are MONAI's; docs/evaluation.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import ModelError

METRICS = ("dice", "iou", "hd95", "assd")
RESAMPLES = 2000


@dataclass(frozen=True)
class Scores:
    """One mask against its truth.

    Attributes:
        dice, iou: 0 to 1; 1 if both are empty.
        hd95, assd: distances in the unit of the spacing; 0 if both are empty, NaN if one is.
    """

    dice: float
    iou: float
    hd95: float
    assd: float


@dataclass(frozen=True)
class Summary:
    """A metric over many images.

    Attributes:
        count: values that count.
        missing: values that are NaN, and do not.
        mean, std: of those that count; std with n - 1. NaN if there are too few.
        low, high: confidence interval of the mean (bootstrap); NaN for less than two values.
    """

    count: int
    missing: int
    mean: float
    std: float
    low: float
    high: float


def score(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], spacing: tuple[float, float] = (1, 1)
) -> Scores:
    """Compare one mask with its truth.

    Args:
        predicted, truth: `[H, W]`, not 0 inside.
        spacing: height and width of a pixel; distances are in its unit.

    Raises:
        ModelError: the two differ in size.
        MissingDependencyError: MONAI is not installed.
    """
    if predicted.shape != truth.shape:
        raise ModelError(
            f"a mask of shape {list(predicted.shape)} came for a label of {list(truth.shape)}"
        )
    utils = require("monai.metrics.utils", extra="train", what="scoring")
    cut = _bounding_box((predicted != 0) | (truth != 0))
    a, b = (mask[cut] != 0 for mask in (predicted, truth))
    # Counted here: MONAI's are sums in torch, which start threads for them.
    both, either = int(np.count_nonzero(a & b)), int(np.count_nonzero(a | b))
    dice = 2 * both / (both + either) if either else 1.0
    iou = both / either if either else 1.0
    if not a.any() or not b.any():
        distance = nan if either else 0.0
        return Scores(dice, iou, distance, distance)
    # MONAI's Hausdorff and average distances would each find edges and distances anew.
    edges = utils.get_mask_edges(a, b, crop=False)
    distances = (
        utils.get_surface_distance(edges[i], edges[1 - i], spacing=list(spacing)) for i in (0, 1)
    )
    there, back = (np.asarray(d, np.float64) for d in distances)
    hd95 = max(float(np.percentile(d, 95)) for d in (there, back))
    return Scores(dice, iou, hd95, float(np.concatenate([there, back]).mean()))


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The part of an image that has anything in it; what is outside changes no score."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(1), slice(1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def summarise(values: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Summary:
    """Mean, deviation and a confidence interval of the mean.

    The interval is a percentile bootstrap: scores are skewed, and a symmetric interval would reach
    beyond 1.

    Args:
        values: one per image; NaN are counted and left out.
        confidence: of the interval, between 0 and 1.
        seed: of the bootstrap.
    """
    array = np.asarray(values, np.float64)
    known = array[~np.isnan(array)]
    missing = len(array) - len(known)
    if not len(known):
        return Summary(0, missing, nan, nan, nan, nan)
    mean = float(known.mean())
    if len(known) == 1:
        return Summary(1, missing, mean, nan, nan, nan)
    rng = np.random.default_rng(seed)
    means = np.array([_resampled_mean(known, rng) for _ in range(RESAMPLES)])
    tail = 50 * (1 - confidence)
    low, high = (float(v) for v in np.percentile(means, (tail, 100 - tail)))
    return Summary(len(known), missing, mean, float(known.std(ddof=1)), low, high)


def _resampled_mean(values: NDArray[np.float64], rng: np.random.Generator) -> float:
    return float(values[rng.integers(0, len(values), len(values))].mean())
