"""The SAMUS encoder: eager PyTorch, its plain ONNX export, and samedge, in turn in one run.

    python -m samedge.bench.encoder [--threads 2] [--rounds 10] [--vit vit_b] [--json F] [--svg F]

Weights come from the formula of the reference vectors; speed does not depend on them. Every
contender's embedding is compared with the eager one before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samedge.bench.contenders import Contenders
from samedge.bench.eager import require_torch, synthetic_samus
from samedge.bench.entry import run
from samedge.bench.latency import alternate, speed_ratio, summarise
from samedge.bench.report import render, svg
from samedge.bench.startup import measure_startup
from samedge.errors import OutputError, ParityError
from samedge.progress import Progress, Step

SCHEMA = 1
PAUSE_S = 0.05
# Largest RMS of the embedding's error, relative to the RMS of the eager embedding.
RMS_LIMITS = {"fp32": 1e-4, "fp16": 0.01, "bf16": 0.05, "int8": 0.2}
EAGER = "eager PyTorch fp32"


def measure(
    work: Path,
    threads: int = 2,
    rounds: int = 10,
    vit: str = "vit_b",
    startup: bool = True,
    progress: Progress = print,
) -> dict[str, Any]:
    """Build everything in `work`, check it, measure it.

    Args:
        work: folder for the ONNX files and the bundle (about 1.5 GB for ViT-B); what is already
            there is used again.
        threads: for every contender.
        rounds: measured rounds, after one to warm up.
        vit: "vit_b", "vit_l" or "vit_h".
        startup: also measure session start and memory.
        progress: told each step.

    Returns:
        A report of plain JSON values; see `samedge.bench.render`.

    Raises:
        ParityError: a contender computes something else than the eager model; nothing was timed.
        MissingDependencyError: torch, onnx or onnxruntime is not installed.
    """
    torch = require_torch()
    torch.set_num_threads(threads)
    progress(Step("building the model and its plain export"))
    model = synthetic_samus(vit)
    contenders = Contenders(model, work, threads)
    contenders.add_eager(EAGER)
    contenders.add_plain()
    progress(Step("folding and exporting the bundle"))
    bundle = contenders.add_samedge()
    progress(Step("comparing the embeddings"))
    errors = check(contenders.embeddings(), contenders.precisions)
    progress(Step(f"measuring {len(errors)} encoders in turn, {rounds} rounds"))
    samples = alternate(contenders.calls, rounds, warmup=1, pause_s=PAUSE_S)
    rows = [_row(name, samples, contenders, errors[name]) for name in samples]
    device = contenders.device
    contenders.close()
    report = {
        "schema": SCHEMA,
        "kind": "encoder",
        "title": f"SAMUS {vit} encoder",
        "device": device,
        "threads": threads,
        "rounds": rounds,
        "rows": rows,
        "samples_ms": samples,
        "startup": [],
    }
    if startup:
        progress(Step("measuring session start and memory"))
        report["startup"] = [measure_startup(bundle, p, threads) for p in contenders.worth]
    return report


def check(
    embeddings: dict[str, NDArray[np.float32]], precisions: dict[str, str]
) -> dict[str, float]:
    """Largest error of each embedding against the eager one.

    Raises:
        ParityError: one is farther off than its precision allows; never time a wrong model.
    """
    reference = embeddings[EAGER].astype(np.float64)
    scale = np.sqrt(np.mean(reference**2))
    errors = {}
    for name, embedding in embeddings.items():
        difference = embedding - reference
        rms = float(np.sqrt(np.mean(difference**2)) / scale)
        limit = RMS_LIMITS[precisions[name]]
        if not rms <= limit:
            raise ParityError(
                f"'{name}' computes something else than the eager encoder (RMS ratio {rms:.2e}, "
                f"limit {limit:.2e}), so nothing was timed"
            )
        errors[name] = float(np.abs(difference).max())
    return errors


def _row(
    name: str, samples: dict[str, list[float]], contenders: Contenders, error: float
) -> dict[str, Any]:
    plain = contenders.yardstick.get(name)
    return {
        "name": name,
        "precision": contenders.precisions[name],
        "ms": summarise(samples[name]).to_json(),
        "times_eager": speed_ratio(samples[EAGER], samples[name]).to_json(),
        "times_plain": speed_ratio(samples[plain], samples[name]).to_json() if plain else None,
        "max_error": error,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m samedge.bench.encoder", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--vit", default="vit_b")
    parser.add_argument("--work", type=Path, help="keep the files here and use them again")
    parser.add_argument("--no-startup", action="store_true", help="leave out start and memory")
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--svg", type=Path, help="write a plot of every sample here")
    options = parser.parse_args(arguments)

    def tell(step: Step, /) -> None:
        print(step, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        wanted = not options.no_startup
        report = measure(work, options.threads, options.rounds, options.vit, wanted, tell)
    for path, text in ((options.json, json.dumps(report, indent=1)), (options.svg, svg(report))):
        if path is not None:
            _write(path, text)
    print(render(report))
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror}") from error


if __name__ == "__main__":
    run(main)
