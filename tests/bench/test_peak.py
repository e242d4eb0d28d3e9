"""The ceiling is the fastest repeat of the fastest way, whatever the machine does meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from samedge.bench import peak
from samedge.bench.peak import DEPTH, WAYS, Peak, Shape, Way, Work, main, peak_gops
from samedge.errors import NotSupportedError
from tests.bench.clocks import FakeClock

SMALL, LARGE = Shape(64, 32, 128), Shape(100, 100, 100)


def timed_way(clock: FakeClock, *seconds: float) -> Way:
    """A million operations that take the first time to warm up, then these, then the last one."""
    left = list(seconds)

    def call() -> None:
        clock.time += left.pop(0) if len(left) > 1 else left[0]

    return lambda _precision, _threads, _shape: Work(call, 10**6)


def test_the_fastest_repeat_counts() -> None:
    clock = FakeClock()
    ways = {"way": timed_way(clock, 0.1, 2.0, 1.0, 4.0)}
    found = peak_gops("fp32", 1, 10.0, [LARGE], ways, clock.now)
    assert found.gops == pytest.approx(1e6 / 1.0 * 1e-9)


def test_the_fastest_way_counts() -> None:
    clock = FakeClock()
    ways = {"slow": timed_way(clock, 2.0), "fast": timed_way(clock, 0.5), "none": no_way}
    found = peak_gops("bf16", 3, 1.0, [LARGE, SMALL], ways, clock.now)
    assert (found.gops, found.threads) == (pytest.approx(2e-3), 3)
    assert found.by == "fast 100 x 100 x 100"
    assert list(found.rates) == [
        f"{way} {shape}"
        for way in ("slow", "fast")
        for shape in ("100 x 100 x 100", "64 x 32 x 128")
    ]


def no_way(_precision: str, _threads: int, _shape: Shape) -> Work | None:
    return None


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_every_way_multiplies(precision: str) -> None:
    found = peak_gops(precision, 1, 0.0, [SMALL])
    assert set(found.rates) == {f"{way} 64 x 32 x 128" for way in WAYS}
    assert found.gops > 0


def test_operations_of_each_way() -> None:
    assert SMALL.operations == 2 * 64 * 32 * 128
    works = {name: way("fp32", 1, SMALL) for name, way in WAYS.items()}
    assert {name: work.operations for name, work in works.items() if work} == {
        "PyTorch": SMALL.operations,
        "OpenVINO": DEPTH * SMALL.operations,
    }


def test_what_cannot_be_multiplied() -> None:
    with pytest.raises(NotSupportedError, match="'fp8' came; expected one of: fp32"):
        peak_gops("fp8", 1)
    with pytest.raises(NotSupportedError, match="nothing that is installed multiplies bf16"):
        peak_gops("bf16", 1, ways={"none": no_way})


def test_without_torch_there_is_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise peak.MissingDependencyError("torch", "export", "this")

    monkeypatch.setattr(peak, "require_torch", absent)
    assert set(peak_gops("fp32", 1, 0.0, [SMALL]).rates) == {"OpenVINO 64 x 32 x 128"}


def test_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fixed(precision: str, threads: int, _seconds: float) -> Peak:
        return Peak(precision, threads, 100.0, "hand", {"hand": 100.0, "foot": 50.0})

    monkeypatch.setattr(peak, "peak_gops", fixed)
    assert main(["--gflop", "50", "--threads", "2", "--json", str(tmp_path / "peak.json")]) == 0
    out = capsys.readouterr().out
    assert "Fastest products in 2 threads" in out
    best = next(line.split() for line in out.splitlines() if line.startswith("fp32"))
    assert best == ["fp32", "100", "hand", "500"]
    rows = json.loads((tmp_path / "peak.json").read_text())["tables"][1]["rows"]
    assert {row["way"]: row["GFLOP/s"] for row in rows} == {"hand": 100.0, "foot": 50.0}
