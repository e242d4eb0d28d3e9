"""Two reports: same, faster, slower, cannot tell."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from samedge.bench.compare import compare
from samedge.bench.report.values import Mode, Row
from samedge.bench.schedule import FLAT, PACED
from samedge.bench.statistics import Verdict
from samedge.errors import NotSupportedError
from tests.bench.reports import MACHINE, mode, report, row


def one(ms: float, seed: int = 0, **options: float) -> Row:
    return row("a", mode(ms, seed=seed, **options))  # type: ignore[arg-type]


def verdict_of(before: Row, after: Row) -> Verdict:
    return compare(report([before]), report([after])).changes[0].verdict


def test_verdicts() -> None:
    assert verdict_of(one(10.0, frames=100), one(10.0, 1, frames=100)) is Verdict.SAME
    assert verdict_of(one(10.0), one(8.0, 1)) is Verdict.FASTER
    assert verdict_of(one(10.0), one(12.0, 1)) is Verdict.SLOWER
    assert verdict_of(one(10.0), one(10.4, 1, spread=0.6)) is Verdict.CANNOT_TELL
    assert verdict_of(one(10.0, rounds=3), one(20.0, 1, rounds=3)) is Verdict.CANNOT_TELL


def test_equal_ones_rarely_differ() -> None:
    wrong = sum(
        verdict_of(one(10.0, n), one(10.0, n + 1000)) in (Verdict.FASTER, Verdict.SLOWER)
        for n in range(60)
    )
    assert wrong <= 6


@pytest.mark.parametrize(
    ("ms", "threshold", "regressed"),
    [
        (10.7, 0.05, True),
        (10.3, 0.05, False),
        (10.7, 0.2, False),
        (9.0, 0.0, False),
        (10.3, 0, True),
    ],
)
def test_a_regression_is_slower_by_more_than_the_threshold(
    ms: float, threshold: float, regressed: bool
) -> None:
    before, after = one(10.0, frames=200), one(ms, 1, frames=200)
    found = compare(report([before]), report([after]), threshold)
    assert found.regressed is regressed
    assert ("Regressed: a, flat out" in found.render()) is regressed


def test_what_cannot_be_told_is_no_regression() -> None:
    found = compare(report([one(10.0, rounds=3)]), report([one(30.0, rounds=3)]))
    assert not found.regressed
    assert "1 cannot tell" in found.render()


def test_each_mode_is_compared() -> None:
    before = row("a", mode(10.0), mode(12.0, seed=1))
    after = row("a", mode(10.0, seed=2), mode(18.0, seed=3))
    found = compare(report([before]), report([after]))
    assert [(c.mode, c.regressed) for c in found.changes] == [(FLAT, False), (PACED, True)]


def test_a_row_that_is_refused_now_has_regressed() -> None:
    found = compare(report([one(10.0)]), report([Row("a", refused="logits off")]))
    assert found.regressed
    assert "Refused now: a: logits off" in found.render()
    assert not compare(report([Row("a", refused="logits off")]), report([one(10.0)])).regressed


def test_rows_of_one_report_alone() -> None:
    found = compare(
        report([one(10.0), row("old", mode(5.0))]), report([one(10.0, 1), row("new", mode(5.0))])
    )
    assert found.only_before == ("old, flat out",)
    assert found.only_after == ("new, flat out",)
    assert "Only in the second report: new, flat out." in found.render()
    nothing = compare(report([row("old", mode(5.0))]), report([row("new", mode(5.0))]))
    assert "no row in common" in nothing.render()
    assert not nothing.regressed


def tail_of(before: Mode, after: Mode) -> Verdict:
    return compare(report([row("a", before)]), report([row("a", after)])).changes[0].tail


def test_a_tail_that_grew_is_told() -> None:
    calm = mode(10.0, frames=60)
    stalled = mode(10.0, seed=1, frames=60, stalls=dict.fromkeys(range(0, 600, 20), 50.0))
    assert tail_of(calm, stalled) is Verdict.SLOWER
    assert tail_of(stalled, calm) is Verdict.FASTER
    found = compare(report([row("a", calm)]), report([row("a", stalled)]))
    assert "The p99 of a, flat out, went from" in found.render()


def test_tails_whose_bounds_touch_cannot_be_told_apart() -> None:
    assert tail_of(mode(10.0, frames=60), mode(10.1, seed=1, frames=60)) is Verdict.CANNOT_TELL
    assert tail_of(mode(10.0), mode(20.0, seed=1)) is Verdict.CANNOT_TELL  # no bound from above


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"machine": {**MACHINE, "cpu": {"model": "Other"}}}, "cpu model: Imagined CPU 9000, then"),
        ({"machine": {**MACHINE, "samedge": "0.2.0"}}, "samedge: 0.1.0, then 0.2.0"),
        ({"machine": {}}, "not known whether both ran on one machine"),
        ({"condition": {"warnings": ["hot"]}}, "the second run was not clean (hot)"),
        ({"interrupted": True}, "the second run was interrupted"),
        ({"source": "other.mp4"}, "frames: synthetic ultrasound, then other.mp4"),
        ({"plan": {"fps": 25.0, "rounds": 10, "frames": 10, "pause_s": 0.05}}, "30.0, then 25.0"),
        ({"part": "encoder"}, "what was timed: whole frames, then encoder"),
    ],
)
def test_other_differences_are_doubts(change: dict[str, object], doubt: str) -> None:
    before = report([one(10.0)])
    found = compare(before, replace(before, **change))  # type: ignore[arg-type]
    assert any(doubt in line for line in found.doubts), found.doubts
    assert doubt in found.render()


def test_other_weights_under_the_same_name_are_a_doubt() -> None:
    before, after = (
        row("a", mode(10.0), about={"threads": 2, "files": {"sha256": sha}}) for sha in "12"
    )
    found = compare(report([before]), report([after]))
    assert found.doubts == ("a: files sha256: 1, then 2",)


def test_the_same_machine_with_less_free_memory_is_no_doubt() -> None:
    other = {**MACHINE, "memory": {"total_mb": 32000, "available_mb": 5}}
    assert not compare(report([one(10.0)]), report([one(10.0)], machine=other)).doubts


def test_it_is_plain_json() -> None:
    found = compare(report([one(10.0)]), report([one(12.0, 1), row("b", mode(1.0))]))
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert value["regressed"] is True
    assert value["changes"][0]["verdict"] == "slower"
    assert value["only_after"] == ["b, flat out"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_it_fits_a_terminal(width: int) -> None:
    long = "a row with quite a long name, as bundles have them"
    found = compare(report([row(long, mode(10.0))]), report([row(long, mode(12.0, seed=1))]))
    assert max(map(len, found.render(width).splitlines())) <= width


def test_a_threshold_is_a_share() -> None:
    with pytest.raises(NotSupportedError, match=r"0\.05 for 5 %"):
        compare(report([one(1.0)]), report([one(1.0)]), 50)
