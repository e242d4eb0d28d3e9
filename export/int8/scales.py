"""How large one step of an int8 activation should be.

The largest magnitude divided by 127 loses nothing at the top and is coarse everywhere else. Cutting
rare large values off makes the steps finer. What is taken is the cut with the smallest mean square
error over the calibration frames' histogram.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samedge.export.int8.activations import Activation, histogram, magnitudes
from samedge.export.int8.quantised_graph import LEVELS

# Share of the largest magnitude at which values are cut off.
CUTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2)
_SMALLEST = 1e-8


def square_error(counts: NDArray[np.int64], limit: float) -> float:
    """Mean square error of int8 numbers up to `limit`, for magnitudes that occur `counts` times.

    Within the limits rounding is off by at most half a step, evenly; values below half a step are
    lost, those above the limit cut off.
    """
    size = magnitudes()
    step = limit / LEVELS
    rounding = np.where(size < step / 2, size**2, step**2 / 12)
    error = np.where(size > limit, (size - limit) ** 2, rounding)
    return float((error * counts).sum() / max(int(counts.sum()), 1))


def best_cut(counts: NDArray[np.int64], peak: float) -> float:
    """The share of `peak`, one of `CUTS`, with the smallest error."""
    return min(CUTS, key=lambda cut: square_error(counts, cut * peak))


def activation_scale(statistics: Activation) -> tuple[float, float]:
    """What one step is worth, and the cut behind it."""
    peak = max(statistics.peak, _SMALLEST)
    cut = best_cut(statistics.histogram, peak)
    return cut * peak / LEVELS, cut


def smoothed(statistics: Activation, scales: NDArray[np.float64]) -> Activation:
    """The statistics of the same value with its channels divided by `scales`."""
    tokens = (statistics.tokens / scales).astype(np.float32)
    return Activation(statistics.peaks / scales, histogram(tokens), tokens, statistics.size)
