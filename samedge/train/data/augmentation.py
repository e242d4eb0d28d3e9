"""Samples turned, moved and lit differently, as the original projects do it in training.

Geometry is MONAI's, on image and label with one and the same grid. Grey levels follow SAMUS's own
arithmetic (8-bit tables): MONAI's gamma and contrast refer to an image's own extremes instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import radians
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge._optional import require
from samedge.errors import ModelError
from samedge.train.data.machines import other_machine, windowed
from samedge.train.data.samples import Sample

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """What is done to a sample, and how likely.

    Attributes:
        name: of the augmentation.
        p_gamma, gamma: `255 (v / 255) ** (1 / g)`, g in tenths from the first to below the second.
        p_turn: quarter turns, with a flip along a random axis.
        p_flip_x, p_flip_y: left-right, up-down.
        p_rotate, degrees: about the centre, up to so many degrees either way; not after `p_turn`.
        p_scale, scale: enlarged up to so many times, and a random window of the old size cut out.
        p_noise, noise: Gaussian, standard deviation in grey levels from the first to below the
            second.
        p_contrast, contrast: factor by which grey levels move away from their mean.
        box_jitter: how far the sides of a box prompt move outwards, in sides of the network input.
        p_window, p_machine: another window, another machine (`samedge.train.data.machines`).
    """

    name: str
    p_gamma: float = 0.0
    gamma: tuple[float, float] = (1.0, 2.5)
    p_turn: float = 0.0
    p_flip_x: float = 0.0
    p_flip_y: float = 0.0
    p_rotate: float = 0.0
    degrees: float = 30.0
    p_scale: float = 0.0
    scale: float = 1.3
    p_noise: float = 0.0
    noise: tuple[int, int] = (3, 15)
    p_contrast: float = 0.0
    contrast: tuple[float, float] = (0.8, 2.0)
    box_jitter: float = 0.0
    p_window: float = 0.0
    p_machine: float = 0.0


NONE = Augmentation("none")
# SAMUS's train.py switches flips and noise off, and has them in its code.
SAMUS = Augmentation("samus", p_gamma=0.5, p_rotate=0.5, p_scale=0.5, p_contrast=0.5)
# Half of the images are turned and flipped, half of the rest rotated.
SAMED = Augmentation("samed", p_turn=0.5, p_rotate=0.5, degrees=20.0)
MEDSAM = Augmentation("medsam", p_flip_x=0.5, p_flip_y=0.5, box_jitter=20 / 1024)
# samedge's own, for networks that start from scratch.
STRONG = Augmentation(
    "strong", p_gamma=0.3, p_flip_x=0.5, p_flip_y=0.08, p_contrast=0.3, p_window=0.35, p_machine=0.3
)
# Medical SAM Adapter trains on the images as they are.
AUGMENTATIONS: dict[str, Augmentation] = {r.name: r for r in (NONE, SAMUS, SAMED, MEDSAM, STRONG)}
_OF_FAMILY = {
    "samus": SAMUS,
    "autosamus": SAMUS,
    "samed": SAMED,
    "medsam": MEDSAM,
    "sam": MEDSAM,
    "mobile_sam": MEDSAM,
    "litemedsam": MEDSAM,
    "msa": NONE,
    "msa_3d": NONE,
}


def augmentation_of(family: str) -> Augmentation:
    """What a family's authors trained with (SAM: MedSAM's, its usual fine-tuning).

    Raises:
        ModelError: there is no such family.
    """
    if family not in _OF_FAMILY:
        raise ModelError(f"there is no augmentation for '{family}'; known: {', '.join(_OF_FAMILY)}")
    return _OF_FAMILY[family]


def augment(sample: Sample, augmentation: Augmentation, rng: np.random.Generator) -> Sample:
    """A sample as `augmentation` and the random numbers make it; sizes stay, but for quarter turns.

    Args:
        sample: is not changed.
        augmentation: what may be done.
        rng: the same state gives the same sample.

    Raises:
        MissingDependencyError: MONAI is not installed, and the augmentation turns or moves.
    """
    image, label = sample.image, sample.label
    if rng.random() < augmentation.p_gamma:
        low, high = (round(10 * g) for g in augmentation.gamma)
        image = gamma(image, rng.integers(low, high) / 10)
    image, label = _turned(image, label, augmentation, rng)
    if rng.random() < augmentation.p_noise:
        deviation = int(rng.integers(*augmentation.noise))
        noise = (rng.standard_normal(label.shape) * deviation).astype(np.int64)
        noisy = image + (noise if image.ndim == 2 else noise[..., None])
        image = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < augmentation.p_contrast:
        image = contrast(image, rng.uniform(*augmentation.contrast))
    # Only where they are asked for: the others' random numbers stay what they were.
    if augmentation.p_window and rng.random() < augmentation.p_window:
        image, label = windowed(image, label, rng)
    if augmentation.p_machine and rng.random() < augmentation.p_machine:
        image = other_machine(image, rng)
    return replace(sample, image=image, label=label)


def gamma(image: Image, g: float) -> Image:
    """Brightened by the exponent `1 / g`, cut off to whole grey levels.

    Args:
        image: uint8, any shape.
        g: above 0; larger is brighter.
    """
    levels = np.arange(256) / 255
    table = (np.power(levels, 1.0 / g) * 255).astype(np.uint8)
    return np.asarray(table[image], np.uint8)


def contrast(image: Image, factor: float) -> Image:
    """Grey levels moved away from their mean, as Pillow's `ImageEnhance.Contrast`.

    Args:
        image: uint8 `[H, W]`, or `[H, W, 3]` (whose mean is that of the three channels).
        factor: 1 changes nothing, 0 leaves the mean.
    """
    mean = int(image.mean() + 0.5)
    moved = mean + np.float32(factor) * (np.arange(256, dtype=np.float32) - np.float32(mean))
    table = np.clip(moved, 0, 255).astype(np.uint8)
    return np.asarray(table[image], np.uint8)


def _turned(
    image: Image, label: Image, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Image, Image]:
    """Quarter turns, flips, rotation and zoom."""
    turned = rng.random() < augmentation.p_turn
    if turned:
        turns, axis = int(rng.integers(0, 4)), int(rng.integers(0, 2))
        image, label = _rigid(image, label, turns, [axis])
    flips = [rng.random() < p for p in (augmentation.p_flip_y, augmentation.p_flip_x)]
    if any(flips):
        image, label = _rigid(image, label, 0, [axis for axis in (0, 1) if flips[axis]])
    rotated = rng.random() < augmentation.p_rotate and not turned
    angle = rng.uniform(-augmentation.degrees, augmentation.degrees) if rotated else 0.0
    scaled = rng.random() < augmentation.p_scale
    scale = rng.uniform(1, augmentation.scale) if scaled else 1.0
    if not rotated and not scaled:
        return image, label
    # The window that is cut out of the enlarged image: anywhere in it.
    room = np.array(label.shape) * (1 - 1 / scale) / 2
    shift = rng.uniform(-room, room) if scaled else np.zeros(2)
    return _resampled(image, label, angle, scale, shift)


def _rigid(image: Image, label: Image, turns: int, axes: Sequence[int]) -> tuple[Image, Image]:
    """Quarter turns, then flips; no pixel changes."""
    transforms = _monai()
    steps = [transforms.Flip(list(axes))]
    if turns:
        steps.insert(0, transforms.Rotate90(turns))

    def apply(array: Image) -> Image:
        planes = _planes(array)
        for step in steps:
            planes = step(planes)
        return _pixels(planes, array)

    return apply(image), apply(label)


def _resampled(
    image: Image, label: Image, angle: float, scale: float, shift: NDArray[np.float64]
) -> tuple[Image, Image]:
    """Rotation about the centre and a window of an enlarged image, in one interpolation.

    Outside is black, and background.
    """
    transforms = _monai()
    make = transforms.AffineGrid(
        rotate_params=radians(angle),
        translate_params=tuple(shift.tolist()),
        scale_params=(1 / scale, 1 / scale),
    )
    grid, _ = make(label.shape)
    resample = transforms.Resample(padding_mode="zeros")
    return (
        _pixels(resample(_planes(image), grid=grid, mode="bilinear"), image),
        _pixels(resample(_planes(label), grid=grid, mode="nearest"), label),
    )


def _monai() -> Any:
    return require("monai.transforms", extra="train", what="augmentation")


def _planes(array: Image) -> NDArray[np.float32]:
    """`[H, W]` or `[H, W, C]` -> float32 `[C, H, W]`."""
    return np.ascontiguousarray(np.moveaxis(np.atleast_3d(array), 2, 0), np.float32)


def _pixels(planes: Any, like: Image) -> Image:
    """Back to uint8, with as many axes as `like`."""
    levels = np.clip(np.rint(np.moveaxis(np.asarray(planes), 0, 2)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels if like.ndim == 3 else levels[..., 0])
