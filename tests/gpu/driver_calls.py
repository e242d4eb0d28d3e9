"""Which functions of the driver samedge calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from samedge.runtime.gpu import driver as driver_module
from samedge.runtime.gpu import modules

# Whatever takes memory or time that no frame may take.
SET_UP = ("cuMemAlloc", "cuMemHostAlloc", "cuGraphInstantiate", "cuModuleLoadData")


class Recorded:
    """A driver that counts what is called by its name."""

    def __init__(self, real: Any) -> None:
        self._real, self.calls = real, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if not name.startswith("cu") or not callable(value):
            return value
        self.calls[name] += 1
        return value


@contextmanager
def recorded() -> Iterator[Counter[str]]:
    """Counts of all calls in the block, by name."""
    driver = Recorded(driver_module.driver())
    with pytest.MonkeyPatch.context() as patch:
        for module in (driver_module, modules):
            patch.setattr(module, "driver", lambda: driver)
        yield driver.calls


def assert_frames_only_replay(segment: Callable[[int], Any], calls: Counter[str]) -> None:
    """After two frames nothing is set up any more: every frame starts two CUDA graphs, encoder and
    decoder, and no kernel by itself.

    Args:
        segment: a frame with a prompt; its argument says which.
        calls: of `recorded`.
    """
    for number in range(2):
        segment(number)
    before = Counter(calls)
    for number in range(5):
        segment(number)
    new = calls - before
    assert not [name for name in SET_UP if new[name]], new
    assert new["cuLaunchKernel"] == 0
    assert new["cuGraphLaunch"] == 10
