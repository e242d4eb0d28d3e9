"""Masses in the breast, and fetal heads: what is labelled, and what it looks like to the beams."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from samedge.simulate import simulate_image
from samedge.simulate.breast import MASSES, BreastScene
from samedge.simulate.draws import Draws, generator
from samedge.simulate.head import HeadScene
from samedge.simulate.outline import grown

NEW = (*MASSES, "head")


@pytest.mark.parametrize("kind", NEW)
def test_objects_are_in_one_piece_and_in_view(kind: str) -> None:
    for seed in range(3):
        made = simulate_image(seed, (128, 128), kind)
        assert (made.kind, made.image.shape) == (kind, (128, 128))
        parts, _ = cv2.connectedComponents(made.label)
        assert parts == 2
        assert 0.005 < made.label.mean() < 0.5
        assert not (made.label.astype(bool) & ~made.sector).any()


@pytest.mark.parametrize("kind", MASSES)
def test_masses_are_darker_than_what_is_around_them(kind: str) -> None:
    darker = []
    for seed in range(6):
        scene = BreastScene(Draws(generator(seed)), kind)
        medium = scene.medium(0.0)
        outline = scene.outline(0.0)
        inside = medium.area(outline) > 0.99
        around = (medium.area(grown(outline, 4.0)) > 0.99) & ~(medium.area(outline) > 0.01)
        darker.append(float(medium.echo[around].mean() - medium.echo[inside].mean()))
    least = 0.0 if kind == "mass-isoechoic" else 3.0
    assert np.median(darker) > least


def test_shadowing_masses_lose_more_than_oval_ones() -> None:
    def loss(kind: str) -> float:
        found = []
        for seed in range(4):
            scene = BreastScene(Draws(generator(seed)), kind)
            medium = scene.medium(0.0)
            found.append(medium.loss[medium.area(scene.outline(0.0)) > 0.99].mean())
        return float(np.mean(found))

    assert loss("mass-cyst") < loss("mass-oval") < loss("mass-spiculated") < loss("mass-shadowing")


def test_the_skull_is_bright_where_it_faces_the_probe_and_dark_at_its_sides() -> None:
    facing, grazed = [], []
    for seed in range(8):
        scene = HeadScene(Draws(generator(seed)))
        medium, outline = scene.medium(0.0), scene.outline(0.0)
        ring = (medium.area(outline) > 0.5) & ~(medium.area(grown(outline, -3)) > 0.5)
        x, z = scene.probe.beams()
        middle = outline.mean(0)
        half = np.ptp(outline, axis=0) / 2
        top = ring & (np.abs(x - middle[0]) < 0.3 * half[0]) & (z < middle[1])
        side = ring & (np.abs(z - middle[1]) < 0.2 * half[1])
        facing.append(medium.mirror[top].max())
        grazed.append(medium.mirror[side].mean())
    assert np.median(facing) > 3 * np.median(grazed)


def test_a_head_is_labelled_to_the_outside_of_its_skull() -> None:
    scene = HeadScene(Draws(generator(5)))
    medium, outline = scene.medium(0.0), scene.outline(0.0)
    bright = medium.mirror > 0.5 * medium.mirror.max()
    inside = medium.area(grown(outline, 0.6)) > 0.5
    assert bright[inside].any()
    deep = medium.area(grown(outline, 3.0)) > 0.5
    assert not (bright & deep & ~inside).any()
