"""What `samedge bench` prints."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from samedge.bench.report import render
from samedge.bench.report.figures import bounded, figure, said, share
from samedge.bench.report.table import stage_medians
from samedge.bench.report.values import Row
from samedge.bench.schedule import FLAT, KEPT_WARM, PACED, STREAM
from samedge.bench.statistics import Bounded
from tests.bench.reports import full, mode, report, row


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.2345, "1.23"), (12.345, "12.3"), (123.45, "123"), (12345.6, "12346"),
        (0.12345, "0.123"), (0.012345, "0.0123"), (9.999, "10.0"), (0.99999, "1.00"),
        (0.0999999, "0.100"), (99.99, "100"), (2e-9, "2.0e-09"), (3e30, "3.0e+30"),
        (-1.2345, "-1.23"),
    ],
)  # fmt: skip
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


def test_a_bound_that_is_not_known_is_a_question_mark() -> None:
    assert bounded(Bounded(12.3, 11.9, 13.0)) == "12.3 (11.9 to 13.0)"
    assert bounded(Bounded(12.3, 11.9, None)) == "12.3 (11.9 to ?)"
    assert bounded(Bounded(12.3, None, 13.0)) == "12.3 (? to 13.0)"
    assert bounded(Bounded(12.3, None, None)) == "12.3 (?)"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"), (10, 10, "100 %"), (1, 40, "2.5 %"), (1, 100000, "less than 0.1 %"),
        (99999, 100000, "99.9 %"), (1, 3, "33 %"), (1, 200, "0.5 %"),
    ],
)  # fmt: skip
def test_a_share_is_never_rounded_to_nothing_or_all(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


def test_values_of_records_are_shown_if_they_are_single_ones() -> None:
    assert [said(v) for v in (8, 8.0, True, None, "x", [1], {"a": 1})] == [
        "8", "8.00", "yes", "", "x", "", "",
    ]  # fmt: skip


def line(text: str, *words: str) -> str:
    """The first line with all those words."""
    return next(one for one in text.splitlines() if all(word in one for word in words))


def test_percentiles_with_their_bounds_and_late_frames() -> None:
    text = render(full())
    assert re.search(r"12\.0 \(11\.8 to 12\.2\) .* 0 of 100", line(text, "bf16", FLAT))
    assert re.search(r"15\.2 \(15\.1 to 15\.4\) .* 1 of 100", line(text, "bf16", PACED))
    assert "over 33.3 ms" in line(text, "what", "p50")
    assert "A p99 has an upper bound from 368 frames on; here there were 100." in text


def test_enough_frames_need_no_question_mark() -> None:
    text = render(report([row("a", mode(5.0, frames=40))]))
    assert "?" not in text


def test_late_frames_are_counted_only_if_a_rate_was_asked_for() -> None:
    assert "over 33" not in render(report([row("a", mode(50.0, frames=40))], fps=None))


def test_ratios_name_what_they_compare_with() -> None:
    found = line(render(full()), "faster", "bf16")
    assert re.search(r"flat out +eager PyTorch +4\.94 \(4\.81 to 5\.04\) +faster", found)


def test_a_row_may_have_two_yardsticks() -> None:
    rows = [
        row("eager", mode(60.0), baseline=True),
        row("plain", mode(30.0, seed=1)),
        row("folded", mode(15.0, seed=2), against="plain"),
    ]
    text = render(report(rows))
    assert "2.0" in line(text, "folded", "flat out", "plain")
    assert "4.0" in line(text, "folded", "flat out", "eager")
    assert [one.name for one in report(rows).yardsticks(rows[2])] == ["plain", "eager"]


def test_few_rounds_give_no_bounds_of_a_ratio() -> None:
    rows = [row("eager", mode(60.0, rounds=3), baseline=True), row("a", mode(20.0, rounds=3))]
    text = render(report(rows))
    assert "(?)  cannot tell" in line(text, "a ", "eager", "cannot")
    assert "from 5 rounds on; here there were 3" in text


def test_paced_stands_beside_flat_out() -> None:
    found = line(render(full()), "bf16", "1.26 (")
    assert "12.0" in found
    assert "15.2" in found


def test_there_is_no_ratio_of_a_queue() -> None:
    rows = [
        row("eager", mode(60.0), mode(60.0, wait_ms=200.0), baseline=True),
        row("a", mode(20.0, seed=1), mode(22.0, seed=2)),
    ]
    text = render(report(rows))
    ratios = text.split("How many times as fast")[1].split("\n\n")[0]
    assert "flat out" in ratios
    assert "paced" not in ratios
    assert "eager" not in text.split("What pauses between")[1].split("\n\n")[0]
    assert "Falling behind: eager (paced)." in text


def test_modes_that_were_not_taken_in_turn_have_a_ratio_as_well() -> None:
    one = row("a", mode(10.0), modes={"stream": mode(12.0, rounds=1, frames=100)})
    found = one.times_flat("stream")
    assert found is not None
    assert found.value == pytest.approx(1.2, rel=0.05)


def test_stages_have_the_wait_before_them_and_the_rest() -> None:
    stages = stage_medians(mode(10.0, wait_ms=3.0, spread=0.0))
    assert list(stages) == ["wait", "preprocess", "encode", "decode", "rest"]
    assert stages["wait"] == pytest.approx(3.0)
    assert stages["encode"] == pytest.approx(8.0)
    assert stages["rest"] == pytest.approx(0.2)
    assert "eager" not in render(full()).split("Stages")[1].split("\n\n")[0]


def test_what_no_stage_has_stands_last() -> None:
    stream = replace(mode(12.0), stages_ms={"publish": mode(1.0).latency_ms})
    text = render(report([row("a", mode(10.0), modes={STREAM: stream})]))
    assert line(text.split("Stages")[1], "what").split()[-2:] == ["publish", "rest"]


def test_a_stream_is_not_taken_in_turn_and_not_among_the_pauses() -> None:
    text = render(report([row("a", mode(10.0), mode(12.0), modes={STREAM: mode(15.0)})]))
    assert "stream / flat out" not in text
    assert "15.1 (" in line(text, "stream")


def test_start_memory_and_further_figures() -> None:
    text = render(full())
    assert "start s  load s  first frame ms  resident MB  peak MB" in text
    assert "300" in line(text.split("Further figures")[1], "bf16")
    assert "0.770" in line(text.split("Further figures")[1], "bf16")


def test_layers_by_kind_and_the_slowest() -> None:
    text = render(full()).split("Time per kind of layer")[1]
    assert re.search(r"encoder +MatMul +2 +7\.00 +93%", text)
    assert text.index("blocks.0.mlp") < text.index("blocks.0.attn.qkv") < text.index("norm")


def test_energy_is_per_frame() -> None:
    assert "J/frame" in line(render(full()), "p50", "mode")
    assert "J/frame" not in render(report([row("a", mode(5.0))]))


def test_what_a_reader_has_to_know_stands_below() -> None:
    text = render(full())
    assert "Not timed: demo openvino int8 2 threads: largest logit error 3.1" in text
    assert "This run is not clean: other processes took 40 % of the CPU" in text
    assert "Measuring adds 0.400 \u00b5s to a frame." in text
    assert "Machine: Imagined CPU 9000, 8 cores, 1 x Imagined GPU, avx2, avx512, amx_" in text
    assert text.splitlines()[-1].startswith("With 30 frames per second, ")


def test_an_interrupted_run_says_so() -> None:
    assert "Interrupted" in render(report([row("a", mode(5.0, rounds=2))], interrupted=True))
    nothing = render(report([Row("a"), Row("b")], interrupted=True))
    assert "before one round was complete" in nothing


@pytest.mark.parametrize("width", range(40, 121, 8))
def test_it_fits_a_terminal(width: int) -> None:
    long = row(
        "a title of somebody's own that takes quite some room " * 2, mode(7.0), baseline=True
    )
    found = full()
    text = render(report([*found.rows, long], layers=found.layers), width)
    assert max(map(len, text.splitlines())) <= width
    for number in ("12.0 (11.8 to 12.2)", "13.2 (13.1 to ?)", "4.94 (4.81 to 5.04)"):
        assert number in text or "not shown" in text


def test_columns_that_are_left_out_are_named() -> None:
    text = render(full(), 90)
    assert "jitter ms" not in line(text, "p50 ms", "mode")
    assert "(not shown, for want of room: jitter ms" in text


def test_names_take_two_lines_rather_than_four() -> None:
    for width in range(80, 130, 5):
        table = render(full(), width).split("\n\n")[0].split("(not shown")[0]
        assert len(table.splitlines()) <= 4 + 2 * 5


def test_foreign_words_cannot_steer_a_terminal() -> None:
    found = report(
        [row("\x1b[2Jname\nnext", mode(5.0), notes=("\x07bell",)), Row("x", refused="\x1b]0;")],
        title="\x1b[31mred",
        source="\x1b[1m",
        machine={"cpu": {"model": "\x1b[5m"}},
    )
    assert "\x1b" not in render(found)
    assert "\x07" not in render(found)


def test_kept_warm_has_its_column() -> None:
    one = row("a", mode(10.0), mode(14.0), modes={KEPT_WARM: mode(10.5)})
    heads = line(render(report([one])), "kept warm / flat out")
    assert "paced / flat out" in heads


def test_layers_or_starts_alone_conclude_nothing() -> None:
    assert "conclude" not in render(report([Row("a", load={"warm": {"load_s": 1.0}})]))


def test_a_machine_that_is_slowed_from_outside_is_not_clean() -> None:
    steady = report([row("a", mode(5.0)), row("b", mode(9.0, seed=1))])
    assert not steady.warnings
    slow = {frame: 2.0 * (frame // 10 % 2) for frame in range(100)}  # in every second round
    rows = [row("a", mode(5.0, stalls=slow)), row("b", mode(5.0, stalls=slow, seed=1))]
    (warning,) = report(rows).warnings
    assert "1.4" in warning
    assert "other virtual machines" in warning
    assert "not clean" in render(report(rows))
    few = [row("a", mode(5.0, rounds=4, stalls=dict.fromkeys(range(10, 20), 4.0)))]
    assert not report(few).warnings  # nothing can be told from four blocks
