"""Loops: a scene that moves, with the truth of every frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError
from samedge.progress import Progress, Step, silent
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
from samedge.simulate.plain import PlainScene
from samedge.simulate.scene import Scene

CINE_KINDS = ("apical", "short-axis", "vessel", "bladder")
MOST_IN_A_BEAT = 160  # frames of a loop that closes
_PERIOD = {"bladder": 4}  # cycles of the heart after which a scene begins again; else 1
_PLAIN_FRAMES = 16
_SHARES = (5, 2, 1, 1)
_BREATH = 4  # cycles of the heart in which a scene must stay in view


@dataclass(frozen=True, eq=False, repr=False)
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
    check_cine(seed, size, kind, rate)
    if frames < 1:
        raise FrameError(f"{frames} frames: expected one or more")
    return draw_cine((seed,), frames, size, kind, rate)


def check_cine(seed: int, size: tuple[int, int], kind: str | None, rate: float) -> None:
    """Refuse loops that cannot be simulated.

    Raises:
        FrameError: says what came and what is expected.
    """
    check(seed, size, kind)
    if kind is not None and kind not in CINE_KINDS:
        raise FrameError(f"kind '{kind}' does not move; expected one of {', '.join(CINE_KINDS)}")
    if not 1 <= rate <= 500:
        raise FrameError(f"a rate of {rate:g} per second: expected 1 to 500")


def draw_cine(
    path: tuple[int, ...], frames: int, size: tuple[int, int], kind: str | None, rate: float
) -> SimulatedCine:
    """`simulate_cine` for a seed with further numbers."""
    loop, start, setup = _begin(path, size, kind, rate)
    times = [start + number * loop.heart_rate / 60 / rate for number in range(frames)]
    images, labels = _frames(path, setup, times, silent)
    return replace(loop, images=images, labels=labels)


@dataclass(frozen=True, eq=False, repr=False)
class Beat:
    """A loop that can be repeated without a seam, and what the same probe shows elsewhere.

    Attributes:
        cine: one cycle of the heart, of a bladder one breath.
        plain: uint8 `[P, H, W]`, the same machine on tissue without the object; closes as well.
    """

    cine: SimulatedCine
    plain: NDArray[np.uint8]


def simulate_beat(
    seed: int,
    size: tuple[int, int] = (240, 320),
    kind: str | None = None,
    rate: float = 30.0,
    plain: bool = False,
    progress: Progress = silent,
) -> Beat:
    """One cycle of the loop that `simulate_cine` simulates, rounded to whole frames so that the
    first one follows the last.

    It has `MOST_IN_A_BEAT` frames at most: at rates that would need more the heart beats faster
    than it says.

    Args:
        seed, size, kind, rate: as for `simulate_cine`.
        plain: simulate the tissue without the object as well.
        progress: told the frames that are done.

    Raises:
        FrameError: as `simulate_cine`.
    """
    check_cine(seed, size, kind, rate)
    path = (seed,)
    loop, start, setup = _begin(path, size, kind, rate)
    cycles = _PERIOD.get(loop.kind, 1)
    count = min(max(round(cycles * 60 / loop.heart_rate * rate), 2), MOST_IN_A_BEAT)
    times = [start + cycles * number / count for number in range(count)]
    images, labels = _frames(path, setup, times, progress)
    elsewhere = np.empty((0, *size), np.uint8)
    if plain:
        scene = PlainScene(draws_of(path, SCENE, 1), setup.scene.probe)
        moments = [4 * number / _PLAIN_FRAMES for number in range(_PLAIN_FRAMES)]
        elsewhere, _ = _frames((*path, 1), replace(setup, scene=scene), moments, progress, path)
    return Beat(replace(loop, images=images, labels=labels), elsewhere)


def _begin(
    path: tuple[int, ...], size: tuple[int, int], kind: str | None, rate: float
) -> tuple[SimulatedCine, float, Setup]:
    """A loop without its frames, the time at which it starts, and what it is made with."""
    draws = draws_of(path, SCENE)
    kind = kind or draws.pick(CINE_KINDS, _SHARES)
    start, heart_rate = draws.between(0, 1), draws.between(50, 110)
    setup = set_up(path, draws, size, kind, tuple(np.arange(0, _BREATH, 0.17).tolist()))
    none = np.empty((0, *size), np.uint8)
    spacing = (1 / setup.placement.per_y, 1 / setup.placement.per_x)
    scene, sector = setup.scene, setup.converter.sector
    target, probe = scene.target, scene.probe.kind
    loop = SimulatedCine(none, none, kind, target, probe, spacing, rate, heart_rate, sector)
    return loop, start, setup


def _frames(
    path: tuple[int, ...],
    setup: Setup,
    times: list[float],
    progress: Progress,
    marks: tuple[int, ...] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures and labels `[T, H, W]` at times in heart cycles; `marks` is the path of the words
    around them, where they are not their own."""
    white = draws_of(path, SPECKLE).white(*_shape(setup.scene), 2)
    size = setup.placement.size
    images, labels = (np.empty((len(times), *size), np.uint8) for _ in range(2))
    for number, time in enumerate(times):
        images[number] = _frame(path, setup, white, number, time, marks or path)
        labels[number] = label_of(
            setup.scene.outline(time), setup.placement, setup.converter.sector
        )
        progress(Step("simulating a loop", number + 1, len(times)))
    return images, labels


def _shape(scene: Scene) -> tuple[int, int]:
    return scene.probe.samples, scene.probe.lines


def _frame(
    path: tuple[int, ...],
    setup: Setup,
    white: Field,
    number: int,
    time: float,
    marks: tuple[int, ...],
) -> NDArray[np.uint8]:
    fresh = draws_of(path, SPECKLE, number)
    field = moved_scatterers(white, setup.scene, time)
    medium = setup.scene.medium(time)
    grey = echoes(setup, medium, field, fresh.white(*_shape(setup.scene), 2))
    picture = finish(setup.converter.picture(grey), setup.look, fresh)
    # The same words and marks in every frame.
    notes = draws_of(marks, ANNOTATION)
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
