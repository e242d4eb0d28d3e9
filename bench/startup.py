"""Session start and resident memory, each in a process of its own.

    python -m samedge.bench.startup BUNDLE [--precision bf16] [--threads 2]

The cold start compiles, the warm one finds the compiled engine in the cache. Memory is what the
process keeps once frames have gone through, and its peak.
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
from pathlib import Path
from typing import Any

from samedge.bench.entry import run
from samedge.bench.frames import footage, send
from samedge.errors import DeviceError
from samedge.machine.memory import resident_mb
from samedge.runtime import load

CHILD = "--started-at"  # monotonic seconds at which this process was asked for


def measure_startup(bundle: Path, precision: str, threads: int) -> dict[str, Any]:
    """Start a session twice with an empty cache of its own: `{"precision", "cold", "warm"}`.

    Each of the two holds start_s (from the command to a session that is ready: Python, imports and
    load), load_s, first_frame_ms, frame_ms, outside_encoder_share, resident_mb and peak_mb.

    Raises:
        DeviceError: the process that measures failed; its message is passed on.
    """
    with tempfile.TemporaryDirectory(prefix="samedge-bench-") as folder:
        environment = {**os.environ, "SAMEDGE_CACHE": folder}
        runs = [_spawn(bundle, precision, threads, environment) for _ in ("cold", "warm")]
    return {"precision": precision, "cold": runs[0], "warm": runs[1]}


def _spawn(bundle: Path, precision: str, threads: int, environment: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "samedge.bench.startup", str(bundle)]
    command += ["--precision", precision, "--threads", str(threads), CHILD, str(time.monotonic())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DeviceError(f"the process that measures start-up failed: {done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def _in_this_process(bundle: Path, precision: str, threads: int, begin: float) -> dict[str, Any]:
    before = time.monotonic()
    with load(bundle, precision=precision, threads=threads) as session:
        loaded = time.monotonic()
        clip = footage()
        timings = [send(session, clip, index) for index in range(4)]
        last = timings[-1]
        return {
            "start_s": loaded - begin,
            "load_s": loaded - before,
            "first_frame_ms": timings[0]["total"],
            "frame_ms": last["total"],
            "outside_encoder_share": 1.0 - last["encode"] / last["total"],
            "resident_mb": resident_mb() or float("nan"),
            "peak_mb": _peak_mb(),
            "notes": session.describe()["notes"],
        }


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
    parser = argparse.ArgumentParser(prog="python -m samedge.bench.startup", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(CHILD, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    what = options.bundle, options.precision, options.threads
    if options.started_at is None:
        report = measure_startup(*what)
    else:
        report = _in_this_process(*what, options.started_at)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    run(main)
