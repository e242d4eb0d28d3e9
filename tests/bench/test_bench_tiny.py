"""The benchmark of encoders on a tiny model: it runs, and its report is complete."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from samedge.bench import encoder
from samedge.bench.contenders.encoders import EAGER
from samedge.bench.peak import Peak
from samedge.bench.report.values import Report
from samedge.errors import ParityError


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


def fixed_peak(precision: str, threads: int, _seconds: float) -> Peak:
    return Peak(precision, threads, 1e3, "hand", {})


def test_encoder_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(_encoder: torch.nn.Module) -> None:
        raise RuntimeError("there is no compiler")

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(encoder, "peak_gops", fixed_peak)
    monkeypatch.setattr(encoder, "RMS_LIMITS", {**encoder.RMS_LIMITS, "int8": 0.0})
    options = ["--vit", "tiny", "--threads", "1", "--rounds", "2", "--no-startup"]
    options += ["--work", str(tmp_path), "--json", str(tmp_path / "report.json")]
    code = encoder.main(options)
    report = Report.read(tmp_path / "report.json")
    assert [row.name for row in report.rows[:2]] == [EAGER, "torch.compile fp32"]
    assert "there is no compiler" in report.row("torch.compile fp32").refused
    timed = [row for row in report.rows if not row.refused]
    assert all(len(row.modes["flat out"].frames) == 2 for row in timed)
    assert all(0 < row.extra["share of peak"] < 1 for row in timed)
    fp32 = report.row("samedge, OpenVINO fp32")
    assert fp32.parity["max_error"] < 1e-4
    assert fp32.extra["gflop"] < report.row(EAGER).extra["gflop"]
    assert [o.name for o in report.yardsticks(fp32)] == ["plain export, OpenVINO fp32", EAGER]
    int8 = [row for row in report.rows if row.about["precision"] == "int8"]
    assert all("something else than the eager encoder" in row.refused for row in int8)
    assert code == (ParityError.exit_code if int8 else 0)  # not every CPU has use for INT8
    printed = capsys.readouterr()
    assert "samedge, OpenVINO fp32" in printed.out
    assert "comparing the embedding: samedge, OpenVINO fp32" in printed.err
