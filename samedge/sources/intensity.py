"""From the values of a scanner to the grey levels that a network sees.

A frame has 8 bits, or 16 where the family's preprocessing never rounds to 8 (`Family.rounded`): the
full range of either means the same, black to white.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.sources.frame import Pixels, Warn

Range = tuple[float, float]


@dataclass(frozen=True)
class Intensity:
    """How values become grey levels.

    Attributes:
        window: (low, high) in the units of the file; mapped to black and white, linearly and
            clipped. None: the file's own window, or what the source does without one.
        deep: 16-bit frames where the values have more than 8 bits.
    """

    window: Range | None = None
    deep: bool = False

    @property
    def white(self) -> int:
        """The brightest level."""
        return 65535 if self.deep else 255

    def levels(self, unit: NDArray[np.float64]) -> Pixels:
        """Grey levels of values in 0..1; those outside are clipped."""
        scaled = np.round(np.clip(unit, 0, 1) * self.white)
        return scaled.astype(np.uint16) if self.deep else scaled.astype(np.uint8)

    def stretch(self, values: NDArray[Any], span: Range) -> Pixels:
        """Grey levels of values of any type, with `span` as black and white."""
        low, high = span
        reach = (high - low) or 1.0  # a constant image becomes black
        with np.errstate(over="ignore"):
            return self.levels((values.astype(np.float64) - low) / reach)

    def refuse_colour(self, name: str) -> None:
        """A window has no meaning for colours.

        Raises:
            SourceError: a window was asked for.
        """
        if self.window is not None:
            raise SourceError(f"{name} has colours; --window is for grey values: leave it out")


def on_black(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours `[H, W, 3]` laid on black by their alpha `[H, W, 1]`; row by row, in floats."""
    out = np.empty(rgb.shape, np.uint8)
    for row, colours, part in zip(out, rgb, alpha, strict=True):
        row[:] = np.round(colours * (part / 255.0))
    return out


def parse_window(text: str) -> Range:
    """`"-125,275"` -> (-125.0, 275.0).

    Raises:
        SourceError: not two finite numbers in rising order.
    """
    rule = "a window is LOW,HIGH in the file's own units, for instance -125,275 (HU)"
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise SourceError(f"cannot read '{text}': {rule}") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SourceError(f"'{text}' is not finite; {rule}")
    if low >= high:
        raise SourceError(f"'{text}' is empty: HIGH must exceed LOW; {rule}")
    return low, high


def check_finite(values: NDArray[Any], name: str, where: str) -> None:
    """Refuse NaN and infinity, which would turn into arbitrary grey levels.

    Raises:
        SourceError: says how many, and where.
    """
    if values.dtype.kind != "f":
        return
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise SourceError(
            f"{name} holds {bad} NaN or infinite values in {where}; replace them first, for "
            "instance by the smallest value of the volume (numpy.nan_to_num)"
        )


def own_range(slices: Iterable[NDArray[Any]], name: str) -> Range:
    """Smallest and largest value of all slices.

    Raises:
        SourceError: NaN, infinite or absurd values.
    """
    low, high = math.inf, -math.inf
    for index, values in enumerate(slices):
        check_finite(values, name, f"slice {index}")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if not math.isfinite(high - low):
        raise SourceError(
            f"{name} holds values too large to be grey levels; give --window LOW,HIGH"
        )
    return low, high


def choose_range(
    intensity: Intensity, slices: Iterable[NDArray[Any]], is_float: bool, name: str, warn: Warn
) -> Range:
    """Which values of a volume become black and white.

    The window, if one was given; 0 and 1 for floats that keep to it; else the volume's own smallest
    and largest value, which is said in a warning.

    Args:
        intensity: the window.
        slices: all of them; read only if there is no window.
        is_float: they hold floats.
        name: for messages.
        warn: told when the volume was stretched.

    Raises:
        SourceError: NaN or infinite values.
    """
    if intensity.window is not None:
        return intensity.window
    low, high = own_range(slices, name)
    if is_float and low >= 0 and high <= 1:
        return 0.0, 1.0
    warn(stretch_warning(name, (low, high)))
    return low, high


def stretch_warning(name: str, span: Range) -> str:
    """Words for a volume whose own range was taken."""
    return (
        f"{name}: no --window was given; the volume's own range {span[0]:g}..{span[1]:g} was "
        "stretched from black to white"
    )
