"""How long a frame takes from a device to what is seen of it.

python -m samedge.bench.live --seconds 30
python -m samedge.bench.live --limit-p95 50 --limit-own 3     # exit code 1 beyond
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from samedge.bench.entry import run
from samedge.bench.live.rig import DEMO, Rig
from samedge.tables import render_table

_WARM_S = 3.0  # first frames, whose code is loaded and whose memory is allocated
_PERCENTILES = (50, 90, 95, 99, 100)
_THIRDS = ("first third p50", "last third p50")


def measure(rig: Rig, seconds: float, fps: float, warm_s: float = _WARM_S) -> dict[str, Any]:
    """Run a rig and tell what its frames took.

    Returns:
        a report of plain JSON values: per sink and for the browser the percentiles of the latency
        in ms, p50 of its first and last third, and the stream's own record.
    """
    with rig:
        rig.run(warm_s)
        skip = [len(sink.latency_ms) for sink in rig.sinks]
        rig.run(seconds)
    assert rig.record is not None
    ways = {
        f"capture to {sink.name}": list(sink.latency_ms)[count:]
        for sink, count in zip(rig.sinks, skip, strict=True)
    }
    browser = rig.told["browser"]["latency_ms"]
    ways["capture to another process"] = browser[-len(ways["capture to viewer"]) :]
    return {
        "fps": fps,
        "seconds": seconds,
        "ways": {name: _way(values) for name, values in ways.items() if values},
        "clients": {
            "browser": {k: v for k, v in rig.told["browser"].items() if k != "latency_ms"},
            "slicer": rig.told["slicer"],
        },
        "record": rig.record.to_json(),
    }


def _way(values: list[float]) -> dict[str, Any]:
    third = max(len(values) // 3, 1)
    found = {f"p{p}": round(float(np.percentile(values, p)), 2) for p in _PERCENTILES}
    halves = {
        "first third p50": round(float(np.median(values[:third])), 2),
        "last third p50": round(float(np.median(values[-third:])), 2),
    }
    return {"count": len(values), **found, **halves}


def main() -> int:
    """Measure, print, and judge by the limits that were given; the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("bundle", nargs="?", default=DEMO, type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--size", default="480x640", metavar="HxW")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--limit-p95", type=float, metavar="MS", help="of source to sink")
    parser.add_argument("--limit-own", type=float, metavar="MS", help="of all but the network, p50")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    rig = Rig(options.bundle, (height, width), options.fps, options.precision, options.threads)
    report = measure(rig, options.seconds, options.fps)
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(render(report))
    return 0 if within(report, options.limit_p95, options.limit_own) else 1


def within(report: dict[str, Any], p95: float | None, own: float | None) -> bool:
    """Whether a report keeps the limits, in ms; says which it does not."""
    sinks = {n: w for n, w in report["ways"].items() if n != "capture to another process"}
    broken = [f"{n}: p95 {w['p95']} ms" for n, w in sinks.items() if p95 and w["p95"] > p95]
    stage = report["record"]["stages_ms"]["own"]["p50"]
    if own and stage > own:
        broken.append(f"all but the network: p50 {stage} ms")
    for line in broken:
        print(f"beyond the limit: {line}")
    return not broken


def render(report: dict[str, Any]) -> str:
    """The report as text."""
    record = report["record"]
    columns = ("", *(f"p{p}" if p < 100 else "max" for p in _PERCENTILES), "first third", "last")
    rows = [
        [name, *(str(way[f"p{p}"]) for p in _PERCENTILES), *(str(way[k]) for k in _THIRDS)]
        for name, way in report["ways"].items()
    ]
    stages = record["stages_ms"]
    words = {"wait": "in the mailbox", "encode": "encode", "decode": "decode", "own": "all else"}
    for key, name in words.items():
        found = stages[key]
        values = [found["p50"], found["p90"], found["p95"], found["p99"], found["max"]]
        rows.append([f"  {name}", *(f"{v:.2f}" for v in values), "", ""])
    counts = {k: v for k, v in record["counts"].items() if v}
    session = record["session"]
    title = f"{report['fps']:g} fps, {session['backend']} {session['precision']}, ms"
    text = render_table(title, columns, rows)
    return f"{text}\n\n{counts}\nclients: {report['clients']}\nalarms: {record['alarms']['counts']}"


if __name__ == "__main__":
    run(main)
