"""The SAMUS encoder: eager PyTorch, `torch.compile`, its plain ONNX export, and samedge, in turn.

    python -m samedge.bench.encoder [--threads 2] [--rounds 10] [--vit vit_b] [--json F] [--html F]

Weights come from the formula of the reference vectors; speed does not depend on them. Every
contender's embedding is compared with the eager one before anything is timed, and one that computes
something else is not.

samedge's are also compared with the plain export in the same engine and precision. "share of peak"
is how long the products of the graph that is run would take at the machine's peak of their
precision (`samedge.bench.peak`, measured in the same run), over the time that they took.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from samedge.bench.contenders.eager import require_torch, synthetic_samus
from samedge.bench.contenders.encoders import Embedding, Encoder, Encoders
from samedge.bench.contenders.entry import Entries, Entry
from samedge.bench.entry import add_files, add_plan, finish, parsed, parser, plan_of, run, tell
from samedge.bench.measurement import Observer, measured_report
from samedge.bench.peak import peak_gops
from samedge.bench.report.values import Report, Row
from samedge.bench.schedule import FLAT, Call, Clock, Plan
from samedge.bench.startup import measure_start
from samedge.progress import Progress, Step, silent

# Largest RMS of the embedding's error, relative to the RMS of the eager embedding.
RMS_LIMITS = {"fp32": 1e-4, "fp16": 0.01, "bf16": 0.05, "int8": 0.2}
SHARE = "share of peak"


def measure(
    work: Path,
    threads: int = 2,
    plan: Plan | None = None,
    vit: str = "vit_b",
    startup: bool = True,
    compiled: bool = True,
    progress: Progress = silent,
    clock: Clock | None = None,
    watch: Observer | None = None,
    peak_seconds: float = 0.5,
) -> Report:
    """Build everything in `work`, check it, measure it.

    Args:
        work: folder for the ONNX files and the bundle (about 1.5 GB for ViT-B); what is already
            there is used again.
        threads: for every contender.
        plan: how much of each; None: 10 rounds of one frame.
        vit: "vit_b", "vit_l" or "vit_h".
        startup: also measure session start and memory.
        compiled: also measure `torch.compile`.
        progress: told each step.
        clock, watch: as for `measured_report`.
        peak_seconds: for each way and shape that the machine's peak is sought with.

    Raises:
        ParityError: every contender computes something else than the eager model.
        MissingDependencyError: torch, onnx or onnxruntime is not installed.
    """
    require_torch().set_num_threads(threads)
    progress(Step("building the model and its plain export"))
    encoders = Encoders(synthetic_samus(vit), work, threads)
    made = []

    def wanted() -> Iterator[Encoder]:
        for encoder in encoders.all(compiled):
            progress(Step("comparing the embedding", phase=encoder.name))
            made.append(encoder)
            yield encoder

    with Entries(checked(wanted())) as entries:
        progress(Step("measuring the machine's own peak"))
        precisions = sorted({p for encoder in made for p in encoder.gflop})
        peaks = {p: peak_gops(p, threads, peak_seconds) for p in precisions}
        report = measured_report(
            f"SAMUS {vit} encoder, {threads} threads",
            entries,
            plan or Plan(frames=1),
            source="one random frame of the network's own size",
            notes=[f"peak of {p}: {v.gops:.0f} GFLOP/s ({v.by})" for p, v in peaks.items()],
            clock=clock,
            progress=progress,
            watch=watch,
            part="image encoder",
        )
    report = with_shares(report, made, {p: peak.gops for p, peak in peaks.items()})
    if startup:
        progress(Step("measuring session start and memory"))
        report = _with_startup(report, Path(encoders.bundle().path), threads)
    return report


def checked(encoders: Iterable[Encoder]) -> Iterator[Entry]:
    """Entries of encoders; one whose embedding is not that of the first is refused."""
    reference = None
    for encoder in encoders:
        row = _row(encoder)
        if encoder.refused:
            yield Entry(replace(row, refused=encoder.refused))
            continue
        embedding = encoder.embedding()
        reference = embedding if reference is None else reference
        parity = compare(embedding, reference, encoder.precision)
        row = replace(row, parity=parity)
        if parity["passed"]:
            yield Entry(row, Call(encoder.name, encoder.call, encoder.counted), encoder.close)
            continue
        encoder.close()
        reason = (
            f"it computes something else than the eager encoder (RMS ratio {parity['rms']:.2e}, "
            f"limit {parity['limit']:g})"
        )
        yield Entry(replace(row, refused=reason))


def compare(embedding: Embedding, reference: Embedding, precision: str) -> dict[str, Any]:
    """Errors against the eager embedding: {"passed", "rms", "limit", "max_error"}.

    Args:
        embedding, reference: of one shape.
        precision: that the limit of the RMS belongs to.
    """
    expected = reference.astype(np.float64)
    difference = embedding - expected
    rms = float(np.sqrt(np.mean(difference**2) / np.mean(expected**2)))
    limit = RMS_LIMITS[precision]
    return {
        "passed": rms <= limit,  # not for NaN
        "rms": rms,
        "limit": limit,
        "max_error": float(np.abs(difference).max()),
    }


def with_shares(report: Report, encoders: Iterable[Encoder], peaks: Mapping[str, float]) -> Report:
    """The report with every row's share of the peak.

    Args:
        report: of these encoders.
        encoders: by their names.
        peaks: precision -> GFLOP/s that this machine reached.
    """
    least_ms = {
        encoder.name: sum(1e3 * gflop / peaks[p] for p, gflop in encoder.gflop.items())
        for encoder in encoders
    }
    rows = []
    for row in report.rows:
        if FLAT in row.modes:
            share = least_ms[row.name] / median(row.modes[FLAT].frames)
            row = replace(row, extra={**row.extra, SHARE: share})
        rows.append(row)
    return replace(report, rows=tuple(rows))


def _row(encoder: Encoder) -> Row:
    return Row(
        encoder.name,
        {"engine": encoder.engine, "precision": encoder.precision, "gflop": encoder.gflop},
        baseline=encoder.baseline,
        against=encoder.plain,
        extra={**encoder.extra, "gflop": sum(encoder.gflop.values())},
    )


def _with_startup(report: Report, bundle: Path, threads: int) -> Report:
    rows = []
    for row in report.rows:
        if row.modes and not row.baseline:
            row = replace(row, load=measure_start(bundle, row.about["precision"], threads))
        rows.append(row)
    return replace(report, rows=tuple(rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    options_of: argparse.ArgumentParser = parser("encoder", __doc__)
    add_plan(options_of, frames=1)
    options_of.add_argument("--vit", default="vit_b", help="vit_b, vit_l, vit_h or tiny")
    options_of.add_argument("--work", type=Path, help="keep the files here and use them again")
    options_of.add_argument("--no-startup", action="store_true", help="leave out start and memory")
    options_of.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    add_files(options_of)
    options = parsed(options_of, arguments)
    with _work_folder(options.work) as work:
        report = measure(
            Path(work),
            options.threads,
            plan_of(options),
            options.vit,
            startup=not options.no_startup,
            compiled=not options.no_compile,
            progress=tell,
        )
    return finish(report, options, arguments)


def _work_folder(kept: Path | None) -> AbstractContextManager[str]:
    if kept is None:
        return tempfile.TemporaryDirectory(prefix="samedge-bench-")
    kept.mkdir(parents=True, exist_ok=True)
    return nullcontext(str(kept))


if __name__ == "__main__":
    run(main)
