"""What every scene offers, and the tissue that all of them lie in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from samedge.simulate.draws import Draws, Field
from samedge.simulate.medium import Medium
from samedge.simulate.outline import Points
from samedge.simulate.probe import Probe


class Scene(Protocol):
    """One anatomy. All of its randomness is drawn when it is made; time only moves it.

    Attributes:
        kind: its name, as in `samedge.simulate.KINDS`.
        probe: that looks at it.
        dark: whether machines show it with little gain.
        target: name of the object that is labelled ("lesion", "left ventricle").
    """

    @property
    def kind(self) -> str: ...

    @property
    def probe(self) -> Probe: ...

    @property
    def dark(self) -> bool: ...

    @property
    def target(self) -> str: ...

    def outline(self, time: float) -> Points:
        """The labelled object's border at a time in heart cycles, mm `[N, 2]`."""
        ...

    def medium(self, time: float) -> Medium:
        """What the beams meet at a time in heart cycles."""
        ...

    def rest(self, x: Field, z: Field, time: float) -> tuple[Field, Field]:
        """Where the tissue that is at (x, z) mm now was at time 0."""
        ...


@dataclass(frozen=True)
class Texture:
    """Unevenness of the tissue, dB `[samples, lines]`: clumps, and streaks across the beams."""

    clumps: Field
    streaks: Field

    @classmethod
    def draw(cls, draws: Draws, probe: Probe) -> Texture:
        """Textures for a probe's beams."""
        shape = (probe.samples, probe.lines)
        clumps = draws.smooth(shape, (draws.between(4, 9), draws.between(3, 8)))
        streaks = draws.smooth(shape, (draws.between(40, 110), draws.between(4, 16)))
        return cls(clumps, streaks)

    def moved(self, scene: Scene, time: float) -> Texture:
        """The textures where the tissue is now."""
        return Texture(
            self.follow(self.clumps, scene, time), self.follow(self.streaks, scene, time)
        )

    def follow(self, field: Field, scene: Scene, time: float) -> Field:
        """A field of time 0 where the tissue is now."""
        column, row = scene.probe.place(*scene.rest(*scene.probe.beams(), time))
        moved = cv2.remap(field, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(moved, np.float32)


def layers(draws: Draws, medium: Medium, until: float, texture: Texture) -> None:
    """Skin, fat and muscle: layers with bright borders, from the probe down to `until` mm.

    Below, the last layer goes on.
    """
    probe = medium.probe
    depth = ((np.arange(probe.samples, dtype=np.float32) + 0.5) * probe.pitch)[:, None]
    count = draws.integer(1, 4)
    places = np.sort(draws.rng.uniform(0.06, 1.0, count)) * until
    wander = draws.between(0.01, 0.05) * until
    streaky = draws.between(0.4, 3.2)
    medium.echo += draws.normal(2.0) + streaky * texture.streaks
    for place in places:
        border = np.float32(place) + wander * draws.curve(probe.lines, draws.between(1, 5))[None]
        below = np.clip((depth - border) / np.float32(2 * probe.pitch), 0, 1)
        medium.echo += below * np.float32(draws.between(-7, 6))
        if draws.chance(0.7):
            ridge = np.maximum(1 - np.abs(depth - border) / np.float32(draws.between(0.3, 0.9)), 0)
            patchy = np.maximum(1 + 0.8 * draws.curve(probe.lines, 8), 0)[None]
            medium.shine(ridge * patchy, draws.between(0.8, 4))
    skin = np.maximum(1 - depth / np.float32(draws.between(0.8, 2.4)), 0)
    medium.shine(np.broadcast_to(skin, medium.mirror.shape), draws.between(1, 5))


def keep_out(x: float, z: float, reach: float, others: list[tuple[float, float, float]]) -> bool:
    """Whether a circle stays clear of others, each (x, z, radius) in mm."""
    return all(np.hypot(x - ox, z - oz) > reach + radius for ox, oz, radius in others)


def radial_rest(
    x: Field, z: Field, middle: tuple[float, float], half: float, size: float
) -> tuple[Field, Field]:
    """Where tissue around a round cavity was before the cavity's radius became `size` times `half`.

    Inside the cavity everything scales; outside rings keep their area, as tissue does that cannot
    be compressed, so the motion falls off with the distance.
    """
    dx, dz = x - np.float32(middle[0]), z - np.float32(middle[1])
    away = np.maximum(np.hypot(dx, dz), np.float32(1e-3))
    now = np.float32(half * size)
    outside = np.sqrt(np.maximum(away * away + np.float32(half * half * (1 - size * size)), 0))
    factor = np.where(away < now, np.float32(1 / size), outside / away)
    return (
        np.asarray(np.float32(middle[0]) + dx * factor, np.float32),
        np.asarray(np.float32(middle[1]) + dz * factor, np.float32),
    )


def breathe(amount: float, time: float) -> tuple[float, float]:
    """Shift (x, z) in mm by a breath that takes four heart cycles."""
    wave = np.sin(2 * np.pi * time / 4)
    return float(0.3 * amount * wave), float(amount * wave)


def breathed(x: Field, z: Field, amount: float, time: float) -> tuple[Field, Field]:
    """Where points of a scene that breathing alone moves were at rest, in mm; see `Scene.rest`."""
    dx, dz = breathe(amount, time)
    return x - np.float32(dx), z - np.float32(dz)
