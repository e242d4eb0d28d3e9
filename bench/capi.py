"""libsamedge beside Python's session, in turn, frame by frame, on one thread of control.

    python -m samedge.bench.capi BUNDLE [--precision fp32] [--threads 2] [--frames 60] [--json]
    python -m samedge.bench.capi --vit vit_b

The C library runs once with an engine of `samedge build --target openvino`, which is made into a
folder of its own, and once with the bundle's plain graphs. Its time is taken outside, through
ctypes, and inside (`samedge_get_timing`); what is left of the total without the stages that are
OpenVINO's own is what the library costs. A library with other answers than Python's is not timed.

`--vit` measures a SAMUS of that size with random weights, at 480 x 640 px.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bench.entry import run
from samedge.bench.frames import footage
from samedge.bench.latency import alternate, speed_ratio, summarise
from samedge.bundle import Bundle
from samedge.capi.library import Library
from samedge.capi.session import NativeModel, NativeSession
from samedge.errors import ParityError
from samedge.machine.cpu import physical_cores
from samedge.runtime import load
from samedge.runtime.openvino.building import build_engines

PYTHON, ENGINE, PLAIN = "Python", "C, engine", "C, plain graphs"
LOGITS = 1e-4
PAUSE_S = 0.01  # until the threads of the one before have stopped to spin
# What `samedge_get_timing` tells of work that is not the engines'.
_OWN = ("copy_in", "prompt", "copy_out")


def measure(
    bundle_path: Path, precision: str, threads: int, frames: int, warmup: int = 5
) -> dict[str, Any]:
    """Load times, latencies and their ratios, as plain JSON values.

    Args:
        bundle_path: folder or zip.
        precision: "fp32", "bf16", "fp16" or "int8".
        threads: of inference, for all.
        frames: measured frames of each.
        warmup: frames before those.

    Raises:
        ParityError: the library answers otherwise than Python.
        SamEdgeError: whatever the sessions raise.
    """
    bundle = Bundle.open(bundle_path)
    clip = footage(None)
    prompt = clip.prompts(bundle.family)
    library = Library()
    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        engines = Path(folder, "engines")
        build_engines(bundle, (precision,), engines)
        load_s: dict[str, float] = {}
        with _timed(load_s, PYTHON):
            python = load(bundle, "openvino", precision, threads, cache=False)
        native: dict[str, NativeSession] = {}
        for name, where in ((ENGINE, engines), (PLAIN, None)):
            with _timed(load_s, name):
                model = NativeModel(
                    library, bundle_path, "openvino", precision, threads, engines=where
                )
            native[name] = model.session()
        answers = {name: s.segment(clip.frame(0), crop=clip.crop, **prompt)
                   for name, s in native.items()}  # fmt: skip
        expected = python.segment(clip.frame(0), crop=clip.crop, **prompt)
        errors = {name: _compared(name, answer, expected) for name, answer in answers.items()}
        inside: dict[str, list[Any]] = {name: [] for name in native}
        turn = iter(range(10**9))

        def of_python() -> None:
            python.segment(clip.frame(next(turn)), crop=clip.crop, **prompt)

        def of_library(name: str) -> Callable[[], None]:
            def work() -> None:
                native[name].segment(clip.frame(next(turn)), crop=clip.crop, **prompt)
                inside[name].append(native[name].timing())

            return work

        contenders = {PYTHON: of_python, **{name: of_library(name) for name in native}}
        samples = alternate(contenders, frames, warmup, PAUSE_S)
        python.close()
        for session in native.values():
            session.close()
            session.model.close()
    return {
        "kind": "capi",
        "bundle": bundle_path.name,
        "precision": precision,
        "threads": threads,
        "frames": frames,
        "load_s": load_s,
        "max_logit_error": errors,
        "latency_ms": {name: summarise(values).to_json() for name, values in samples.items()},
        "times_as_fast_as_python": {
            name: speed_ratio(samples[PYTHON], samples[name]).to_json() for name in native
        },
        "inside_ms": {name: _inside(timings[-frames:]) for name, timings in inside.items()},
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _compared(name: str, found: Any, expected: Any) -> float:
    error = float(np.abs(found.low_res_logits - expected.low_res_logits).max())
    if not error <= LOGITS or (name == ENGINE and not np.array_equal(found.masks, expected.masks)):
        raise ParityError(
            f"{name}: libsamedge answers otherwise than Python (largest difference of a logit "
            f"{error:.3g}), so nothing was timed"
        )
    return error


def _inside(timings: list[Any]) -> dict[str, float]:
    """Medians of what the library says of itself, and what all but the engines takes."""
    total = [timing.total for timing in timings]
    engines = [timing.preprocess + timing.encode + timing.decode for timing in timings]
    own = [timing.total - engine for timing, engine in zip(timings, engines, strict=True)]
    stages = {name: float(np.median([getattr(t, name) for t in timings])) for name in _OWN}
    return {
        "total_p50": float(np.median(total)),
        "total_p99": float(np.percentile(total, 99)),
        "engines_p50": float(np.median(engines)),
        "own_p50": float(np.median(own)),
        "own_p99": float(np.percentile(own, 99)),
        **{f"{name}_p50": value for name, value in stages.items()},
    }


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"{report['bundle']}, {report['precision']}, {report['threads']} threads, "
        f"{report['frames']} frames in turn"
    ]
    for name, latency in report["latency_ms"].items():
        line = f"{name:16} load {report['load_s'][name]:6.2f} s   p50 {latency['p50']:8.2f} ms   "
        line += f"p99 {latency['p99']:8.2f} ms"
        if name in report["times_as_fast_as_python"]:
            ratio, inside = report["times_as_fast_as_python"][name], report["inside_ms"][name]
            line += (
                f"   {ratio['median']:.3f} x Python ({ratio['low']:.3f} to {ratio['high']:.3f})   "
                f"outside the engines {inside['own_p50']:.3f} ms (p99 {inside['own_p99']:.3f})   "
                f"logits {report['max_logit_error'][name]:.2g}"
            )
        lines.append(line)
    return "\n".join(lines)


@contextmanager
def _bundle_of_size(vit: str) -> Iterator[Path]:
    """A SAMUS bundle with random weights."""
    import samedge
    from samedge.bench.eager import synthetic_samus

    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        target = Path(folder, f"samus_{vit}.samedge")
        samedge.export(samedge.fold(synthetic_samus(vit)), target)
        yield target


def _main() -> int:
    parser = argparse.ArgumentParser(prog="samedge.bench.capi", description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--vit", help="vit_b, vit_l, vit_h or tiny, instead of a bundle")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if (given.bundle is None) == (given.vit is None):
        parser.error("give a bundle, or --vit")
    sizes = given.precision, given.threads, given.frames
    if given.vit is None:
        report = measure(given.bundle, *sizes)
    else:
        with _bundle_of_size(given.vit) as bundle:
            report = measure(bundle, *sizes)
    print(json.dumps(report, indent=1) if given.json else _text(report))
    return 0


if __name__ == "__main__":
    run(_main)
