"""The best of some tiles, on a GPU that somebody else knows.

Candidates that do not compile, spill or do not fit are left out, and so are those whose results are
wrong; the rest are timed in turn, round after round, so that a GPU that changes its clock changes
it for all of them. The table gets another tile only where that is clearly faster.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from samedge.errors import DeviceError, NotSupportedError
from samedge.kernels.launch import Tile
from samedge.kernels.problems.problem import LIMITS
from samedge.kernels.tiles import candidates
from samedge.kernels.tune.workloads import WORKLOADS, Workload

ROUNDS = 25
CLEARLY = 0.98  # a tile is replaced by one that takes at most this share of its time


class Bench(Protocol):
    """A GPU on which workloads are tried."""

    def fitting(
        self, workloads: Sequence[Workload], dtype: str, tiles: Sequence[Tile]
    ) -> Mapping[int, str]:
        """Why tiles cannot be used, by their place in `tiles`; those that can be have no entry."""

    def ready(
        self, workload: Workload, dtype: str, tile: Tile
    ) -> tuple[float, Callable[[], float]]:
        """Run a workload; its error, and a function that runs it again and gives its time in ms.

        Raises:
            DeviceError: it does not run.
        """


@dataclass(frozen=True)
class Outcome:
    """What was found for one kernel and element type.

    Attributes:
        kernel, dtype: of the table.
        before, after: the tile that the table had, and the one that it should have.
        share: time with the second over that with the first, the mean of all workloads.
        tried: candidates that were timed.
        refused: candidates that do not compile or fit.
        wrong: candidates whose results are wrong: an error of the compiler, to be reported.
    """

    kernel: str
    dtype: str
    before: Tile
    after: Tile
    share: float
    tried: int
    refused: int
    wrong: tuple[Tile, ...]


def tuned(
    kernel: str,
    dtype: str,
    before: Tile,
    tiles: Sequence[Tile],
    workloads: Sequence[Workload],
    bench: Bench,
    rounds: int = ROUNDS,
) -> Outcome:
    """The best of some tiles for one kernel.

    Args:
        kernel: of the table.
        dtype: element type of products.
        before: the tile that it has.
        tiles: to be tried.
        workloads: that it is measured with.
        bench: measures.
        rounds: how often each is measured.

    Raises:
        DeviceError: the present tile does not run, or gives wrong results.
    """
    tiles = [before, *(tile for tile in tiles if tile != before)]
    unfit = bench.fitting(workloads, dtype, tiles)
    if 0 in unfit:
        raise DeviceError(f"{kernel} ({dtype}): the tile of the table cannot be used: {unfit[0]}")
    clocks: dict[int, list[Callable[[], float]]] = {}
    wrong: list[Tile] = []
    refused = len(unfit)
    for place, tile in enumerate(tiles):
        if place in unfit:
            continue
        try:
            runs = [bench.ready(workload, dtype, tile) for workload in workloads]
        except DeviceError:
            if place == 0:
                raise
            refused += 1
            continue
        worst = max(error for error, _ in runs)
        if worst < LIMITS[dtype]:
            clocks[place] = [clock for _, clock in runs]
        elif place == 0:
            raise DeviceError(
                f"{kernel} ({dtype}): the tile of the table gives an error of {worst:.1e}, at most "
                f"{LIMITS[dtype]:.1e} are expected: nothing is tuned on wrong results"
            )
        else:
            wrong.append(tile)
    shares = _shares(clocks, rounds)
    best = min(shares, key=lambda place: shares[place])
    if shares[best] > CLEARLY:
        best = 0
    return Outcome(
        kernel, dtype, before, tiles[best], shares[best], len(clocks), refused, tuple(wrong)
    )


def _shares(clocks: Mapping[int, Sequence[Callable[[], float]]], rounds: int) -> dict[int, float]:
    """Median times over those of entry 0, the geometric mean over the workloads."""
    times: dict[int, list[list[float]]] = {place: [[] for _ in c] for place, c in clocks.items()}
    for _ in range(rounds):
        for place, of_workloads in clocks.items():
            for found, clock in zip(times[place], of_workloads, strict=True):
                found.append(clock())
    medians = {place: [statistics.median(t) for t in found] for place, found in times.items()}
    return {
        place: statistics.geometric_mean(a / b for a, b in zip(found, medians[0], strict=True))
        for place, found in medians.items()
    }


def with_outcome(known: dict[str, Any], arch: int, outcome: Outcome) -> None:
    """Write an outcome into a table, where it says something new."""
    if outcome.after == outcome.before:
        return
    tile = outcome.after
    kinds = known.setdefault(str(arch), {}).setdefault(outcome.kernel, {})
    entry = {**tile.sizes, "warps": tile.warps, "stages": tile.stages}
    kinds[outcome.dtype] = entry | ({"registers": tile.registers} if tile.registers else {})


def by_kernel(names: Iterable[str] | None = None) -> dict[str, list[Workload]]:
    """The workloads of each kernel that has candidates.

    Raises:
        NotSupportedError: a name is none of them.
    """
    found: dict[str, list[Workload]] = {}
    for workload in WORKLOADS:
        if candidates(workload.kernel):
            found.setdefault(workload.kernel, []).append(workload)
    wanted = list(found) if names is None else list(names)
    if unknown := [name for name in wanted if name not in found]:
        raise NotSupportedError(
            f"no candidates for {', '.join(unknown)}; there are some for {', '.join(found)}"
        )
    return {name: found[name] for name in wanted}
