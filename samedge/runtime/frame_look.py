"""Does a frame look like those that INT8 was calibrated with?

INT8 computes in ranges that were measured on some frames. On others its masks may be worse than its
gate says, and nothing in them shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._wording import option
from samedge.errors import BundleError

_SIDE = 128  # px of the sample that statistics are taken from, so that they cost no time
_BLACK = 10  # grey levels up to here count as black
# How far beyond the calibration's range is far, at least: a set of like frames has a narrow one.
_FLOORS = {"mean": 20.0, "spread": 15.0, "black": 0.2, "edges": 0.2, "colour": 10.0}
_WORDS = {
    "mean": "brightness",
    "spread": "contrast",
    "black": "share of black",
    "edges": "texture",
    "colour": "colour",
}


@dataclass(frozen=True)
class FrameLook:
    """What a frame looks like, in a few numbers.

    Attributes:
        mean, spread: of the grey levels, 0..255 (mean and standard deviation).
        black: share of black pixels.
        edges: mean difference of neighbours in the sample over the mean.
        colour: mean difference between the largest and the smallest channel.
    """

    mean: float
    spread: float
    black: float
    edges: float
    colour: float


def look_of(pixels: NDArray[Any]) -> FrameLook:
    """Statistics of a frame `[H, W, C]`, or of a stack of slices `[D, H, W, C]` as a whole; uint8,
    or uint16 whose 65535 is the 255 of uint8."""
    by = max(1, round(max(pixels.shape[-3:-1]) / _SIDE))
    sample = pixels[..., ::by, ::by, :].astype(np.float32)
    if pixels.dtype == np.uint16:
        sample /= 257
    grey = sample.mean(-1)
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (-1, -2)]
    mean = float(grey.mean())
    return FrameLook(
        mean=mean,
        spread=float(grey.std()),
        black=float((grey <= _BLACK).mean()),
        edges=float(np.mean([s.mean() if s.size else 0.0 for s in steps])) / max(mean, 1.0),
        colour=float((sample.max(-1) - sample.min(-1)).mean()),
    )


def looks_of(stacks: Iterable[NDArray[Any]]) -> dict[str, list[float]]:
    """Smallest and largest value of each statistic over frames as `look_of` takes them: what a
    calibration record keeps of its frames."""
    rows = [asdict(look_of(pixels)) for pixels in stacks]
    return {
        name: [float(f"{pick(row[name] for row in rows):.4g}") for pick in (min, max)]
        for name in _WORDS
    }


class CalibrationLooks:
    """Compares frames with those of a calibration.

    Args:
        ranges: as `looks_of` gives them.

    Raises:
        BundleError: they are something else.
    """

    def __init__(self, ranges: Mapping[str, Any]) -> None:
        self._bounds: dict[str, tuple[float, float]] = {}
        for name, floor in _FLOORS.items():
            low, high = _pair(name, ranges.get(name))
            margin = max(floor, (high - low) / 2)
            self._bounds[name] = low - margin, high + margin

    @classmethod
    def of(cls, record: Mapping[str, Any] | None, precision: str) -> CalibrationLooks | None:
        """Those in a bundle's calibration record, where it runs in `precision`; None where nothing
        was calibrated, or an earlier version did not record it."""
        ranges = record.get("looks") if record is not None and precision == "int8" else None
        return cls(ranges) if isinstance(ranges, Mapping) else None

    def notes(self, pixels: NDArray[Any]) -> tuple[str, ...]:
        """What to tell of a frame (or a stack) that is far outside; empty for all others."""
        found = asdict(look_of(pixels))
        odd = [
            words
            for name, words in _WORDS.items()
            if not self._bounds[name][0] <= found[name] <= self._bounds[name][1]
        ]
        if not odd:
            return ()
        return (
            f"looks unlike the frames that INT8 was calibrated with ({', '.join(odd)}): masks may "
            f"be worse than its gate says. Take {option('precision', 'fp32')} or bf16 for "
            "such frames, or calibrate with them (samedge export BUNDLE -o NEW --precision int8 "
            "--calibration FRAMES)",
        )


def _pair(name: str, value: Any) -> tuple[float, float]:
    """A statistic's smallest and largest value."""
    numbers = isinstance(value, list) and all(type(number) in (int, float) for number in value)
    if not numbers or len(value) != 2:
        raise BundleError(
            f"the manifest's calibration says of its frames' {name}: {str(value)[:80]}; expected "
            "the smallest and the largest value: export the bundle again"
        )
    return value[0], value[1]
