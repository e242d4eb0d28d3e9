"""The kernels' benchmark without a GPU: refusal, checks before timing, records, tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from samedge.bench import kernels
from samedge.bench.report.values import Report
from samedge.bench.schedule import FLAT, Plan
from samedge.bench.statistics import Verdict
from samedge.errors import DeviceError, NotSupportedError
from tests.bench.clocks import FakeClock
from tests.kernels.interpreted import interpreted

STATES = [{"clocks.sm": "1980 MHz"}, {"clocks.sm": "1755 MHz"}]


class FakeTimer:
    """Runs on the CPU; the first contender takes half a millisecond, every other one 3.5 ms."""

    device, card = "cpu", "A card (of paper)"

    def __init__(self) -> None:
        self.prepared_calls = 0
        self.states = list(STATES)

    def prepared(self, call: Callable[[], Any]) -> Callable[[], float]:
        self.prepared_calls += 1
        took = 0.5 if self.prepared_calls == 1 else 3.5
        return lambda: took

    def state(self) -> dict[str, str]:
        return self.states.pop(0)


def record(wrong: bool = False) -> Report:
    """Of one small case, in the interpreter."""
    from dataclasses import replace

    from samedge.kernels.problems import linear

    case = next(case for case in linear.CASES if case.name == "linear.gelu")
    case = replace(case, true=case.small)

    def others(name: str, given: Any, sizes: Any) -> dict[str, Any]:
        assert name == case.name
        assert sizes == case.small
        y = given["x"].double() @ given["weight"].double() + given["bias"]
        right = torch.nn.functional.gelu(y) * (1.1 if wrong else 1)
        return {"other": lambda: (right,)}

    plan = Plan(rounds=6, frames=2, warmup=10, pause_s=0)
    return kernels.measure([case], FakeTimer(), "fp32", plan, others, clock=FakeClock())


@pytest.fixture(scope="module")
def made() -> Report:
    report: Report = interpreted(record)
    return report


def test_the_time_that_counts_is_the_gpus(made: Report) -> None:
    ours, other = made.rows
    assert (ours.name, other.name) == ("linear.gelu: samedge", "linear.gelu: other")
    assert other.modes[FLAT].frames == pytest.approx([3.5] * 12)
    assert made.yardstick(ours) is None
    assert made.yardstick(other) is ours
    found = made.ratio(other, ours)
    assert found is not None
    assert found[0].value == pytest.approx(1 / 7)
    assert found[1] is Verdict.SLOWER
    assert 0 < ours.parity["error"] < 1e-5


def test_what_it_was_measured_with(made: Report) -> None:
    assert Report.from_json(json.loads(json.dumps(made.to_json()))).rows == made.rows
    assert made.title == "Kernels, A card (of paper), fp32"
    assert made.rows[0].about["sizes"]
    assert [note for note in made.notes if "clocks.sm" in note] == [
        "before: clocks.sm 1980 MHz", "after: clocks.sm 1755 MHz",
    ]  # fmt: skip
    assert {"torch", "triton"} <= set(made.machine["libraries"])


def test_what_is_wrong_is_not_timed() -> None:
    report = interpreted(record, wrong=True)
    ours, other = report.rows
    assert ours.modes
    assert not other.modes
    assert "it answers with an error of" in other.refused


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu() -> None:
    with pytest.raises(DeviceError, match=r"there is no GPU that PyTorch can use.*--account"):
        kernels.main([])


def test_cases() -> None:
    def names(wanted: list[str]) -> Any:
        return [case.name for case in kernels.chosen(wanted)]

    assert names(["linear.norm"]) == ["linear.norm"]
    assert {"window_attention", "global_attention", "linear.gelu"} <= set(names([]))
    with pytest.raises(NotSupportedError, match=r"no case 'linear\.nrom'; known: window"):
        names(["linear.nrom"])


@pytest.mark.parametrize(
    "name", ["window_attention", "global_attention", "attention", "linear.norm", "linear.gelu",
             "linear.residual", "linear.split"],
)  # fmt: skip
def test_others_compute_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's contenders, not compiled."""
    from torch.nn.attention import flex_attention

    from samedge.bench.contenders.torch_kernels import contenders
    from samedge.kernels.problems import Draw, error

    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    (case,) = kernels.chosen([name])
    problem = case.make(Draw("fp32"), **case.small)
    calls = contenders(name, problem.given, case.small)
    assert len(calls) >= 2
    for other, call in calls.items():
        assert error(call(), problem.answer()) < 1e-5, other
