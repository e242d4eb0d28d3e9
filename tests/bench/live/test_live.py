"""The rig runs and adds up; what a soak complains about."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from samedge.bench.live.__main__ import BROWSER, ROUNDS, Streamed, measure
from samedge.bench.live.rig import Rig
from samedge.bench.live.soak import Watch, problems, sheet
from samedge.bench.report.values import Report
from samedge.bench.schedule import STREAM

TINY = Path(__file__).parents[2] / "data" / "tiny.samedge"


@pytest.fixture(scope="module")
def found() -> Streamed:
    rig = Rig(TINY, size=(120, 160), fps=60, precision="fp32", threads=1)
    return measure(rig, 1.0, 60, warm_s=2.0)


def test_every_way_is_measured_and_every_frame_accounted_for(found: Streamed) -> None:
    rows = {row.name: row for row in found.report.rows}
    assert {"capture to viewer", "capture to igtl-any", BROWSER} <= set(rows)
    counts = found.record["counts"]
    assert counts["captured"] == counts["accounted"] > 20
    mode = rows["capture to viewer"].modes[STREAM]
    assert len(mode.latency_ms) == ROUNDS
    parts = [sum(some) for some in zip(*mode.stages_ms["encode"], strict=True)]
    assert 0 < sum(parts) < sum(mode.frames)
    assert min(rows[BROWSER].modes[STREAM].frames) > 0
    notes = "\n".join(found.report.notes)
    assert "browser frames" in notes
    assert "slicer images" in notes
    assert Report.from_json(json.loads(json.dumps(found.report.to_json()))).rows


def test_limits(found: Streamed) -> None:
    assert found.beyond(None, None) == []
    assert found.beyond(1e6, 1e6) == []
    assert found.beyond(1e-3, None)[0].startswith("capture to viewer: p95")
    assert found.beyond(None, 1e-3)[0].startswith("all but the network: p50")


def test_a_soaks_table() -> None:
    run: dict[str, Any] = {
        "fps": 30.0,
        "seconds": 30.0,
        "memory_mb": [200.0, 210.5],
        "growth": {"memory_mb": 0.5, "files": 0.0, "threads": 1.0},
        "counts": {"captured": 10, "segmented": 9, "replaced": 1, "accounted": 10},
        "sinks": [],
        "alarms": {},
        "latency_ms": [{"p95": 14.0}, {"p95": 17.0}],
        "clients": {},
    }
    made, right = sheet([run])
    assert not right
    assert made.notes == ["30 fps: 1 more threads at the end than in the beginning"]
    (row,) = made.tables[0].records()
    assert (row["dropped"], row["memory_most_mb"], row["p95_ms"]) == (1, 210.5, 17.0)
    run["growth"]["threads"] = 0.0
    assert sheet([run])[1]


def test_what_a_soak_complains_about() -> None:
    good: dict[str, Any] = {
        "growth": {"memory_mb": 0.5, "files": 0.0, "threads": 0.0},
        "counts": {"captured": 10, "accounted": 10},
        "sinks": [{"name": "viewer", "offered": 9, "written": 8, "dropped": 1, "error": None}],
        "clients": {"browser": {"frames": 3, "error": ""}, "slicer": {"images": 3, "error": ""}},
        "alarms": {"late mask": 2},
    }
    assert problems(good) == []
    for path, value in (
        (("growth", "memory_mb"), 50.0),
        (("growth", "files"), 1.0),
        (("growth", "threads"), 1.0),
        (("counts", "accounted"), 9),
        (("sinks", 0, "written"), 7),
        (("sinks", 0, "error"), "full"),
        (("clients", "browser", "frames"), 0),
        (("clients", "slicer", "error"), "gone"),
        (("alarms", "inference hangs"), 1),
    ):
        bad = copy.deepcopy(good)
        place: Any = bad
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert len(problems(bad)) == 1, path


def test_growth_compares_the_end_with_what_was_settled() -> None:
    watch = Watch()
    watch.at_s = [float(i) for i in range(40)]
    watch.memory_mb = [float(min(i, 10)) for i in range(30)] + [30.0] * 10
    watch.files, watch.threads = [5] * 40, [3] * 39 + [9]
    assert watch.growth() == {"memory_mb": 20.0, "files": 0.0, "threads": 0.0}
    watch.look()
    assert watch.memory_mb[-1] > 10
