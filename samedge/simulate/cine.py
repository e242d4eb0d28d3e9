"""Loops: a scene that moves, with the truth of every frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError
from samedge.simulate.annotate import annotate
from samedge.simulate.beamform import SOUND_SPEED
from samedge.simulate.display import finish, through_jpeg
from samedge.simulate.draws import Field
from samedge.simulate.image import (
    ANNOTATION,
    SCENE,
    SPECKLE,
    Setup,
    check,
    draws_of,
    echoes,
    label_of,
    set_up,
)
from samedge.simulate.scene import Scene

CINE_KINDS = ("apical", "short-axis", "vessel", "bladder")
_SHARES = (5, 2, 1, 1)
_BREATH = 4  # cycles of the heart in which a scene must stay in view


@dataclass(frozen=True)
class SimulatedCine:
    """A loop and its truth.

    Attributes:
        images: uint8 `[T, H, W]`.
        labels: uint8 `[T, H, W]`, 1 inside the object.
        kind, target, probe: as in `SimulatedImage`.
        spacing: mm per px, (y, x).
        rate: frames per second.
        heart_rate: beats per minute.
        sector: bool `[H, W]`, the pixels that the beams reach.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    kind: str
    target: str
    probe: str
    spacing: tuple[float, float]
    rate: float
    heart_rate: float
    sector: NDArray[np.bool_]


def simulate_cine(
    seed: int,
    frames: int = 30,
    size: tuple[int, int] = (240, 320),
    kind: str | None = None,
    rate: float = 30.0,
) -> SimulatedCine:
    """One loop of a beating heart, a pulsing vessel or a bladder that moves with the breath.

    The scatterers move with the tissue and turn their phase with every half wavelength, so speckle
    follows the walls and decorrelates as they deform; blood and noise are new in every frame.
    A longer loop begins with the same frames.

    Args:
        seed: 0 or more.
        frames: 1 or more.
        size: height and width, px.
        kind: one of `CINE_KINDS`; None draws it.
        rate: frames per second.

    Raises:
        FrameError: an unknown kind, or a seed, size, number or rate that cannot be.
    """
    check(seed, size, kind)
    if kind is not None and kind not in CINE_KINDS:
        raise FrameError(f"kind '{kind}' does not move; expected one of {', '.join(CINE_KINDS)}")
    if frames < 1 or not 1 <= rate <= 500:
        raise FrameError(
            f"{frames} frames at {rate:g} per second: expected one or more, a rate of 1..500"
        )
    return draw_cine((seed,), frames, size, kind, rate)


def draw_cine(
    path: tuple[int, ...], frames: int, size: tuple[int, int], kind: str | None, rate: float
) -> SimulatedCine:
    """`simulate_cine` for a seed with further numbers."""
    draws = draws_of(path, SCENE)
    kind = kind or draws.pick(CINE_KINDS, _SHARES)
    start, heart_rate = draws.between(0, 1), draws.between(50, 110)
    moments = tuple(np.arange(0, _BREATH, 0.17).tolist())
    setup = set_up(path, draws, size, kind, moments)
    white = draws_of(path, SPECKLE).white(*_shape(setup.scene), 2)
    images = np.empty((frames, *size), np.uint8)
    labels = np.empty((frames, *size), np.uint8)
    for number in range(frames):
        time = start + number * heart_rate / 60 / rate
        images[number] = _frame(path, setup, white, number, time)
        outline = setup.scene.outline(time)
        labels[number] = label_of(outline, setup.placement, setup.converter.sector)
    return SimulatedCine(
        images,
        labels,
        kind,
        setup.scene.target,
        setup.scene.probe.kind,
        (1 / setup.placement.per_y, 1 / setup.placement.per_x),
        rate,
        heart_rate,
        setup.converter.sector,
    )


def _shape(scene: Scene) -> tuple[int, int]:
    return scene.probe.samples, scene.probe.lines


def _frame(
    path: tuple[int, ...], setup: Setup, white: Field, number: int, time: float
) -> NDArray[np.uint8]:
    fresh = draws_of(path, SPECKLE, number)
    field = moved_scatterers(white, setup.scene, time)
    medium = setup.scene.medium(time)
    grey = echoes(setup, medium, field, fresh.white(*_shape(setup.scene), 2))
    picture = finish(setup.converter.picture(grey), setup.look, fresh)
    # The same words and marks in every frame.
    notes = draws_of(path, ANNOTATION)
    annotate(picture, setup.converter.sector, setup.scene.probe, setup.placement, notes)
    return through_jpeg(picture, setup.look)


def moved_scatterers(white: Field, scene: Scene, time: float) -> Field:
    """Complex scatterers `[samples, lines, 2]` of time 0 where their tissue is now.

    A scatterer that has moved by d along the beam turns its phase by 4 pi d / wavelength. The
    nearest one is taken, since a mean of neighbours would be weaker.
    """
    probe = scene.probe
    column, row = probe.place(*scene.rest(*probe.beams(), time))
    moved = cv2.remap(white, column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    now = np.arange(probe.samples, dtype=np.float32)[:, None]
    wavelength = SOUND_SPEED / probe.frequency
    turn = (now - row) * np.float32(4 * np.pi * probe.pitch / wavelength)
    c, s = np.cos(turn), np.sin(turn)
    re, im = moved[..., 0], moved[..., 1]
    return np.stack([c * re - s * im, s * re + c * im], axis=2)
