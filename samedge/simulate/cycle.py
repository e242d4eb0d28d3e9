"""The heart cycle: how far the ventricle has contracted and the valve has opened.

Time is in cycles; 0 is the end of diastole, where the ventricle is largest. The shape follows a
normal volume curve: ejection for about a third of the cycle, early filling, rest, atrial kick.
"""

from __future__ import annotations

import numpy as np

_CONTRACTION = ((0.0, 0.0), (0.34, 1.0), (0.42, 0.98), (0.6, 0.28), (0.82, 0.2), (1.0, 0.0))
_VALVE = (
    (0.0, 0.1), (0.04, 0.0), (0.42, 0.0), (0.52, 1.0), (0.66, 0.45), (0.8, 0.45), (0.9, 0.85),
    (1.0, 0.1),
)  # fmt: skip


def contraction(time: float) -> float:
    """0 for the largest ventricle, 1 for the smallest."""
    return _along(_CONTRACTION, time)


def valve_opening(time: float) -> float:
    """0 for a closed atrioventricular valve, 1 for an open one."""
    return _along(_VALVE, time)


def _along(knots: tuple[tuple[float, float], ...], time: float) -> float:
    """Between knots on half a cosine, so that every knot is a turning point or a rest."""
    t = time % 1.0
    times = np.asarray([k[0] for k in knots])
    last = min(int(np.searchsorted(times, t, side="right")), len(knots) - 1)
    (t0, v0), (t1, v1) = knots[last - 1], knots[last]
    share = (1 - np.cos(np.pi * (t - t0) / (t1 - t0))) / 2
    return float(v0 + (v1 - v0) * share)
