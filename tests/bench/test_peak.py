"""The ceiling is computed from the fastest repeat."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("torch")

from samedge.bench.peak import main, peak_gflops


def test_the_fastest_repeat_counts() -> None:
    times = itertools.chain([0.0, 2.0, 2.0, 3.0, 3.0, 7.0])  # 2 s, 1 s, 4 s
    rate = peak_gflops("fp32", threads=1, repeats=3, side=100, clock=lambda: next(times))
    assert rate == pytest.approx(2e6 / 1.0 * 1e-9)


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samedge.bench.peak.peak_gflops", lambda *_args: 100.0)
    assert main(["--gflop", "50"]) == 0
    out = capsys.readouterr().out
    assert "fp32: 100 GFLOP/s in 2 threads; 50 GFLOP take at least 500 ms" in out
