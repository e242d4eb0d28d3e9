"""Wave physics: the same truth, another image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("pymust")

from samedge.simulate import physics
from samedge.simulate.image import SimulatedImage, draw_image


def quick(monkeypatch: pytest.MonkeyPatch, kind: str, seed: int) -> SimulatedImage:
    """An image with few scatterers, elements, wavelengths and pixels."""
    for name, value in (("SCATTERERS", 500), ("_SAMPLES", 80), ("_LINES", 32)):
        monkeypatch.setattr(physics, name, value)
    monkeypatch.setattr(physics, "_DEEP", dict.fromkeys(physics._DEEP, 40.0))
    monkeypatch.setattr(physics, "_ELEMENTS", dict.fromkeys(physics._ELEMENTS, 16))
    return physics.render((seed,), (96, 96), kind)


@pytest.mark.parametrize(("kind", "seed"), [("cyst", 1), ("bladder", 4), ("apical", 8)])
def test_truth_is_that_of_the_fast_simulator(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = draw_image((seed,), (96, 96), kind)
    slow = quick(monkeypatch, kind, seed)
    assert slow.image.shape == (96, 96)
    assert np.mean(fast.label != slow.label) < 0.002
    assert (slow.kind, slow.target, slow.probe) == (fast.kind, fast.target, fast.probe)
    assert slow.image[slow.sector].std() > 3
    # The same marks and words, but other echoes.
    likeness = np.corrcoef(fast.image[fast.sector], slow.image[fast.sector])[0, 1]
    assert likeness < 0.95


def test_a_bladder_is_dark_and_its_image_is_the_same_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, again = (quick(monkeypatch, "bladder", 4) for _ in range(2))
    assert one.image.tobytes() == again.image.tobytes()
    near = cv2.dilate(one.label, np.ones((15, 15), np.uint8)) & ~one.label & one.sector
    assert one.image[one.label == 1].mean() < 0.85 * one.image[near == 1].mean()
