"""`samedge verify` and `samedge bench`."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samedge import bench
from samedge.bundle import ParityRow
from samedge.cli import run


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


def test_bench(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.json"
    options = ["--frames", "3", "--warmup", "1", "--precision", "fp32", "-o", str(target)]
    assert run(["bench", str(exported), *options]) == 0
    text = capsys.readouterr().out
    assert "p50" in text
    report = json.loads(target.read_text())
    assert run(["bench", str(exported), *options, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(report)


def test_bench_hands_over_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    def fake(bundle: Path, **options: Any) -> dict[str, Any]:
        seen.update(options, bundle=bundle)
        return {"frames": options["frames"]}

    monkeypatch.setattr(bench, "run", fake, raising=False)
    monkeypatch.setattr(bench, "render", lambda report, _width: f"rendered {report}", raising=False)
    arguments = ["b.samedge", "--backend", "openvino", "--precision", "bf16", "--threads", "1"]
    assert run(["bench", *arguments, "--frames", "7", "--eager", "x.pth"]) == 0
    assert seen["bundle"] == Path("b.samedge")
    assert (seen["backend"], seen["precision"], seen["threads"]) == ("openvino", "bf16", 1)
    assert (seen["frames"], seen["warmup"], seen["eager_checkpoint"]) == (7, 5, Path("x.pth"))
    assert capsys.readouterr().out == "rendered {'frames': 7}\n"


def test_a_report_that_cannot_be_written_is_6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "run", lambda *_args, **_options: {}, raising=False)
    assert run(["bench", "b.samedge", "-o", str(tmp_path / "no" / "report.json")]) == 6


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
