"""`samedge verify` and `samedge bench`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samedge import bench
from samedge.bench.contenders import baselines
from samedge.bench.report.values import Mode, Report, Row
from samedge.bench.schedule import FLAT
from samedge.bundle import ParityRow
from samedge.cli import run
from samedge.cli.bench import BASELINES


def test_verify(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(exported), "--precision", "fp32"]) == 0
    text = capsys.readouterr().out
    for word in ("openvino", "fp32", "margin", "Dice", "yes"):
        assert word in text


def test_verify_json(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(exported), "--precision", "fp32", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert report["rows"][0]["precision"] == "fp32"


def failing_row() -> ParityRow:
    """What `verify` returns for an engine that is silently wrong."""
    return ParityRow(
        backend="openvino",
        precision="bf16",
        max_logit_error=3.5,
        limit=0.2,
        rms_ratio=0.5,
        dice=0.1,
        flipped=0.4,
        passed=False,
    )


@pytest.mark.parametrize("as_json", [True, False])
def test_a_wrong_engine_is_5(
    as_json: bool,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The package offers the function under the module's name, so the module is found this way.
    module = importlib.import_module("samedge.runtime.parity.verify")
    monkeypatch.setattr(module, "verify", lambda *_args, **_options: [failing_row()])
    assert run(["verify", str(exported), *(["--json"] if as_json else [])]) == 5
    captured = capsys.readouterr()
    assert "openvino bf16" in captured.err
    if as_json:
        assert json.loads(captured.out)["passed"] is False
    else:
        assert "NO" in captured.out


def test_a_wrong_engine_is_offered_to_be_located(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module("samedge.runtime.parity.verify")
    monkeypatch.setattr(module, "verify", lambda *_args, **_options: [failing_row()])
    assert run(["verify", str(exported)]) == 5
    assert "--backend openvino --precision bf16 --locate" in capsys.readouterr().err


def test_locate_prints_the_tensors_of_both_graphs(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(exported), "--precision", "fp32", "--locate"]) == 0
    text = capsys.readouterr().out
    for word in ("openvino fp32, encoder", "openvino fp32, decoder", "network_input", "MatMul"):
        assert word in text
    assert text.count("no operation stands out") == 2


def test_locate_looks_at_what_failed(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the precision left to choose, only the rows that failed; the exit code stays theirs."""
    from samedge.runtime.parity import drift
    from samedge.runtime.parity.drift import ComparedTensor, Drift

    module = importlib.import_module("samedge.runtime.parity.verify")
    good = replace(failing_row(), precision="fp32", passed=True)
    monkeypatch.setattr(module, "verify", lambda *_args, **_options: [good, failing_row()])
    bad, before = (
        ComparedTensor("b", "Conv", 2, float("inf"), 3.0),
        ComparedTensor("a", "Relu", 1, 1e-3, 2.0),
    )
    asked = []

    def locate(_bundle: Any, cls: Any, precision: str, *_args: Any, **_options: Any) -> list[Drift]:
        asked.append((cls.name, precision))
        found = bad, (before,), (before, bad), "b (Conv) makes the error"
        return [Drift("openvino", precision, "encoder", "frame", 0.1, 0.1, bad, *found)]

    monkeypatch.setattr(drift, "locate", locate)
    assert run(["verify", str(exported), "--locate"]) == 5
    out, err = capsys.readouterr()
    assert asked == [("openvino", "bf16")]
    for word in ("FIRST OUTSIDE", "input of the first", "not finite", "makes the error"):
        assert word in out
    assert "--locate" not in err
    assert run(["verify", str(exported), "--locate", "--json"]) == 5
    located = json.loads(capsys.readouterr().out)["located"]
    assert located[0]["first"]["name"] == "b"
    assert located[0]["first"]["error"] is None


def test_nothing_to_locate(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module("samedge.runtime.parity.verify")
    good = replace(failing_row(), passed=True)
    monkeypatch.setattr(module, "verify", lambda *_args, **_options: [good])
    assert run(["verify", str(exported), "--locate"]) == 0
    assert "nothing to locate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--backend", "tensorrt"], 4), (["--backend", "nonsense"], 4), (["--precision", "int8"], 4)],
)
def test_what_does_not_run_here(
    options: list[str], code: int, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(exported), *options]) == code
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("command", ["verify", "bench"])
def test_no_bundle(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, str(tmp_path / "nothing.samedge")]) == 3
    assert "there is no bundle" in capsys.readouterr().err


LITTLE = ["--frames", "3", "--warmup", "1", "--precision", "fp32", "--no-startup"]


def test_bench(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.json"
    options = [*LITTLE, "--threads", "1", "-o", str(target)]
    assert run(["bench", str(exported), *options]) == 0
    out, err = capsys.readouterr()
    assert "samus openvino fp32 1 thread" in out
    assert "measuring in turn" in err
    report = json.loads(target.read_text())
    assert report["command"].startswith("samedge bench samus.samedge --frames 3")
    assert str(tmp_path) not in target.read_text()
    assert run(["bench", str(exported), *options, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(report)


def invented(*medians: float, **changes: Any) -> Report:
    """A report of one row per number, whose frames all take about that many milliseconds."""
    rows = []
    for number, ms in enumerate(medians):
        blocks = tuple(tuple(ms + 0.01 * (i + j) for i in range(4)) for j in range(6))
        times = tuple(tuple(float(i) for i in range(4)) for _ in range(6))
        mode = Mode(blocks, blocks, times, {}, (0.1,) * 6)
        rows.append(Row(f"row {number}", modes={FLAT: mode} if ms else {}))
    return replace(Report("an invented run", tuple(rows)), **changes)


def told(
    report: Report, monkeypatch: pytest.MonkeyPatch, options: Sequence[str] = ()
) -> tuple[int, dict[str, Any]]:
    """Exit code of `samedge bench` whose run finds this, and what it was asked."""
    seen: dict[str, Any] = {}

    def fake(bundles: Any, **asked: Any) -> Report:
        seen.update(asked, bundles=bundles)
        return report

    monkeypatch.setattr(bench, "run", fake)
    return run(["bench", "b.samedge", *options]), seen


def test_bench_hands_over_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--backend", "openvino,Triton", "--precision", "bf16,all", "--threads", "1,2"]
    options += ["--frames", "7", "--eager", "x.pth", "--baseline", "eager", "--fps", "25"]
    code, seen = told(invented(5.0), monkeypatch, [*options, "--keep-warm", "--no-startup"])
    assert code == 0
    assert seen["bundles"] == (Path("b.samedge"),)
    assert seen["backends"] == ("openvino", "triton")
    assert seen["precisions"] == ("bf16", "all")
    assert seen["threads"] == (1, 2)
    assert (seen["frames"], seen["rounds"], seen["warmup"]) == (7, 10, 50)
    assert seen["checkpoint"] == (Path("x.pth"),)
    assert seen["baselines"] == ("eager",)
    assert (seen["fps"], seen["keep_warm"], seen["stream"]) == (25.0, True, False)
    assert seen["startup"] is False


def test_baselines_are_those_that_there_are() -> None:
    assert set(baselines.BASELINES) <= set(BASELINES)


def test_a_refused_row_is_5_and_the_others_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = invented(5.0, 0.0)
    rows = report.rows[0], replace(report.rows[1], refused="it is wrong")
    target = tmp_path / "report.json"
    code, _ = told(replace(report, rows=rows), monkeypatch, ["-o", str(target)])
    assert code == 5
    out, err = capsys.readouterr()
    assert "row 0" in out
    assert "not timed: row 1" in err
    assert len(Report.read(target).rows) == 2


def test_a_baseline_that_does_not_run_here_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = invented(5.0, 0.0)
    missing = replace(report.rows[1], refused="there is no compiler", baseline=True)
    code, _ = told(replace(report, rows=(report.rows[0], missing)), monkeypatch)
    assert code == 0
    assert "there is no compiler" in capsys.readouterr().out


def test_an_interrupted_run_is_130_and_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "report.json"
    code, _ = told(invented(5.0, interrupted=True), monkeypatch, ["-o", str(target)])
    assert code == 130
    assert Report.read(target).interrupted
    assert "6 rounds" in capsys.readouterr().err


def test_an_interrupted_run_without_a_round_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "report.json"
    code, _ = told(invented(0.0, interrupted=True), monkeypatch, ["-o", str(target)])
    assert code == 130
    assert not target.exists()


@pytest.mark.parametrize("option", ["-o", "--csv", "--html"])
def test_what_cannot_be_written_is_6_before_anything_is_measured(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, seen = told(invented(5.0), monkeypatch, [option, str(tmp_path / "no" / "report")])
    assert code == 6
    assert not seen


@pytest.mark.parametrize("threads", ["0", "1,x", "", "-1"])
def test_threads_that_are_none(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "b.samedge", "--threads", threads]) == 2
    assert "from 1 up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("after", "threshold", "code"),
    [(5.0, "5%", 0), (6.0, "5%", 7), (6.0, "0.3", 0), (4.0, "5%", 0), (6.0, "5", 2)],
)
def test_compare(
    after: float,
    threshold: str,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("samedge.bench.compare")
    files = tmp_path / "before.json", tmp_path / "after.json"
    for path, ms in zip(files, (5.0, after), strict=True):
        invented(ms).save(path)
    arguments = ["bench", "compare", *map(str, files), "--threshold", threshold]
    assert run(arguments) == code
    if code != 2:
        assert "row 0" in capsys.readouterr().out
        assert run([*arguments, "--json"]) == code
        assert json.loads(capsys.readouterr().out)["regressed"] == (code == 7)


def test_compare_needs_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("samedge.bench.compare")
    assert run(["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 3
    assert "a.json" in capsys.readouterr().err
    assert run(["bench", "compare", str(tmp_path / "a.json"), "--debug"]) == 2


def test_compare_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "compare", "--help"]) == 0
    assert "BEFORE AFTER" in capsys.readouterr().out


def test_a_bundle_may_be_called_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(bench, "run", lambda bundles, **_: seen.update(b=bundles) or invented(1.0))
    assert run(["bench", "./compare"]) == 0
    assert seen["b"] == (Path("compare"),)


def test_the_verdict_of_a_bundle_that_passes(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(exported), "--precision", "fp32"]) == 0
    text = capsys.readouterr().out
    verdict = text.splitlines()[-1]
    assert verdict.startswith(f"{exported.name} passes in openvino fp32 (least margin ")
    assert "margin: limit / error" in text
    assert run(["verify", str(exported), "--precision", "fp32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"].startswith(f"{exported.name} passes")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_logit_error": 3.5, "limit": 0.2}, "logit error 3.50e+00 (limit 2.00e-01)"),
        ({"flipped": 0.03, "flipped_limit": 0.02}, "3.0000% of the pixels flipped (limit 2.0000%)"),
        ({"flipped_far": 7}, "7 pixels flipped that are far from an outline (limit 0)"),
        ({"dice": 0.9, "dice_limit": 0.97}, "Dice 0.90000 (limit 0.97000"),
        ({"score_error": 0.5, "margin": 0.2}, "score error 5.00e-01, 5 times its limit"),
    ],
)
def test_the_verdict_says_what_failed(
    changes: dict[str, Any],
    reason: str,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = importlib.import_module("samedge.runtime.parity.verify")
    good = replace(
        failing_row(), precision="fp32", passed=True, max_logit_error=0.1, dice=1.0, flipped=0.0,
        flipped_limit=0.01, flipped_far=0, score_error=0.0, margin=2.0,
    )  # fmt: skip
    bad = replace(good, precision="bf16", passed=False, **changes)
    monkeypatch.setattr(module, "verify", lambda *_args, **_options: [good, bad])
    assert run(["verify", str(exported)]) == 5
    verdict = capsys.readouterr().out.splitlines()[-1]
    name = f"{exported.name} FAILS in openvino bf16; it passes in openvino fp32. openvino bf16: "
    assert verdict.startswith(name)
    assert reason in verdict
