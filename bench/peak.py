"""How fast this machine multiplies matrices: the ceiling of every encoder here.

    python -m samedge.bench.peak [--threads 2] [--gflop 260]

Prints GFLOP/s of large square products in PyTorch, and how long `--gflop` of work would take at
that rate. The SAMUS ViT-B encoder has about 260 GFLOP as OpenVINO runs it (docs/performance.md). An
encoder that came close to this bound has nothing left to gain but fewer operations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

from samedge.bench.eager import require_torch
from samedge.bench.entry import run

SIDE = 2048
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def peak_gflops(
    precision: str,
    threads: int,
    repeats: int = 20,
    side: int = SIDE,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Best rate of `repeats` products of two [side, side] matrices, in GFLOP/s.

    Args:
        precision: "fp32" or "bf16".
        threads: of PyTorch.
        repeats: the fastest counts, as a ceiling should.
        side: of the matrices.
        clock: seconds; a test passes its own.
    """
    torch = require_torch()
    torch.set_num_threads(threads)
    dtype = getattr(torch, DTYPES[precision])
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    a @ b
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        a @ b
        best = min(best, clock() - start)
    return 2 * side**3 / best * 1e-9


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m samedge.bench.peak", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gflop", type=float, default=260.0)
    options = parser.parse_args(arguments)
    for precision in DTYPES:
        rate = peak_gflops(precision, options.threads)
        print(
            f"{precision}: {rate:.0f} GFLOP/s in {options.threads} threads; "
            f"{options.gflop:.0f} GFLOP take at least {options.gflop / rate * 1e3:.0f} ms"
        )
    return 0


if __name__ == "__main__":
    run(main)
