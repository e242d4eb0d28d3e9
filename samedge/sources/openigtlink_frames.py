"""IMAGE messages as frames: 8-bit pixels of one slice, and how large they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.errors import SourceError
from samedge.openigtlink.image import Image
from samedge.sources.frame import Spacing, check_size

LARGEST_MM = 600.0  # sides of an ultrasound image lie between
SMALLEST_MM = 2.0

_DEPTHS = (8, 10, 12, 14, 16)  # bits that devices use


class FrameMaker:
    """Makes frames of images, in order: parts of an image are put onto those before.

    Args:
        name: of the source, for messages.
        window: (low, high) grey values that become black and white, or None.
        note: told of everything that is not as expected.
    """

    def __init__(
        self, name: str, window: tuple[float, float] | None, note: Callable[[str], None]
    ) -> None:
        self._name, self._window, self._note = name, window, note
        self._depth = 0
        self._whole: NDArray[Any] | None = None

    def make(self, image: Image) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """uint8 `[H, W]` or `[H, W, 3]`, and the matrix of that slice, as the protocol has it.

        Raises:
            SourceError: a side is too short or too long, or the pixels are no grey or RGB values
                that are known to go from black to white.
        """
        columns, rows, slices = image.size
        check_size(self._name, rows, columns)
        pixels, matrix = self._put_together(image), image.matrix
        middle = (slices - 1) // 2
        if slices > 1:
            self._note(
                f"{self._name} sends {slices} slices at a time; the middle one, {middle + 1}, is "
                "taken"
            )
            matrix = matrix.copy()
            matrix[:3, 3] += matrix[:3, 2] * np.float32(middle - (slices - 1) / 2)
        return self._eight_bits(pixels[middle]), matrix

    def _put_together(self, image: Image) -> NDArray[Any]:
        """`[K, J, I, C]` of the whole image."""
        if image.is_whole:
            self._whole = image.pixels
            return image.pixels
        self._note(f"{self._name} sends its images in parts; each is laid over what was there")
        columns, rows, slices = image.size
        shape = (slices, rows, columns, image.pixels.shape[3])
        before = self._whole
        if before is None or before.shape != shape or before.dtype != image.pixels.dtype:
            before = np.zeros(shape, image.pixels.dtype)
        i, j, k = image.offset
        depth, height, width, _ = image.pixels.shape
        # Frames that were handed out stay as they are: the new part goes onto a copy.
        self._whole = before.copy()
        self._whole[k : k + depth, j : j + height, i : i + width] = image.pixels
        return self._whole

    def _eight_bits(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """uint8 `[H, W]` or `[H, W, 3]` of `[H, W, C]`."""
        components = pixels.shape[2]
        if components == 4:
            self._note(f"{self._name} sends four components; the fourth, as opacity, is left out")
            pixels = pixels[..., :3]
        elif components not in (1, 3):
            raise SourceError(
                f"{self._name} sends images of {components} components; expected 1 (grey), 3 (RGB) "
                "or 4 (RGBA)"
            )
        plain = np.ascontiguousarray(pixels[..., 0] if components == 1 else pixels)
        if plain.dtype == np.uint8 and self._window is None:
            return plain.astype(np.uint8, copy=False)
        low, high = self._window or (0.0, self._white(plain))
        with np.errstate(all="ignore"):
            scaled = np.round((plain.astype(np.float32) - low) * (255.0 / (high - low)))
            grey: NDArray[np.uint8] = np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)
        return grey

    def _white(self, plain: NDArray[Any]) -> float:
        """The largest value of 16-bit pixels, by the number of bits that were used so far."""
        if plain.dtype not in (np.uint16, np.int16):
            raise SourceError(
                f"{self._name} sends pixels of {plain.dtype}; which values are black and white? "
                "Say it with window=BLACK,WHITE, or let the sender make 8 bits of them"
            )
        largest = int(plain.max())
        depth = next(bits for bits in _DEPTHS if largest < 1 << bits)
        if depth > self._depth:
            self._depth = depth
            self._note(
                f"{self._name} sends 16-bit pixels; 0 to {(1 << depth) - 1} go from black to "
                "white. window=BLACK,WHITE says it otherwise"
            )
        return float((1 << self._depth) - 1)


def spacing_of(
    matrix: NDArray[Any], height: int, width: int, transform: NDArray[Any] | None = None
) -> tuple[Spacing | None, str]:
    """(row, column) distances in mm by an image's matrix, or None and why they are unknown.

    Senders without calibration say 1 mm: so the steps of exactly 1 mm are believed only if the
    transform from the image's frame has a scale, and then that is taken.

    Args:
        matrix: `[4, 4]`, its columns are the steps along a row, a column and a normal.
        height, width: of the image in px.
        transform: `[4, 4]`, from the image's frame to another one in mm, or None.
    """
    with np.errstate(all="ignore"):
        steps = np.asarray(matrix, np.float64)[:3, :2]
        column, row = np.linalg.norm(steps, axis=0).tolist()
        if row == column == 1.0:
            if transform is None:
                return None, "its steps are exactly 1 mm, which uncalibrated senders say"
            column, row = np.linalg.norm(
                np.asarray(transform, np.float64)[:3, :3] @ steps, axis=0
            ).tolist()
            if math.isclose(row, 1.0, abs_tol=1e-3) and math.isclose(column, 1.0, abs_tol=1e-3):
                return None, "its steps are exactly 1 mm, which uncalibrated senders say"
    for step, count in ((row, height), (column, width)):
        if not (math.isfinite(step) and SMALLEST_MM <= step * count <= LARGEST_MM):
            return None, (
                f"by its matrix the image would be {column * width:.3g} x {row * height:.3g} mm; "
                f"expected {SMALLEST_MM:g} to {LARGEST_MM:g} mm on each side"
            )
    return (row, column), ""
