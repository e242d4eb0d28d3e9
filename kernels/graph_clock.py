"""What work takes on a GPU by its own clock: a CUDA graph between two events, from cold caches."""

from __future__ import annotations

from collections.abc import Callable

import torch

CACHE = 256 << 20  # bytes that are written between two runs, more than any second-level cache has


class GraphClock:
    """Times graphs on one GPU.

    Args:
        device: torch's name of it.
    """

    def __init__(self, device: str = "cuda") -> None:
        self._cache = torch.empty(CACHE, dtype=torch.uint8, device=device)

    def of(self, work: Callable[[], object]) -> Callable[[], float]:
        """Record work that has run before; each call of the result runs it once and gives its ms.

        Args:
            work: launches alone, on memory that stays where it is.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def milliseconds() -> float:
            # While the cache is being overwritten the rest is queued: no launch is waited for.
            self._cache.zero_()
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            return float(start.elapsed_time(end))

        return milliseconds
