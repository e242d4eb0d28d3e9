"""Loops: continuous truth, speckle that follows the tissue, frames that do not depend on length."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from samedge.errors import FrameError
from samedge.progress import Step
from samedge.simulate import CINE_KINDS, cine, simulate_beat, simulate_cine
from samedge.simulate.cine import moved_scatterers
from samedge.simulate.cycle import contraction, valve_opening
from samedge.simulate.draws import Draws, generator
from samedge.simulate.short_axis import ShortAxisScene

SIZE = (120, 160)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (one.sum() + other.sum())


@pytest.mark.parametrize("kind", CINE_KINDS)
def test_the_truth_moves_without_jumps(kind: str) -> None:
    made = simulate_cine(11, 24, kind=kind)
    assert made.images.shape == made.labels.shape == (24, 240, 320)
    assert made.kind == kind
    assert 50 <= made.heart_rate <= 110
    for one, following in zip(made.labels, made.labels[1:], strict=False):
        assert one.any()
        assert not one[~made.sector].any()
        assert dice(one, following) > 0.85


def test_hearts_beat_by_a_plausible_amount() -> None:
    for seed in (1, 2, 3):
        areas = simulate_cine(seed, 40, (128, 128), "short-axis").labels.sum(axis=(1, 2))
        assert 0.2 < 1 - areas.min() / areas.max() < 0.75


def test_a_longer_loop_begins_with_the_same_frames() -> None:
    short, long = simulate_cine(4, 3, (96, 128)), simulate_cine(4, 6, (96, 128))
    assert short.images.tobytes() == long.images[:3].tobytes()
    assert short.labels.tobytes() == long.labels[:3].tobytes()


def test_neighbouring_frames_are_alike_and_distant_ones_less() -> None:
    made = simulate_cine(3, 12, kind="short-axis")
    seen = made.images[:, made.sector].astype(np.float64)
    near = np.corrcoef(seen[0], seen[1])[0, 1]
    far = np.corrcoef(seen[0], seen[11])[0, 1]
    assert near > 0.7
    assert near > far + 0.02


def test_scatterers_keep_their_power_and_turn_as_they_move() -> None:
    scene = ShortAxisScene(Draws(generator(5)))
    white = Draws(generator(6)).white(scene.probe.samples, scene.probe.lines, 2)
    same = moved_scatterers(white, scene, 0.0)
    assert np.abs(same - white).max() < 0.2, "nothing has moved at time 0"
    moved = moved_scatterers(white, scene, 0.34)
    assert np.mean(moved**2) == pytest.approx(1, abs=0.15)
    assert np.abs(moved - white).mean() > 0.1


def test_the_cycle_is_a_cycle() -> None:
    times = np.linspace(0, 1, 200)
    volume = [contraction(float(t)) for t in times]
    valve = [valve_opening(float(t)) for t in times]
    assert min(volume) == pytest.approx(0, abs=1e-6)
    assert max(volume) == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(volume)).max() < 0.05
    assert contraction(0.2) == pytest.approx(contraction(3.2))
    assert max(v for t, v in zip(times, valve, strict=True) if 0.05 < t < 0.4) < 0.01
    assert max(valve) > 0.9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"frames": 0}, "0 frames"),
        ({"rate": 0.0}, "0 per second"),
        ({"kind": "cyst"}, "'cyst' does not move"),
        ({"size": (10, 10)}, "size"),
    ],
)
def test_bad_input_is_explained(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(FrameError, match=words):
        simulate_cine(1, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CINE_KINDS)
def test_a_beat_closes(kind: str) -> None:
    """Its first frame follows the last as any frame follows the one before."""
    loop = simulate_beat(2, SIZE, kind, rate=10).cine
    assert loop.kind == kind
    around = np.concatenate([loop.images, loop.images[:1]]).astype(np.float32)
    steps = np.abs(np.diff(around, axis=0)).mean(axis=(1, 2))
    assert steps[-1] <= 1.1 * steps[:-1].max()
    assert steps[-1] > 0
    areas = np.concatenate([loop.labels, loop.labels[:1]]).sum(axis=(1, 2)).astype(float)
    assert abs(areas[-1] - areas[-2]) <= 1.2 * np.abs(np.diff(areas)[:-1]).max() + 5


def test_a_beat_begins_like_the_loop() -> None:
    beat = simulate_beat(2, SIZE, "vessel", rate=10)
    loop = simulate_cine(2, 1, SIZE, "vessel", rate=10)
    assert np.array_equal(beat.cine.images[0], loop.images[0])
    assert len(beat.cine.images) == round(60 / beat.cine.heart_rate * 10)
    assert len(beat.plain) == 0


def test_tissue_without_the_object_lies_under_the_same_machine() -> None:
    steps: list[Step] = []
    beat = simulate_beat(2, SIZE, "apical", rate=5, plain=True, progress=steps.append)
    sector = beat.cine.sector
    # Words and marks beside the beams are those of the loop, up to what JPEG makes of them.
    beside = ~cv2.dilate(sector.astype(np.uint8), np.ones((17, 17))).astype(bool)
    apart = np.abs(beat.plain[0][beside].astype(int) - beat.cine.images[0][beside])
    assert apart.mean() < 2
    assert np.abs(beat.plain[0][sector].astype(int) - beat.cine.images[0][sector]).mean() > 10
    assert not np.array_equal(beat.plain[0], beat.plain[1])
    assert steps[-1].done == steps[-1].of == len(beat.plain)


def test_a_beat_has_a_bounded_number_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cine, "MOST_IN_A_BEAT", 5)
    assert len(simulate_beat(2, (48, 64), "vessel", rate=500).cine.images) == 5
