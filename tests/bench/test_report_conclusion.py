"""One sentence for somebody with a camera."""

from __future__ import annotations

import pytest

from samedge.bench.report.conclusion import conclusion
from samedge.bench.report.values import Mode, Row
from samedge.bench.schedule import KEPT_WARM
from tests.bench.reports import mode, report, row

FP32 = {"precision": "fp32"}


def paced(ms: float, **options: object) -> Mode:
    given = {"period_ms": 1e3 / 30, "frames": 10, **options}
    return mode(ms, **given)  # type: ignore[arg-type]


def said(*rows: Row, **fields: object) -> str:
    text = conclusion(report(rows, **fields))  # type: ignore[arg-type]
    assert text.endswith(".")
    assert ". " not in text
    assert "\n" not in text
    return text


def test_it_keeps_up() -> None:
    text = said(row("a", paced=paced(20.0, frames=50)))
    assert text.startswith(
        "With 30 frames per second, a keeps up: none of 500 frames took longer than 33.3 ms, and "
        "p99 is 22."
    )


def test_with_few_frames_the_tail_has_no_bound_from_above() -> None:
    text = said(row("a", paced=paced(20.0)))
    assert "p99 is at least 21." in text
    assert "(a bound from above takes 368 frames)" in text


def test_some_frames_are_late() -> None:
    text = said(row("a", paced=paced(20.0, stalls={3: 50.0, 70: 60.0})))
    assert "a keeps up, but 2 % of its frames (2 of 100) came late, and p99 is at least" in text


def test_most_frames_are_late_though_the_work_is_quick() -> None:
    text = said(row("a", paced=paced(20.0, wait_ms=30.0)))
    assert "a does not keep up: 100 % of its frames (100 of 100) came late" in text


def test_it_cannot() -> None:
    text = said(row("a", paced=paced(50.0, frames=50), about=FP32))
    assert "a cannot keep up: the work on a frame takes 49.9 (49.5 to 50.2) ms" in text
    assert "and the next one comes after 33.3 ms" in text
    assert "a lower precision may be fast enough (--precision all)" in text
    assert "17 frames per second is what it can do with hardly any frame late" in text


def test_a_lower_precision_is_no_advice_where_one_was_tried() -> None:
    text = said(
        row("a", paced=paced(50.0), about=FP32),
        row("b", paced=paced(60.0, seed=1), about={"precision": "bf16"}),
    )
    assert "--precision" not in text


def test_it_is_at_its_limit() -> None:
    text = said(row("a", paced=paced(1e3 / 30, spread=0.2)))
    assert "a is at its limit: the work on a frame takes 33" in text


def test_less_than_one_frame_per_second() -> None:
    text = said(row("a", paced=paced(4000.0)))
    assert "it cannot even do one frame per second" in text


def test_flat_out_alone_says_less() -> None:
    text = said(row("a", mode(20.0)), fps=None)
    assert "a should keep up: flat out none of 100 frames took longer than 33.3 ms" in text
    assert "frames with pauses between them are often slower, so measure with --fps 30" in text
    text = said(row("a", mode(20.0, stalls={3: 50.0})), fps=None)
    assert "a may keep up: flat out 1 of 100 frames took longer than 33.3 ms" in text
    assert "measure with --fps 30" in text
    assert "a cannot keep up: " in said(row("a", mode(50.0)), fps=None)


@pytest.mark.parametrize(("fps", "deadline"), [(60.0, "16.7"), (12.5, "80.0"), (None, "33.3")])
def test_the_rate_is_the_one_that_was_asked_for(fps: float | None, deadline: str) -> None:
    text = said(row("a", paced=paced(10.0)), fps=fps)
    assert text.startswith(f"With {fps or 30:g} frames per second, ")
    assert f"took longer than {deadline} ms" in text


def test_the_best_row_is_no_baseline() -> None:
    rows = row("eager", paced=paced(5.0), baseline=True), row("a", paced=paced(20.0))
    assert "second, a keeps up" in said(*rows)


def test_the_best_has_the_fewest_late_frames_and_is_the_fastest_of_those() -> None:
    often = dict.fromkeys(range(0, 100, 10), 50.0)
    rows = (
        row("late", paced=paced(10.0, stalls=often)),
        row("slow", paced=paced(25.0, seed=1)),
        row("fast", paced=paced(15.0, seed=2, stalls={3: 50.0})),
    )
    text = said(*rows)
    assert "second, fast keeps up, but 1 %" in text
    assert "slow had no late frame" in text


def test_others_that_keep_up_are_named() -> None:
    rows = [row(name, paced=paced(10.0 + n)) for n, name in enumerate("abcd")]
    assert said(rows[0], rows[1]).endswith("; so does b.")
    assert said(*rows).endswith("; so do b and 2 more.")
    flat = [row(name, mode(10.0 + n)) for n, name in enumerate("ab")]
    assert "; so should b" in said(*flat)


def test_pauses_that_cost_are_named() -> None:
    stalls = {3: 50.0, 4: 50.0}
    one = row("a", mode(14.0), paced(20.0, stalls=stalls))
    assert "times as long as flat out, so see what --keep-warm does" in said(one)
    even = row("a", mode(20.0), paced(20.0, stalls=stalls))
    assert "--keep-warm" not in said(even)


def test_a_warm_client_that_helps_is_named() -> None:
    stalls = {3: 50.0, 4: 50.0}
    modes = {KEPT_WARM: paced(14.0)}
    one = row("a", mode(14.0), paced(20.0, stalls=stalls), modes=modes)
    assert "for a client that spins while it waits (--keep-warm) 0 of 100 were late" in said(one)
    modes = {KEPT_WARM: paced(14.0, stalls=dict.fromkeys(range(9), 50.0))}
    one = row("a", mode(14.0), paced(20.0, stalls=stalls), modes=modes)
    assert "--keep-warm" not in said(one)


def test_a_run_that_is_not_clean_says_so_at_the_end() -> None:
    text = said(row("a", paced=paced(20.0)), condition={"warnings": ["hot"]})
    assert text.endswith("but the run was not clean, so measure again before you rely on it.")


def test_an_interrupted_run_says_what_it_rests_on() -> None:
    text = said(row("a", paced=paced(20.0, rounds=2)), interrupted=True)
    assert text.endswith("the run was interrupted, so this rests on 20 frames.")


def test_nothing_to_conclude() -> None:
    assert "before one round was complete" in said(Row("a"), interrupted=True)
    assert "was refused (a, b)" in said(Row("a", refused="x"), Row("b", refused="y"))
    assert "only baselines" in said(row("eager", mode(5.0), baseline=True))
    text = said(row("a", modes={"x": mode(5.0)}))
    assert "nothing was timed flat out, paced or as a stream" in text


def test_a_stream_is_judged_where_there_is_nothing_else() -> None:
    text = said(row("capture to viewer", modes={"stream": mode(12.0)}), plan={"fps": 30.0})
    assert "capture to viewer keeps up: none of 100 frames" in text
    assert "flat out" not in text


def test_a_part_of_a_frame_says_nothing_about_cameras() -> None:
    text = said(row("a", mode(5.0)), part="image encoder")
    assert text.startswith("Only the image encoder was timed, which says nothing about a whole")
    assert "fastest is a with a median of 4.9" in text or "median of 5.0" in text
