"""What each rewrite of the encoder brings, in turn in one run.

    python -m samedge.bench.rewrites BUNDLE [--precision fp32] [--threads 2] [--rounds 10]

The first row is the encoder as it stands in the ONNX file, the next ones add one rewrite each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bench.entry import run
from samedge.bench.latency import Contender, alternate, speed_ratio, summarise
from samedge.bundle import Bundle
from samedge.runtime.backend import LoadOptions
from samedge.runtime.precision import PRECISIONS


def measure(path: Path, precision: str, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of name, count, median and p90 in ms, speed over the first row and over the row before.

    Args:
        path: a bundle.
        precision: "fp32", "bf16", "fp16" or "int8".
        threads: for every step.
        rounds: measured rounds, after one to warm up.
    """
    from samedge.runtime.openvino.rewrites.dense import steps

    bundle = Bundle.open(path)
    counts = {"as exported": 0}
    calls = {"as exported": _contender(bundle, precision, threads, 0, counts)}
    for number, rewrite in enumerate(steps(precision), start=1):
        calls[f"+ {rewrite.__name__}"] = _contender(bundle, precision, threads, number, counts)
    samples = alternate(calls, rounds, warmup=1)
    names = list(samples)
    rows = []
    for name, before in zip(names, [names[0], *names], strict=False):
        rows.append(
            {
                "name": name,
                "count": counts[name],
                "ms": summarise(samples[name]).to_json(),
                "times_first": speed_ratio(samples[names[0]], samples[name]).to_json(),
                "times_before": speed_ratio(samples[before], samples[name]).to_json(),
            }
        )
    return rows


def _contender(
    bundle: Bundle, precision: str, threads: int, number: int, counts: dict[str, int]
) -> Contender:
    """The encoder after the first `number` rewrites, compiled as a session would."""
    from samedge.runtime.openvino import compile as compiling
    from samedge.runtime.openvino.backend import GRAPHS
    from samedge.runtime.openvino.rewrites.dense import steps
    from samedge.runtime.precision import graph_key

    file = graph_key(bundle.manifest, "openvino", "encoder", precision, GRAPHS)
    with bundle.opened_graph("encoder", file) as path:
        model = compiling.read_model(path)
    _, encoder = compiling.split_encoder(model)
    for rewrite in steps(precision)[:number]:
        counts[f"+ {rewrite.__name__}"] = rewrite(encoder)
        encoder.validate_nodes_and_infer_types()
    rest = compiling.rest_of(bundle, precision)
    config = compiling.engine_config(rest, LoadOptions(threads=threads))
    compiled = compiling.core().compile_model(encoder, compiling.DEVICE, config)
    request = compiled.create_infer_request()
    tensor = request.get_input_tensor()
    tensor.data[:] = np.random.default_rng(0).integers(0, 256, tuple(tensor.shape))

    def call() -> None:
        request.infer()

    return call


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m samedge.bench.rewrites", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(arguments)
    rows = measure(options.bundle, options.precision, options.threads, options.rounds)
    print(f"{options.precision}, {options.threads} threads, {options.rounds} rounds")
    print(
        f"{'encoder':<28}{'times':>7}{'median ms':>11}{'p90 ms':>9}{'x first':>9}{'x before':>10}"
    )
    for row in rows:
        print(
            f"{row['name']:<28}{row['count']:>7}{row['ms']['p50']:>11.1f}{row['ms']['p90']:>9.1f}"
            f"{row['times_first']['median']:>9.3f}{row['times_before']['median']:>10.3f}"
        )
    return 0


if __name__ == "__main__":
    run(main)
