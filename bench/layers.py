"""Where the encoder's time goes, from OpenVINO's per-layer counters.

    python -m samedge.bench.layers BUNDLE [--precision bf16] [--threads 1] [--top 30]

Counting slows a network down a little: use these numbers to compare layers with each other, and
`samedge.bench.encoder` for speeds.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bench.entry import run
from samedge.bench.frames import footage
from samedge.bundle import Bundle
from samedge.runtime.backend import LoadOptions
from samedge.runtime.buffers import FrameBuffers
from samedge.runtime.openvino.backend import OPENVINO
from samedge.tables import render_table

Row = tuple[str, str, str, str, float]


def profile_encoder(bundle: Bundle, precision: str, threads: int, runs: int = 5) -> list[Row]:
    """Median milliseconds of each layer: (part, name, type, kernel, ms), slowest first."""
    options = LoadOptions(precision, threads, cache=False, profile=True)
    engine = OPENVINO.open_graph(bundle, "encoder", options)
    family, variant = bundle.family, bundle.manifest.variant
    pixels = footage().pixels(0, family)[..., None]
    buffers = FrameBuffers.for_frame(
        family,
        pixels,
        (0, 0, *pixels.shape[1::-1]),
        variant.input_size,
        variant.low_res,
        engine.io,
    )
    np.copyto(buffers.frame, pixels)
    shape = tuple(int(n) for n in engine.io.output("image_embedding").shape)
    outputs = {"image_embedding": np.zeros(shape, np.float32)}
    samples: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for number in range(runs + 1):
        engine.run(buffers.inputs, outputs)
        for *key, milliseconds in engine.profile() if number else ():
            part, name, kind, kernel = key
            samples[(part, name, kind, kernel)].append(milliseconds)
    engine.close()
    rows = [(*key, float(np.median(values))) for key, values in samples.items()]
    return sorted(rows, key=lambda row: -row[4])


def by_type(rows: Sequence[Row]) -> list[tuple[str, str, int, float]]:
    """Sums per (part, type): (part, type, layers, ms), slowest first."""
    totals: dict[tuple[str, str], list[float]] = defaultdict(list)
    for part, _, kind, _, milliseconds in rows:
        if milliseconds > 0:
            totals[(part, kind)].append(milliseconds)
    summed = [(*key, len(values), sum(values)) for key, values in totals.items()]
    return sorted(summed, key=lambda row: -row[3])


def _render(rows: Sequence[Row], top: int) -> str:
    sums: list[list[Any]] = [[f"{p} {k}", str(n), f"{ms:.1f}"] for p, k, n, ms in by_type(rows)]
    slowest = [[name[-60:], kind, kernel, f"{ms:.2f}"] for _, name, kind, kernel, ms in rows[:top]]
    return (
        render_table("Milliseconds per kind of layer", ["kind", "layers", "ms"], sums)
        + "\n"
        + render_table("Slowest layers", ["layer", "kind", "kernel", "ms"], slowest)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m samedge.bench.layers", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--top", type=int, default=30)
    options = parser.parse_args(arguments)
    rows = profile_encoder(Bundle.open(options.bundle), options.precision, options.threads)
    print(_render(rows, options.top))
    return 0


if __name__ == "__main__":
    run(main)
