"""The rig runs and adds up; what a soak complains about."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from samedge.bench.live.__main__ import measure, render, within
from samedge.bench.live.rig import Rig
from samedge.bench.live.soak import Watch, problems

TINY = Path(__file__).parents[2] / "data" / "tiny.samedge"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    rig = Rig(TINY, size=(120, 160), fps=60, precision="fp32", threads=1)
    return measure(rig, 1.0, 60, warm_s=2.0)


def test_every_way_is_measured_and_every_frame_accounted_for(report: dict[str, Any]) -> None:
    assert {"capture to viewer", "capture to igtl-any"} <= set(report["ways"])
    counts = report["record"]["counts"]
    assert counts["captured"] == counts["accounted"] > 20
    assert report["clients"]["browser"]["frames"] > 0
    assert report["clients"]["slicer"]["images"] > 0
    text = render(report)
    assert "capture to viewer" in text
    assert "all else" in text


def test_limits(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert within(report, None, None)
    assert within(report, 1e6, 1e6)
    assert not within(report, 1e-3, None)
    assert not within(report, None, 1e-3)
    assert "capture to viewer: p95" in capsys.readouterr().out


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
