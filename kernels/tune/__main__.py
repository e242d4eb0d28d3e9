"""Which tiles are fastest on the GPU of this machine.

    python -m samedge.kernels.tune                      # all kernels, fp16 and bf16
    python -m samedge.kernels.tune --kernels linear.large attention --types fp16 -o tiles.json

The table is written with what was found so far after each kernel; it goes to kernels/tiles.json in
samedge's source. An engine that is built afterwards has the new tiles.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from samedge.errors import NotSupportedError, SamEdgeError
from samedge.files.whole import write_bytes
from samedge.kernels.launch import Tile
from samedge.kernels.problems.problem import LIMITS
from samedge.kernels.tiles import candidates, table, tile_of
from samedge.kernels.tune import gpu
from samedge.kernels.tune.choice import ROUNDS, Outcome, by_kernel, tuned, with_outcome
from samedge.tables import render_table


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
    arch = gpu.capability_here()
    if options.sm not in ("here", str(arch)):
        raise NotSupportedError(
            f"--sm {options.sm} was asked for, and the GPU here is sm_{arch}: tiles are measured "
            "on the GPU that they are for"
        )
    units = by_kernel(options.kernels)
    bench, known = gpu.GpuBench(arch, options.processes), table()
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
