"""Session start and memory, each in a process of its own.

    python -m samedge.bench.startup BUNDLE [--backend auto] [--precision auto] [--threads 2]

The cold start compiles, the warm one finds the compiled engine in samedge's cache; the files
themselves are in the system's own cache both times. Memory is what the process keeps once frames
have gone through, and its peak; of a GPU, what is less free on it than before, without the context
that CUDA makes for every process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from samedge.bench.contenders.sessions import variants
from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.frames import footage, send
from samedge.bench.report.values import Report, Row
from samedge.bundle import Bundle
from samedge.errors import DeviceError
from samedge.machine.cpu import physical_cores
from samedge.machine.fingerprint import fingerprint
from samedge.machine.memory import resident_mb
from samedge.runtime import load

CHILD = "--started-at"  # monotonic seconds at which this process was asked for
_FRAMES = 4
_NVIDIA = ("tensorrt", "tensorrt_rtx", "triton")


def measure_start(
    bundle: Path,
    precision: str,
    threads: int,
    backend: str = "auto",
    engines: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Start a session twice with an empty cache of its own: `{"cold", "warm"}`.

    Args:
        bundle: its path.
        precision, threads, backend, engines: as for `samedge.load`.

    Returns:
        for each of the two start_s (from the command to a session that is ready: Python, imports
        and load), load_s, first_frame_ms, frame_ms, outside_encoder_share, resident_mb, peak_mb
        (10^6 bytes), device_mb where the device tells, and notes.

    Raises:
        DeviceError: the process that measures failed; its message is passed on.
    """
    command = [sys.executable, "-m", "samedge.bench.startup", str(bundle)]
    command += ["--backend", backend, "--precision", precision, "--threads", str(threads)]
    command += ["--engines", str(engines)] if engines is not None else []
    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        environment = {**os.environ, "SAMEDGE_CACHE": folder}
        return {name: _spawn(command, environment) for name in ("cold", "warm")}


def _spawn(command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    asked = [*command, CHILD, str(time.monotonic())]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DeviceError(f"the process that measures start-up failed: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: value for name, value in report.items() if value == value}  # no NaN


def _in_this_process(options: argparse.Namespace) -> dict[str, Any]:
    what = {
        "backend": options.backend,
        "precision": options.precision,
        "threads": options.threads,
        "engines": options.engines,
    }
    free = _free_mb(options.backend)
    before = time.monotonic()
    with load(options.bundle, **what) as session:
        loaded = time.monotonic()
        clip = footage()
        timings = [send(session, clip, index) for index in range(_FRAMES)]
        last = timings[-1]
        report = {
            "start_s": loaded - options.started_at,
            "load_s": loaded - before,
            "first_frame_ms": timings[0]["total"],
            "frame_ms": last["total"],
            "outside_encoder_share": 1.0 - last["encode"] / last["total"],
            "resident_mb": resident_mb() or float("nan"),
            "peak_mb": _peak_mb(),
            "notes": session.describe()["notes"],
        }
        left = _free_mb(options.backend)
        if free is not None and left is not None:
            report["device_mb"] = free - left
        return report


def _free_mb(backend: str) -> float | None:
    """Free memory of the first NVIDIA GPU, 10^6 bytes; None for backends that use none."""
    if backend not in _NVIDIA:
        return None
    from samedge.runtime.gpu.driver import Device

    with closing(Device(0)) as device, device:
        return device.free_memory()[0] / 1e6


def _peak_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes); NaN if not on Linux.

    Not getrusage: what that reports is inherited from the process that started this one.
    """
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    line = next(line for line in text.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module."""
    made = parser("startup", __doc__)
    made.add_argument("bundle", type=Path)
    made.add_argument("--backend", default="auto")
    made.add_argument("--precision", default="auto")
    made.add_argument("--threads", type=int, default=physical_cores())
    made.add_argument("--engines", type=Path)
    made.add_argument(CHILD, type=float, help=argparse.SUPPRESS)
    add_files(made)
    options = parsed(made, arguments)
    if options.started_at is not None:
        print(json.dumps(_in_this_process(options)))
        return 0
    return finish(_report(options), options, arguments)


def _report(options: argparse.Namespace) -> Report:
    found = variants(
        [Bundle.open(options.bundle)],
        [options.backend],
        [options.precision],
        [options.threads],
        options.engines,
    )
    rows = []
    for one in found.found:
        row = Row(one.name, about=one.about)
        start = measure_start(
            options.bundle, one.precision, one.threads, one.backend, options.engines
        )
        rows.append(replace(row, load=start))
    return Report("Session start and memory", tuple(rows), machine=fingerprint())


if __name__ == "__main__":
    run(main)
