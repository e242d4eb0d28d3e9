"""The table of rewrites names every step, says how often it applied, and times nothing wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samedge.bench import rewrites
from samedge.bench.schedule import FLAT, Plan

STEPS = ["as exported", "+ split_linear", "+ winograd", "+ linear_as_convolution"]
PLAN = Plan(rounds=2, frames=1, warmup=0, pause_s=0)


def test_rows(tiny_bundle: Path) -> None:
    report = rewrites.measure(tiny_bundle, "fp32", 1, PLAN)
    assert [row.name for row in report.rows] == STEPS
    first, split, *_, last = report.rows
    assert split.extra["applied"] == 6  # four blocks and two cross-branch attentions
    assert last.parity["passed"]
    assert report.yardstick(first) is None
    assert report.yardsticks(last) == (report.rows[2], first)
    assert all(len(row.modes[FLAT].frames) == 2 for row in report.rows)


def test_a_wrong_one_is_not_timed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = rewrites._compiled

    def wrong(*given: object) -> object:
        request, applied = compiled(*given)  # type: ignore[arg-type]
        if given[-1] == 2:
            request.get_input_tensor().data[:] += np.float32(9)
        return request, applied

    monkeypatch.setattr(rewrites, "_compiled", wrong)
    entries = list(rewrites.entries(rewrites.Bundle.open(tiny_bundle), "fp32", 1))
    assert [entry.contender is None for entry in entries] == [False, False, True, False]
    assert "its embedding is off by" in entries[2].row.refused


def test_command(tiny_bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = ["--rounds", "1", "--frames", "1", "--threads", "1", "--json", str(tmp_path / "a.json")]
    assert rewrites.main([str(tiny_bundle), *given]) == 0
    assert "as exported" in capsys.readouterr().out
    assert (tmp_path / "a.json").exists()
