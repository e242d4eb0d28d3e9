"""A stream that runs for long: memory, open files and threads stay as they are, no frame is lost.

    python -m samedge.bench.live.soak --seconds 60        # make soak
    python -m samedge.bench.live.soak --seconds 3600

Half of the time at 30 frames per second, half of it from a source ten times as fast.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.live.rig import DEMO, Rig
from samedge.bench.report.sheet import Cell, Column, Sheet, Table
from samedge.machine.memory import resident_mb

MOST_MB = 12.0  # that the resident memory may grow after the first quarter
_SETTLED = 0.25  # of the time, in which caches fill
COLUMNS = (
    Column("fps", "g"),
    Column("captured", "d"),
    Column("segmented", "d"),
    Column("dropped", "d"),
    Column("memory_least_mb", ".0f", "least MB"),
    Column("memory_most_mb", ".0f", "most MB"),
    Column("growth_mb", "+.1f", "growth, MB"),
    Column("growth_files", "+.0f", "files"),
    Column("growth_threads", "+.0f", "threads"),
    Column("p95_ms", ".0f", "p95, ms"),
)


@dataclass
class Watch:
    """Samples of what a process holds."""

    start_s: float = field(default_factory=time.monotonic)
    at_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Take a sample."""
        self.at_s.append(time.monotonic() - self.start_s)
        self.memory_mb.append(resident_mb() or 0.0)
        self.files.append(len(os.listdir("/proc/self/fd")))
        self.threads.append(threading.active_count())

    def growth(self) -> dict[str, float]:
        """Medians of the last quarter minus those of the second one."""
        count = len(self.at_s)
        early = slice(int(count * _SETTLED), max(int(count * 2 * _SETTLED), 1))
        late = slice(int(count * (1 - _SETTLED)), count)
        return {
            name: float(np.median(values[late]) - np.median(values[early]))
            for name, values in (
                ("memory_mb", self.memory_mb),
                ("files", self.files),
                ("threads", self.threads),
            )
        }


def soak(bundle: Path, seconds: float, fps: float, threads: int | None = None) -> dict[str, Any]:
    """Run one stream; what it held and what it did, as JSON values."""
    watch = Watch()
    with Rig(bundle, fps=fps, threads=threads, kept=0) as rig:
        rig.run(seconds, min(1.0, seconds / 40), watch.look)
    assert rig.record is not None
    record = rig.record.to_json()
    return {
        "fps": fps,
        "seconds": seconds,
        "memory_mb": [round(min(watch.memory_mb), 1), round(max(watch.memory_mb), 1)],
        "growth": watch.growth(),
        "counts": record["counts"],
        "sinks": [{k: v for k, v in s.items() if "_ms" not in k} for s in record["sinks"]],
        "alarms": record["alarms"]["counts"],
        "latency_ms": [s["latency_ms"] for s in record["sinks"]],
        "clients": {
            "browser": {k: v for k, v in rig.told["browser"].items() if k != "seen_ms"},
            "slicer": rig.told["slicer"],
        },
    }


def problems(report: dict[str, Any]) -> list[str]:
    """What is not as it should be."""
    found = []
    growth, counts = report["growth"], report["counts"]
    if growth["memory_mb"] > MOST_MB:
        found.append(f"memory grew by {growth['memory_mb']:.1f} MB; {MOST_MB:g} allowed")
    for what in ("files", "threads"):
        if growth[what] > 0:
            found.append(f"{growth[what]:g} more {what} at the end than in the beginning")
    if counts["captured"] != counts["accounted"]:
        found.append(f"{counts['captured']} frames came, {counts['accounted']} are accounted for")
    found += [
        f"{sink['name']}: offered {sink['offered']}, written {sink['written']}, dropped "
        f"{sink['dropped']}, {sink['error']}"
        for sink in report["sinks"]
        if sink["offered"] != sink["written"] + sink["dropped"] or sink["error"]
    ]
    for name, client in report["clients"].items():
        if client["error"] or not client.get("frames", client.get("images")):
            found.append(f"the client {name} got {client}")
    bad = {"inference hangs", "sink failed", "sink hangs", "source failed", "no signal"}
    found += [f"alarm: {kind}" for kind in report["alarms"] if kind in bad]
    return found


def sheet(reports: Sequence[dict[str, Any]]) -> tuple[Sheet, bool]:
    """What `soak` found, once or more; and whether all is as it should be."""
    wrong = [f"{r['fps']:g} fps: {text}" for r in reports for text in problems(r)]
    seconds = sum(r["seconds"] for r in reports)
    table = Table(f"Soak of {seconds:g} s", COLUMNS, [_row(r) for r in reports])
    notes = wrong or ["flat, and every frame accounted for"]
    return Sheet("soak", (table,), {"runs": list(reports)}, notes), not wrong


def _row(report: dict[str, Any]) -> list[Cell]:
    counts, growth = report["counts"], report["growth"]
    return [
        report["fps"],
        counts["captured"],
        counts["segmented"],
        counts["replaced"],
        *report["memory_mb"],
        *(growth[name] for name in ("memory_mb", "files", "threads")),
        max(sink["p95"] for sink in report["latency_ms"]),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both halves, print what they held, and say what is wrong; the exit code."""
    made = parser("live.soak", __doc__)
    made.add_argument("bundle", nargs="?", default=DEMO, type=Path)
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--threads", type=int)
    add_files(made, page=False)
    options = parsed(made, arguments)
    half = options.seconds / 2
    reports = [soak(options.bundle, half, fps, options.threads) for fps in (30.0, 300.0)]
    found, right = sheet(reports)
    return finish(found, options, arguments) or int(not right)


if __name__ == "__main__":
    run(main)
