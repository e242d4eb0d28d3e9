"""What each rewrite of the encoder brings, in turn in one run.

    python -m samedge.bench.rewrites BUNDLE [--precision fp32] [--threads 2] [--rounds 10]

The first row is the encoder as it stands in the ONNX file, the next ones add one rewrite each, and
are compared with the row before and with the first. One whose embedding is another than the first
row's is not timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders.entry import Entry
from samedge.bench.entry import add_files, add_plan, finish, parsed, parser, plan_of, run, tell
from samedge.bench.measurement import measured_report
from samedge.bench.report.values import Report, Row
from samedge.bench.schedule import Call, Plan
from samedge.bundle import Bundle
from samedge.progress import Progress, Step, silent
from samedge.runtime.backend import LoadOptions
from samedge.runtime.precision import PRECISIONS
from samedge.tolerances import DRIFT

FIRST = "as exported"


def measure(
    path: Path,
    precision: str,
    threads: int,
    plan: Plan,
    progress: Progress = silent,
) -> Report:
    """A row per rewrite, on top of those before it.

    Args:
        path: a bundle.
        precision: "fp32", "bf16", "fp16" or "int8".
        threads: for every step.
        plan: how much of each.
        progress: told each step.
    """
    made = list(entries(Bundle.open(path), precision, threads, progress))
    return measured_report(
        f"Rewrites of the encoder of {path.name}, {precision}, {threads} threads",
        made,
        plan,
        source="noise of the network's own size",
        part="image encoder",
        progress=progress,
    )


def entries(
    bundle: Bundle, precision: str, threads: int, progress: Progress = silent
) -> Iterator[Entry]:
    """The encoder as exported, and after each rewrite."""
    from samedge.runtime.openvino.rewrites.dense import steps

    names = [FIRST, *(f"+ {rewrite.__name__}" for rewrite in steps(precision))]
    right = None
    for number, name in enumerate(names):
        progress(Step("compiling", number, len(names), name))
        request, applied = _compiled(bundle, precision, threads, number)
        request.infer()
        embedding = np.array(request.get_output_tensor(0).data)
        right = embedding if right is None else right
        yield _entry(name, names[max(number - 1, 0)], precision, threads, request, applied,
                     _error(embedding, right))  # fmt: skip


def _entry(
    name: str,
    before: str,
    precision: str,
    threads: int,
    request: Any,
    applied: int,
    error: float,
) -> Entry:
    limit = DRIFT[precision]
    wrong = f"its embedding is off by {error:.1e} (relative RMS, limit {limit:.0e})"
    row = Row(
        name,
        about={"backend": "openvino", "precision": precision, "threads": threads},
        baseline=name == FIRST,
        against="" if name == FIRST else before,
        parity={"passed": error <= limit, "error": error, "limit": limit},
        refused="" if error <= limit else wrong,
        extra={} if name == FIRST else {"applied": applied},
    )

    def call(_: int) -> None:
        request.infer()

    return Entry(row, None if row.refused else Call(name, call))


def _error(found: NDArray[Any], right: NDArray[Any]) -> float:
    """Relative RMS."""
    difference = found.astype(np.float64) - right
    return float(np.sqrt(np.mean(difference**2) / np.mean(right.astype(np.float64) ** 2)))


def _compiled(bundle: Bundle, precision: str, threads: int, number: int) -> tuple[Any, int]:
    """The encoder after the first `number` rewrites, compiled as a session would: a request with
    its input, and how often the last rewrite applied."""
    from samedge.runtime.openvino import compile as compiling
    from samedge.runtime.openvino.backend import GRAPHS
    from samedge.runtime.openvino.rewrites.dense import steps
    from samedge.runtime.precision import graph_key

    file = graph_key(bundle.manifest, "openvino", "encoder", precision, GRAPHS)
    with bundle.opened_graph("encoder", file) as path:
        model = compiling.read_model(path)
    _, encoder = compiling.split_encoder(model)
    applied = 0
    for rewrite in steps(precision)[:number]:
        applied = rewrite(encoder)
        encoder.validate_nodes_and_infer_types()
    rest = compiling.rest_of(bundle, precision)
    config = compiling.engine_config(rest, LoadOptions(threads=threads))
    compiled = compiling.core().compile_model(encoder, compiling.DEVICE, config)
    request = compiled.create_infer_request()
    tensor = request.get_input_tensor()
    tensor.data[:] = np.random.default_rng(0).integers(0, 256, tuple(tensor.shape))
    return request, applied


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("rewrites", __doc__)
    made.add_argument("bundle", type=Path)
    made.add_argument("--precision", choices=PRECISIONS, default="fp32")
    add_plan(made)
    add_files(made)
    given = parsed(made, arguments)
    report = measure(given.bundle, given.precision, given.threads, plan_of(given), tell)
    return finish(report, given, arguments)


if __name__ == "__main__":
    run(main)
