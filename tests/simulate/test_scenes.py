"""Scenes: outlines, and tissue that moves with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.simulate.apical import ApicalScene
from samedge.simulate.draws import Draws, generator
from samedge.simulate.heart import CHAMBERS, Heart
from samedge.simulate.lesions import LESIONS, LesionScene
from samedge.simulate.medium import Medium
from samedge.simulate.outline import area, ellipse, grown, normals
from samedge.simulate.probe import Probe
from samedge.simulate.scene import radial_rest


@settings(max_examples=20)
@given(seed=st.integers(0, 100_000))
def test_ventricles_shrink_and_atria_grow_as_the_heart_contracts(seed: int) -> None:
    heart = Heart.draw(Draws(generator(seed)))
    for name in CHAMBERS:
        before, after = (abs(area(heart.chamber(name, squeeze))) for squeeze in (0.0, 1.0))
        assert before > 100
        assert (after < before) == ("ventricle" in name)


@settings(max_examples=20)
@given(seed=st.integers(0, 100_000), squeeze=st.floats(0, 1))
def test_chambers_do_not_overlap(seed: int, squeeze: float) -> None:
    import cv2

    heart = Heart.draw(Draws(generator(seed)))
    count = np.zeros((1000, 1000), np.uint8)
    for name in CHAMBERS:
        mask = np.zeros_like(count)
        corners = heart.chamber(name, squeeze) * 4 + (600, 60)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
        count += mask
    assert (count > 1).sum() < 0.02 * (count > 0).sum()


@pytest.mark.parametrize("target", CHAMBERS)
def test_the_wanted_chamber_is_labelled(target: str) -> None:
    scene = ApicalScene(Draws(generator(2)), target)
    assert scene.target == target
    assert np.isfinite(scene.outline(0.3)).all()


def test_tissue_was_elsewhere_before_the_heart_contracted() -> None:
    scene = ApicalScene(Draws(generator(8)))
    x, z = scene.probe.beams()
    still = scene.rest(x, z, 0.0)
    assert np.abs(still[0] - x).max() < 1e-3
    assert np.abs(still[1] - z).max() < 1e-3
    moved = scene.rest(x, z, 0.34)
    shift = np.hypot(moved[0] - x, moved[1] - z)
    assert 2 < shift.max() < 40


@settings(max_examples=30)
@given(size=st.floats(0.5, 1.2), half=st.floats(3, 40))
def test_rings_keep_their_area(size: float, half: float) -> None:
    away = np.linspace(half * size * 1.01, half * 3, 50, dtype=np.float32)
    x, _ = radial_rest(away, np.zeros_like(away), (0.0, 0.0), half, size)
    assert x**2 - half**2 == pytest.approx(away**2 - (half * size) ** 2, rel=1e-2, abs=0.5)
    border, _ = radial_rest(
        np.asarray([half * size], np.float32), np.zeros(1, np.float32), (0.0, 0.0), half, size
    )
    assert border[0] == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize("kind", LESIONS)
def test_lesions_lie_in_the_beams_and_change_the_echo(kind: str) -> None:
    scene = LesionScene(Draws(generator(31)), kind)
    medium = scene.medium(0.0)
    inside = medium.area(scene.outline(0.0)) > 0.99
    assert inside.any()
    low, high = LESIONS[kind].loss
    if kind not in ("hyperechoic", "hypoechoic", "complex", "faint"):  # others may have spots
        assert low - 0.01 <= np.median(medium.loss[inside]) <= high + 0.01
    for field in (medium.echo, medium.loss, medium.mirror, medium.flow):
        assert field.dtype == np.float32
        assert np.isfinite(field).all()


def test_outlines() -> None:
    circle = ellipse(3, 40, 10, 10)
    assert abs(area(circle)) == pytest.approx(np.pi * 100, rel=2e-3)
    assert circle.mean(0) == pytest.approx((3, 40), abs=1e-6)
    assert abs(area(grown(circle, 2))) == pytest.approx(np.pi * 144, rel=3e-3)
    assert abs(area(grown(circle[::-1], 2))) == pytest.approx(np.pi * 144, rel=3e-3)
    assert np.hypot(*normals(circle).T) == pytest.approx(1)


def test_mirrors_along_the_beam_are_weak() -> None:
    medium = Medium.of(Probe("linear", 0.0, 20.0, 50.0, 7.0))
    ring = medium.stroke(ellipse(0, 25, 10, 10), 1.0, floor=0.1, closed=True)
    top, side = ring[110:130, 70:74].max(), ring[195:205, 100:115].max()
    assert top > 0.8
    assert side < 0.3
