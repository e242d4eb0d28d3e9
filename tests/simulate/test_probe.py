"""Beams, pictures and the way between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samedge.simulate.display import Converter
from samedge.simulate.draws import Draws, generator
from samedge.simulate.probe import KINDS, Kind, draw_placement, draw_probe


@settings(max_examples=30)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10_000))
def test_place_undoes_beams(kind: Kind, seed: int) -> None:
    probe = draw_probe(Draws(generator(seed)), kind, (30, 180))
    column, row = probe.place(*probe.beams())
    assert np.abs(column - np.arange(probe.lines)[None]).max() < 0.02
    assert np.abs(row - np.arange(probe.samples)[:, None]).max() < 0.05


@settings(max_examples=30)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 10_000),
    size=st.sampled_from([(256, 256), (240, 320), (199, 301)]),
)
def test_pixels_and_body_agree(kind: Kind, seed: int, size: tuple[int, int]) -> None:
    draws = Draws(generator(seed))
    probe = draw_probe(draws, kind, (30, 180))
    placement = draw_placement(draws, probe, size)
    x, z = placement.body()
    assert x.shape == z.shape == size
    corner = np.asarray([[x[7, 11], z[7, 11]]], np.float64)
    assert placement.pixels(corner)[0] == pytest.approx((11, 7), abs=1e-2)
    sector = Converter.of(probe, placement).sector
    assert 0.1 < sector.mean() <= 1


def test_sectors_leave_black_corners_and_linear_beams_none_of_their_own() -> None:
    for kind in KINDS:
        draws = Draws(generator(4))
        probe = draw_probe(draws, kind, (60, 100))
        x0, z0, x1, z1 = probe.extent()
        column, row = probe.place(
            np.asarray([x0 + 0.1, x1 - 0.1], np.float32), np.asarray([z0 + 0.1] * 2, np.float32)
        )
        outside = (column < 0) | (column > probe.lines - 1) | (row < -0.5)
        assert outside.all() == (kind != "linear")
        assert z1 == probe.depth
