"""The order of what is timed on a GPU, with a driver of paper: the cache is cold, the work alone
stands between the events, and nothing is read before all is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from samedge.kernels import graph_clock


def test_only_the_work_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Graph:
        def replay(self) -> None:
            done.append("work")

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("event")

        def elapsed_time(self, end: Event) -> float:
            assert end is not self
            done.append("read")
            return 1.25

    @contextmanager
    def recording(_: Graph) -> Iterator[None]:
        done.append("recording")
        yield
        done.append("recorded")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("wait"))
    monkeypatch.setattr(graph_clock, "CACHE", 8)
    clock = graph_clock.GraphClock("cpu")
    monkeypatch.setattr(torch.Tensor, "zero_", lambda _: done.append("cache"))
    once = clock.of(lambda: done.append("launch"))
    assert done == ["recording", "launch", "recorded"]
    done.clear()
    assert once() == 1.25
    assert done == ["cache", "event", "work", "event", "wait", "read"]
