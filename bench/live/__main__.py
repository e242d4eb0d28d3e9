"""How long a frame takes from a device to what is seen of it.

    python -m samedge.bench.live --seconds 30
    python -m samedge.bench.live --limit-p95 50 --limit-own 3     # exit code 1 beyond

A row per sink, from a frame's capture to the end of its writing, and one for a browser in another
process. The same stream feeds all of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from samedge.bench.contenders.stream import blocks_of
from samedge.bench.entry import add_files, finish, parsed, parser, run
from samedge.bench.live.rig import DEMO, Rig
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.schedule import STREAM, Block
from samedge.bench.statistics import percentile
from samedge.machine.condition import Watch
from samedge.machine.fingerprint import fingerprint

BROWSER = "capture to another process"
ROUNDS = 10  # blocks that the frames are divided into
_WARM_S = 3.0  # first frames, whose code is loaded and whose memory is allocated


@dataclass(frozen=True)
class Streamed:
    """What a rig has found.

    Attributes:
        report: a row per way, mode "stream".
        record: of the stream, as JSON values.
    """

    report: Report
    record: Mapping[str, Any]

    def beyond(self, p95: float | None, own: float | None) -> list[str]:
        """What is beyond limits in ms: on each sink's p95, and on all but the network, p50."""
        found = []
        for row in self.report.rows:
            reached = percentile(row.modes[STREAM].frames, 95).value
            if p95 and row.name != BROWSER and reached > p95:
                found.append(f"{row.name}: p95 {reached:.2f} ms")
        stage = self.record["stages_ms"]["own"]["p50"]
        if own and stage > own:
            found.append(f"all but the network: p50 {stage} ms")
        return found


def measure(rig: Rig, seconds: float, fps: float, warm_s: float = _WARM_S) -> Streamed:
    """Run a rig and tell what its frames took."""
    watch = Watch()
    with rig:
        rig.run(warm_s)
        skip = [len(sink.items) for sink in rig.sinks]
        watch.look()
        rig.run(seconds, look=watch.look)
    assert rig.record is not None
    record = rig.record.to_json()
    ways = {
        f"capture to {sink.name}": blocks_of(list(sink.items)[count:], ROUNDS)
        for sink, count in zip(rig.sinks, skip, strict=True)
    }
    first = min(blocks[0].arrived[0] for blocks in ways.values() if blocks)
    seen = [(at, here) for at, here in rig.told["browser"]["seen_ms"] if at >= first * 1e3]
    ways[BROWSER] = [_seen(seen)] if seen else []
    about = {**record["session"], "fps": fps}
    report = Report(
        title=f"{fps:g} frames per second from a device to what is seen of them",
        rows=tuple(_row(name, blocks, first, about) for name, blocks in ways.items() if blocks),
        machine=fingerprint(),
        condition=watch.condition(),
        plan={"rounds": ROUNDS, "seconds": seconds, "fps": fps, "modes": [STREAM]},
        source="simulated device",
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        notes=tuple(_notes(record, rig.told)),
    )
    return Streamed(report, record)


def _seen(seen: Sequence[tuple[float, float]]) -> Block:
    captured = tuple(at / 1e3 for at, _ in seen)
    return Block(captured, captured, tuple(here / 1e3 for _, here in seen), ({},) * len(seen))


def _row(name: str, blocks: list[Block], first: float, about: Mapping[str, Any]) -> Row:
    mode = Mode.of(blocks, first)
    third = max(len(mode.frames) // 3, 1)
    extra = {
        "p50 of the first third, ms": round(median(mode.frames[:third]), 2),
        "of the last, ms": round(median(mode.frames[-third:]), 2),
    }
    return Row(name, about=about, modes={STREAM: mode}, extra=extra)


def _notes(record: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    def words(values: Mapping[str, Any]) -> str:
        return ", ".join(f"{name} {value}" for name, value in values.items() if value)

    own = record["stages_ms"]["own"]
    browser = {k: v for k, v in told["browser"].items() if k != "seen_ms"}
    return [
        f"frames of the whole stream: {words(record['counts'])}",
        f"all but the network: p50 {own['p50']} ms, p99 {own['p99']} ms",
        f"clients: browser {words(browser)}; slicer {words(told['slicer'])}",
        f"alarms: {words(record['alarms']['counts']) or 'none'}",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and judge by the limits that were given; the exit code."""
    options = _options(arguments)
    height, width = map(int, options.size.split("x"))
    rig = Rig(options.bundle, (height, width), options.fps, options.precision, options.threads)
    found = measure(rig, options.seconds, options.fps)
    code = finish(found.report, options, arguments)
    broken = found.beyond(options.limit_p95, options.limit_own)
    for line in broken:
        print(f"beyond the limit: {line}")
    return code or int(bool(broken))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    made = parser("live", __doc__)
    made.add_argument("bundle", nargs="?", default=DEMO, type=Path)
    made.add_argument("--seconds", type=float, default=20.0)
    made.add_argument("--fps", type=float, default=30.0)
    made.add_argument("--size", default="480x640", metavar="HxW")
    made.add_argument("--precision", default="auto")
    made.add_argument("--threads", type=int)
    made.add_argument("--limit-p95", type=float, metavar="MS", help="of source to sink")
    made.add_argument("--limit-own", type=float, metavar="MS", help="of all but the network, p50")
    add_files(made)
    return parsed(made, arguments)


if __name__ == "__main__":
    run(main)
