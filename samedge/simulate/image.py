"""One picture with its truth: a scene, seen by a probe, shown by a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from samedge.errors import FrameError
from samedge.simulate.annotate import annotate
from samedge.simulate.apical import ApicalScene
from samedge.simulate.beamform import (
    Chain,
    Pulse,
    clutter_power,
    draw_chain,
    draw_pulse,
    envelope,
    through_pulse,
    tissue_amplitude,
)
from samedge.simulate.bladder import BladderScene
from samedge.simulate.breast import MASSES, BreastScene
from samedge.simulate.display import Converter, Look, compress, draw_look, finish, through_jpeg
from samedge.simulate.draws import Draws, Field, generator
from samedge.simulate.head import HeadScene
from samedge.simulate.lesions import LESIONS, LesionScene
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points
from samedge.simulate.probe import Placement, Probe, draw_placement
from samedge.simulate.scene import Scene
from samedge.simulate.short_axis import ShortAxisScene
from samedge.simulate.vessel import VesselScene

MIN_SIDE, MAX_SIDE, MAX_RATIO = 32, 2048, 2.5
_TRIES = 60
_SHIFT = 6
# Shares of the whole picture that a labelled object may cover.
_LEAST, _MOST = 0.006, 0.45
_INSIDE = 0.88  # share of the object that the beams must reach
# Which numbers a part of an image is drawn from: changing one part leaves the others as they are.
SCENE, MACHINE, SPECKLE, ANNOTATION = range(4)


@dataclass(frozen=True)
class SimulatedImage:
    """A picture and its truth.

    Attributes:
        image: uint8 `[H, W]`.
        label: uint8 `[H, W]`, 1 inside the object.
        kind: "cyst", "apical", ...
        target: what the object is: "lesion", "left ventricle", ...
        probe: "linear", "convex" or "sector".
        spacing: mm per px, (y, x).
        sector: bool `[H, W]`, the pixels that the beams reach.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    kind: str
    target: str
    probe: str
    spacing: tuple[float, float]
    sector: NDArray[np.bool_]


@dataclass(frozen=True)
class Setup:
    """Everything about a picture or loop that time does not change."""

    scene: Scene
    placement: Placement
    converter: Converter
    pulse: Pulse
    chain: Chain
    look: Look


_SCENES: dict[str, Callable[[Draws], Scene]] = {
    **{kind: partial(LesionScene, kind=kind) for kind in LESIONS},
    "apical": ApicalScene,
    "short-axis": ShortAxisScene,
    "vessel": VesselScene,
    "bladder": BladderScene,
    **{kind: partial(BreastScene, kind=kind) for kind in MASSES},
    "head": HeadScene,
}
KINDS = tuple(_SCENES)


def simulate_image(
    seed: int, size: tuple[int, int] = (256, 256), kind: str | None = None
) -> SimulatedImage:
    """One synthetic B-mode picture with the outline of one object.

    The same arguments give the same bytes with the same versions of numpy and OpenCV.

    Args:
        seed: 0 or more.
        size: height and width, px.
        kind: one of `KINDS`; None draws it.

    Raises:
        FrameError: an unknown kind, a negative seed, or a size that is too small or too large.
    """
    check(seed, size, kind)
    return draw_image((seed,), size, kind)


def draw_image(path: tuple[int, ...], size: tuple[int, int], kind: str | None) -> SimulatedImage:
    """`simulate_image` for a seed with further numbers: of the split, of the image."""
    setup, time = setup_of(path, size, kind)
    medium = setup.scene.medium(time)
    white = draws_of(path, SPECKLE).white(*medium.echo.shape, 2)
    return shown(path, setup, time, setup.converter, echoes(setup, medium, white))


def shown(
    path: tuple[int, ...], setup: Setup, time: float, converter: Converter, grey: Field
) -> SimulatedImage:
    """The picture of grey beams `[samples, lines]`, with a machine's marks, and its truth."""
    scene, placement = setup.scene, setup.placement
    notes = draws_of(path, ANNOTATION)
    picture = finish(converter.picture(grey), setup.look, notes)
    annotate(picture, converter.sector, scene.probe, placement, notes)
    return SimulatedImage(
        through_jpeg(picture, setup.look),
        label_of(scene.outline(time), placement, converter.sector),
        scene.kind,
        scene.target,
        scene.probe.kind,
        (1 / placement.per_y, 1 / placement.per_x),
        converter.sector,
    )


def draws_of(path: tuple[int, ...], part: int, *more: int) -> Draws:
    """What one part of an image is drawn with: `SCENE`, `MACHINE`, `SPECKLE` or `ANNOTATION`."""
    return Draws(generator(*path, part, *more))


def setup_of(path: tuple[int, ...], size: tuple[int, int], kind: str | None) -> tuple[Setup, float]:
    """The setup of a single image, and the time in heart cycles at which it is taken."""
    draws = draws_of(path, SCENE)
    kind = kind or draws.pick(KINDS)
    time = draws.between(0, 1)
    return set_up(path, draws, size, kind, (time,)), time


def set_up(
    path: tuple[int, ...],
    draws: Draws,
    size: tuple[int, int],
    kind: str,
    times: tuple[float, ...],
) -> Setup:
    """Draw scenes until the object is well in view at all the times, then a machine for it."""
    for _ in range(_TRIES):
        scene = _SCENES[kind](draws)
        placement = draw_placement(draws, scene.probe, size)
        if all(_in_view(scene.outline(t), scene.probe, placement) for t in times):
            break
    else:
        raise AssertionError(f"no {kind} came into view in {_TRIES} tries: its ranges are wrong")
    machine = draws_of(path, MACHINE)
    converter = Converter.of(scene.probe, placement)
    pulse, chain = draw_pulse(machine, scene.probe), draw_chain(machine, scene.probe, scene.dark)
    return Setup(scene, placement, converter, pulse, chain, draw_look(machine, scene.dark))


def _in_view(outline: Points, probe: Probe, placement: Placement) -> bool:
    """Whether the beams and the picture hold most of an outline, at a size that can be clicked."""
    column, row = probe.place(outline[:, 0].astype(np.float32), outline[:, 1].astype(np.float32))
    x, y = placement.pixels(outline).T
    height, width = placement.size
    inside = (column > 0) & (column < probe.lines - 1) & (row > 0) & (row < probe.samples - 1)
    inside &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    share = cv2.contourArea(np.stack([x, y], 1).astype(np.float32)) / (height * width)
    return bool(inside.mean() >= _INSIDE and _LEAST <= share <= _MOST)


def echoes(setup: Setup, medium: Medium, white: Field, fresh: Field | None = None) -> Field:
    """Grey 0..1 `[samples, lines]` of what the beams meet.

    Args:
        setup: the machine.
        medium: what the beams meet.
        white: complex scatterers, standard normal `[samples, lines, 2]`.
        fresh: others for what changes from frame to frame: blood, noise; None: the same.
    """
    tissue, mirror = tissue_amplitude(medium, setup.chain)
    other = clutter_power(medium, setup.chain, tissue, mirror)
    if fresh is None:
        field = white * np.sqrt(tissue * tissue + other)[..., None]
    else:
        still = tissue * np.sqrt(np.maximum(1 - medium.flow, 0))
        moving = np.sqrt(tissue * tissue * medium.flow + other)
        field = white * still[..., None] + fresh * moving[..., None]
    field[..., 0] += mirror
    return compress(envelope(through_pulse(field, setup.pulse)) * np.float32(0.5**0.5), setup.look)


def label_of(outline: Points, placement: Placement, sector: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """uint8 `[H, W]`: 1 where an outline in mm is seen by the beams."""
    label = np.zeros(placement.size, np.uint8)
    corners = np.rint(placement.pixels(outline) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(label, [corners], 1, cv2.LINE_8, _SHIFT)
    return np.where(sector, label, np.uint8(0))


def check(seed: int, size: tuple[int, int], kind: str | None) -> None:
    """Refuse what cannot be simulated.

    Raises:
        FrameError: says what came and what is expected.
    """
    if seed < 0:
        raise FrameError(f"seed {seed}: expected 0 or more")
    if len(size) != 2 or not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise FrameError(
            f"size {tuple(size)}: expected height and width from {MIN_SIDE} to {MAX_SIDE} px"
        )
    if max(size) > MAX_RATIO * min(size):
        raise FrameError(
            f"size {tuple(size)}: expected sides that differ by a factor of {MAX_RATIO} at most"
        )
    if kind is not None and kind not in KINDS:
        raise FrameError(f"kind '{kind}' is unknown; expected one of {', '.join(KINDS)}")
