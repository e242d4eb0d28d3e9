"""Which tiles are fastest on the GPU of this machine.

    python -m samedge.kernels.tune                      # all kernels, fp16 and bf16
    python -m samedge.kernels.tune --kernels linear.large attention --types fp16 -o tiles.json

Candidates that do not compile, spill or do not fit are left out, and so are those whose results are
wrong; the rest are timed in turn, round after round, so that a GPU that changes its clock changes
it for all of them. The table gets another tile only where that is clearly faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from samedge.errors import DeviceError, NotSupportedError, SamEdgeError
from samedge.files.whole import write_bytes
from samedge.kernels.launch import Tile
from samedge.kernels.tiles import candidates, table, tile_of
from samedge.kernels.workloads import WORKLOADS, Workload
from samedge.tables import render_table

LIMITS = {"fp16": 4e-3, "bf16": 3e-2, "fp32": 1e-5}  # of the largest value
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
    kinds[outcome.dtype] = {**tile.sizes, "warps": tile.warps, "stages": tile.stages}


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


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--sm", default="here", help="87 for compute capability 8.7; it must be here"
    )
    parser.add_argument("--kernels", nargs="+", help="names of the table; default: all")
    parser.add_argument("--types", nargs="+", choices=sorted(LIMITS), default=["fp16", "bf16"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, default=Path("tiles.json"))
    options = parser.parse_args(arguments)
    from samedge.kernels.tune_gpu import GpuBench, capability_here

    arch = capability_here()
    if options.sm not in ("here", str(arch)):
        raise NotSupportedError(
            f"--sm {options.sm} was asked for, and the GPU here is sm_{arch}: tiles are measured "
            "on the GPU that they are for"
        )
    units = by_kernel(options.kernels)
    bench, known = GpuBench(arch, options.processes), table()
    outcomes = []
    for kernel, workloads in units.items():
        for dtype in options.types:
            before = tile_of(kernel, dtype, arch)
            found = tuned(
                kernel, dtype, before, candidates(kernel), workloads, bench, options.rounds
            )
            with_outcome(known, arch, found)
            outcomes.append(found)
            print(_line(found), flush=True)
            write_bytes(options.output, (json.dumps(known, indent=2) + "\n").encode())
    rows = [_row(found) for found in outcomes]
    sys.stdout.write("\n" + render_table(f"Tiles of sm_{arch}", _COLUMNS, rows) + "\n")
    return 1 if any(found.wrong for found in outcomes) else 0


_COLUMNS = ("kernel", "type", "tile", "time of the table's", "tried", "left out", "wrong")


def _row(found: Outcome) -> list[str]:
    share = f"{found.share:.0%}" if found.after != found.before else "kept"
    counts = (found.tried, found.refused, len(found.wrong))
    return [found.kernel, found.dtype, _text(found.after), share, *map(str, counts)]


def _text(tile: Tile) -> str:
    sizes = " ".join(f"{name} {size}" for name, size in tile.sizes.items())
    return f"{sizes}, {tile.warps} warps, {tile.stages} stages"


def _line(found: Outcome) -> str:
    wrong = "".join(f"\n  WRONG RESULTS with {_text(tile)}" for tile in found.wrong)
    return f"{found.kernel} ({found.dtype}): {_text(found.after)}{wrong}"


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except SamEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
