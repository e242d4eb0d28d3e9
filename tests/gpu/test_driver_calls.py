"""The check for allocations, against the stand-in of the driver: it passes, and it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.bundle import Bundle
from tests.gpu.driver_calls import SET_UP, assert_frames_only_replay, recorded
from tests.runtime.stand_in.driver import Driver
from tests.runtime.triton.test_backend import POINTS, bundle, driver, engine, frame, gpu

__all__ = ["bundle", "driver", "engine"]


def test_frames_of_one_size(driver: Driver, bundle: Bundle, engine: Path) -> None:
    with recorded() as calls, gpu(bundle) as session:
        assert_frames_only_replay(
            lambda seed: session.segment(frame(seed=seed), points=POINTS), calls
        )
    for name in SET_UP:
        assert calls[name] == driver.calls[name] > 0


def test_frames_of_many_sizes_are_seen(driver: Driver, bundle: Bundle, engine: Path) -> None:
    with (
        recorded() as calls,
        gpu(bundle) as session,
        pytest.raises(AssertionError, match="cuMemHostAlloc"),
    ):
        assert_frames_only_replay(
            lambda seed: session.segment(frame(60 + seed, 80), points=POINTS), calls
        )
