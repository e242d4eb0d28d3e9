"""The kernels' benchmark without a GPU: refusal, checks before timing, records, tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samedge.bench import kernels
from samedge.errors import DeviceError, NotSupportedError, ParityError
from tests.kernels.interpreted import interpreted

STATES = [{"clocks.sm": "1980 MHz"}, {"clocks.sm": "1755 MHz"}]


class FakeTimer:
    """Runs on the CPU; every call of a contender takes a millisecond longer than the one before,
    and samedge's no time at all but half a millisecond."""

    device, card = "cpu", "A card (of paper)"

    def __init__(self) -> None:
        self.prepared_calls = 0
        self.states = list(STATES)

    def prepared(self, call: Callable[[], Any]) -> Callable[[], float]:
        self.prepared_calls += 1
        count, ours = 0, self.prepared_calls == 1

        def once() -> float:
            nonlocal count
            count += 1
            return 0.5 if ours else float(count)

        return once

    def state(self) -> dict[str, str]:
        return self.states.pop(0)


def record(wrong: bool = False) -> Any:
    """Of one small case, in the interpreter; or the error, and how often something was timed."""
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

    timer = FakeTimer()
    try:
        return kernels.measure([case], timer, "fp32", 4, others)
    except ParityError as error:
        return str(error), timer.prepared_calls


@pytest.fixture(scope="module")
def made() -> Any:
    return interpreted(record)


def test_record(made: Any) -> None:
    assert json.loads(json.dumps(made)) == made
    assert (made["card"], made["dtype"], made["rounds"]) == ("A card (of paper)", "fp32", 4)
    assert [made["before"], made["after"]] == STATES
    assert {"torch", "triton", "cuda"} <= set(made["versions"])
    (case,) = made["cases"]
    ours, other = case["rows"]
    assert (ours["name"], other["name"]) == ("samedge", "other")
    assert case["samples_ms"] == {"samedge": [0.5] * 4, "other": [2.0, 3.0, 4.0, 5.0]}
    assert other["ms"]["p50"] == 3.5
    assert other["samedge_is"]["median"] == 7
    assert 0 < ours["error"] < 1e-5


def test_table(made: Any) -> None:
    text = kernels.render(made)
    assert "A card (of paper), fp32, 4 rounds in turn" in text
    assert "7.00 (4.60 to 9.40)" in text
    assert "before: clocks.sm 1980 MHz" in text


def test_saved(made: Any, tmp_path: Path) -> None:
    path = kernels.save(made, tmp_path / "results")
    assert path.name == f"kernels-a-card-of-paper-fp32-{made['date']}.json"
    assert json.loads(path.read_text()) == made


def test_what_is_wrong_is_not_timed() -> None:
    message, prepared = interpreted(record, wrong=True)
    assert "'other' answers linear.gelu in fp32 with an error of" in message
    assert prepared == 0


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

    from samedge.bench.kernel_contenders import contenders
    from samedge.kernels.problems import Draw, error

    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    (case,) = kernels.chosen([name])
    problem = case.make(Draw("fp32"), **case.small)
    calls = contenders(name, problem.given, case.small)
    assert len(calls) >= 2
    for other, call in calls.items():
        assert error(call(), problem.answer()) < 1e-5, other
