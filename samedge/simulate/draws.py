"""Random numbers: one generator per image, and the smooth fields made with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Field = NDArray[np.float32]


def generator(seed: int, *path: int) -> np.random.Generator:
    """The generator of one image or one of its parts: it depends on these numbers and no others.

    Args:
        seed: of the whole work, 0 or more.
        path: which part: number of the set, of the split, of the image.
    """
    # As a spawn key, so that (7,) and (7, 0) differ.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=path)))


class Draws:
    """Short names for what a scene draws.

    Args:
        rng: where the numbers come from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def between(self, low: float, high: float) -> float:
        """Uniform in `[low, high)`."""
        return float(self.rng.uniform(low, high))

    def normal(self, scale: float = 1.0) -> float:
        """Normal with mean 0."""
        return float(self.rng.normal(0.0, scale))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """Uniform among `low..high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, items: Sequence[Item], weights: Sequence[float] | None = None) -> Item:
        """One of `items`."""
        if weights is None:
            return items[int(self.rng.integers(len(items)))]
        shares = np.asarray(weights, np.float64)
        return items[int(self.rng.choice(len(items), p=shares / shares.sum()))]

    def white(self, *shape: int) -> Field:
        """Standard normal, float32."""
        return self.rng.standard_normal(shape, dtype=np.float32)

    def smooth(self, shape: tuple[int, int], cells: tuple[float, float]) -> Field:
        """A smooth random field of mean 0 and standard deviation about 1.

        Args:
            shape: of the field.
            cells: how many bumps fit into its height and its width.
        """
        coarse = self.white(max(2, round(cells[0]) + 1), max(2, round(cells[1]) + 1))
        size = (shape[1], shape[0])
        field = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        # Interpolation keeps about half of the variance of white noise between the nodes.
        return np.asarray(field * np.float32(1.4), np.float32)

    def curve(self, length: int, bumps: float) -> Field:
        """A smooth random curve of mean 0 and standard deviation about 1, `[length]`."""
        return np.asarray(self.smooth((1, length), (1, bumps))[0], np.float32)


def smoothstep(values: Field) -> Field:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(values, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
