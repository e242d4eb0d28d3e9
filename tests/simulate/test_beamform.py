"""Speckle, attenuation, shadows and enhancement behave as in textbooks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from samedge.simulate.draws import Draws, generator
from samedge.simulate.medium import Medium
from samedge.simulate.outline import ellipse
from samedge.simulate.probe import Probe

LINEAR = Probe("linear", 0.0, 20.0, 50.0, 7.0)


def flat_chain(probe: Probe, noise: float = -200.0) -> Chain:
    """No gain errors, no clutter."""
    zeros = np.zeros(probe.samples, np.float32), np.zeros(probe.lines, np.float32)
    return Chain(*zeros, noise, -200.0, -200.0, 20, (-200.0, 10.0))


def rows(pulse: float, first: float, last: float) -> Pulse:
    return Pulse(pulse, np.linspace(first, last, LINEAR.samples, dtype=np.float32))


@settings(max_examples=10)
@given(
    axial=st.floats(0.8, 3.0),
    first=st.floats(0.7, 3.0),
    last=st.floats(0.7, 3.0),
    seed=st.integers(0, 1000),
)
def test_homogeneous_tissue_is_rayleigh_speckle(
    axial: float, first: float, last: float, seed: int
) -> None:
    white = Draws(generator(seed)).white(LINEAR.samples, LINEAR.lines, 2)
    seen = envelope(through_pulse(white, rows(axial, first, last)))
    # Mean over standard deviation of a Rayleigh variable: sqrt(pi / (4 - pi)) = 1.913.
    assert abs(seen.mean() / seen.std() - 1.913) < 0.12
    # Whatever its width, the pulse keeps the power of the noise at every depth.
    power = (seen**2).mean(axis=1).reshape(4, -1).mean(axis=1) / 2
    assert np.all(np.abs(power - 1) < 0.25)


def test_beams_are_wider_away_from_the_focus() -> None:
    white = Draws(generator(3)).white(LINEAR.samples, LINEAR.lines, 2)
    seen = envelope(through_pulse(white, rows(1.5, 0.8, 3.0)))

    def likeness(part: np.ndarray) -> float:
        return float(np.corrcoef(part[:, :-2].ravel(), part[:, 2:].ravel())[0, 1])

    assert likeness(seen[300:]) > likeness(seen[:100]) + 0.2


def test_time_gain_undoes_the_loss_of_average_tissue() -> None:
    tissue, mirror = tissue_amplitude(Medium.of(LINEAR), flat_chain(LINEAR))
    assert tissue == pytest.approx(1.0, abs=1e-3)
    assert not mirror.any()


@pytest.mark.parametrize("loss", [0.0, 0.2, 0.8, 1.2])
def test_shadows_and_enhancement_follow_from_attenuation(loss: float) -> None:
    medium = Medium.of(LINEAR)
    inside = medium.area(ellipse(0, 15, 6, 4))
    medium.fill(inside, 0.0, loss)
    tissue, _ = tissue_amplitude(medium, flat_chain(LINEAR))
    row, middle = round(35 / LINEAR.pitch), LINEAR.lines // 2
    behind = 20 * np.log10(tissue[row, middle] / tissue[row, 3])
    # 8 mm thick, there and back, at 7 MHz.
    assert behind == pytest.approx(-(loss - 0.5) * 7 * 0.8 * 2, abs=0.4)


def test_noise_grows_with_depth_and_haze_fills_cavities() -> None:
    medium = Medium.of(LINEAR)
    medium.fill(medium.area(ellipse(0, 25, 8, 8)), -90.0)
    tissue, mirror = tissue_amplitude(medium, flat_chain(LINEAR))
    noise = clutter_power(medium, flat_chain(LINEAR, noise=-60.0), tissue, mirror)
    assert np.all(np.diff(noise[::40, 0]) > 0)
    quiet = flat_chain(LINEAR)
    hazy = Chain(quiet.gain, quiet.contact, -200, -20, -200, 20, (-200, 10))
    haze = clutter_power(medium, hazy, tissue, mirror)
    centre = haze[LINEAR.samples // 2, LINEAR.lines // 2]
    assert 1e-5 < centre < 0.8 * haze[350, 10]


def test_what_is_near_the_probe_comes_again_deeper_down() -> None:
    medium = Medium.of(LINEAR)
    medium.mirror[40:43] = 30
    quiet = flat_chain(LINEAR)
    chain = Chain(quiet.gain, quiet.contact, -200, -200, -20, 60, (-200, 10))
    other = clutter_power(medium, chain, *tissue_amplitude(medium, chain))
    profile = other[:, 70]
    assert profile[101] > 20 * profile[85]
    assert profile[161] > 3 * profile[145], "and once more, weaker"


@pytest.mark.parametrize("kind", ["linear", "convex", "sector"])
def test_drawn_machines_are_finite(kind: str) -> None:
    from samedge.simulate.probe import draw_probe

    for seed in range(30):
        draws = Draws(generator(seed, 9))
        probe = draw_probe(draws, kind, (40, 160))  # type: ignore[arg-type]
        pulse, chain = draw_pulse(draws, probe), draw_chain(draws, probe)
        assert pulse.axial > 0
        assert np.all(pulse.lateral > 0)
        assert np.isfinite(chain.gain).all()
        assert np.isfinite(chain.contact).all()
