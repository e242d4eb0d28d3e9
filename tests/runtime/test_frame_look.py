"""Frames unlike the calibration's are told apart from those like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samedge.errors import BundleError
from samedge.runtime.frame_look import CalibrationLooks, look_of, looks_of

RNG = np.random.default_rng(5)


def ultrasound(count: int, side: int = 256) -> list[Any]:
    """Dark sectors of speckle, more or less bright."""
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    inside = np.abs(x) < 0.1 + 0.4 * (y + 0.5)
    return [
        (inside * np.clip(RNG.rayleigh(30 + 3 * i, (side, side)), 0, 255)).astype(np.uint8)[
            ..., None
        ]
        for i in range(count)
    ]


def of_frames(frames: list[Any]) -> CalibrationLooks:
    made = CalibrationLooks.of({"looks": looks_of(frames)}, "int8")
    assert made is not None
    return made


def test_frames_of_the_same_kind_pass() -> None:
    looks = of_frames(ultrasound(4))
    for frame in (*ultrasound(6), *ultrasound(2, 600), *ultrasound(2, 130)):
        assert looks.notes(frame) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: 255 - frame, "brightness"),
        (lambda frame: frame // 8, "contrast"),
        (lambda frame: np.minimum(frame.astype(np.int64) * 4, 255).astype(np.uint8), "contrast"),
        (lambda frame: np.full_like(frame, 30), "contrast"),
        (lambda frame: RNG.integers(0, 256, frame.shape, dtype=np.uint8), "brightness"),
        (lambda frame: frame * np.array([1, 0, 0], np.uint8), "colour"),
        (lambda frame: (255 - frame).astype(np.uint16) * np.uint16(257), "brightness"),
    ],
)
def test_other_frames_are_told(change: Any, words: str) -> None:
    (note,) = of_frames(ultrasound(4)).notes(change(ultrasound(1)[0]))
    assert words in note
    assert "--calibration" in note


def test_the_statistics_of_a_stack_are_of_all_slices() -> None:
    frames = ultrasound(4)
    looks = of_frames([np.stack(frames)])
    assert looks.notes(np.stack(ultrasound(4))) == ()
    assert looks.notes(255 - np.stack(frames))
    assert look_of(np.stack([frames[0]] * 4)).mean == pytest.approx(look_of(frames[0]).mean)


def test_only_int8_was_calibrated() -> None:
    assert CalibrationLooks.of({"looks": looks_of(ultrasound(1))}, "fp32") is None
    assert CalibrationLooks.of(None, "int8") is None
    assert CalibrationLooks.of({"frames": 3}, "int8") is None  # an earlier record
    for broken in ([1], ["a", 2], None):
        with pytest.raises(BundleError, match="mean"):
            CalibrationLooks.of({"looks": {**looks_of(ultrasound(1)), "mean": broken}}, "int8")
