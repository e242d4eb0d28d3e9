"""`samedge export`: bundles, reports, and nothing half-written."""

from __future__ import annotations

import json
import pickle
import resource
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samedge.bundle import Bundle, BundleWriter
from samedge.cli import run
from samedge.export import ExportResult, exporting
from tests.bundle.manifests import parity_row

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "samedge" / "data" / "samus-demo.samedge"


def export(*arguments: object) -> int:
    """Exit code of `samedge export ...`."""
    return run(["export", *map(str, arguments)])


def test_the_bundle_is_complete(exported: Path) -> None:
    manifest = Bundle.open(exported).manifest
    assert manifest.family.name == "samus"
    assert set(manifest.graphs) == {"encoder", "decoder"}
    assert all(row.passed for row in manifest.parity)
    assert manifest.parity


def test_report_and_parity_are_printed(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tiny_checkpoint, "-o", tmp_path / "a.samedge") == 0
    captured = capsys.readouterr()
    for text in ("SAMUS", "What was folded", "GFLOP", "Parity", "fp32", "Wrote"):
        assert text in captured.out
    assert "reading the checkpoint" in captured.err
    assert [p.name for p in tmp_path.iterdir()] == ["a.samedge"]


@pytest.mark.parametrize("native", [True, False])
def test_a_bundle_that_was_not_checked_in_bf16_says_how_to(
    native: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = parity_row("openvino", "fp32", True)
    rows = [row, replace(row, precision="bf16")] if native else [row]
    monkeypatch.setattr(exporting, "gate", lambda _bundle: rows)
    target = tmp_path / "a.samedge"
    assert export(DEMO, "-o", target) == 0
    assert (f"samedge export {target} -o NEW" in capsys.readouterr().out) is not native


def test_json_is_the_manifest(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a.samedge"
    assert export(tiny_checkpoint, "-o", target, "--json", "--quiet") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["bundle"] == str(target)
    assert report["family"]["name"] == "samus"
    assert report["fold_report"]
    assert captured.err == ""


def test_one_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.samedge"
    assert export(tiny_checkpoint, "-o", target, "--zip", "--quiet") == 0
    assert zipfile.is_zipfile(target)
    assert run(["verify", str(target), "--precision", "fp32", "--quiet"]) == 0


def test_dry_run_writes_nothing(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tiny_checkpoint, "-o", tmp_path / "a.samedge", "--dry-run") == 0
    text = capsys.readouterr().out
    assert "encoder.fp32.onnx" in text
    assert "GFLOP" in text
    assert "nothing was written" in text
    assert list(tmp_path.iterdir()) == []


def test_dry_run_json(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (tiny_checkpoint, "-o", tmp_path / "a.samedge", "--dry-run", "--json", "-q")
    assert export(*arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dry_run"]
    assert report["files"]["encoder.fp32.onnx"] > 0
    assert report["fold_report"]["flops_after"] > 0
    assert report["fold_report"]["logit_error"] is None  # nothing was run


def test_an_existing_bundle_is_replaced_only_by_force(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a.samedge"
    assert export(tiny_checkpoint, "-o", target, "--quiet") == 0
    before = (target / "manifest.json").stat().st_ino
    assert export(tiny_checkpoint, "-o", target, "--quiet") == 6
    assert "--force" in capsys.readouterr().err
    assert (target / "manifest.json").stat().st_ino == before
    assert export(tiny_checkpoint, "-o", target, "--quiet", "--force") == 0
    assert (target / "manifest.json").stat().st_ino != before
    assert [p.name for p in tmp_path.iterdir()] == ["a.samedge"]


def test_force_replaces_nothing_but_bundles(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("keep me")
    assert export(tiny_checkpoint, "-o", tmp_path / "letter.txt", "--force", "-q") == 6
    assert (tmp_path / "letter.txt").read_text() == "keep me"


def test_no_folder_to_write_into(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tiny_checkpoint, "-o", tmp_path / "no" / "a.samedge") == 6
    assert "no folder" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["bf16", "fp32,bf16"])
def test_bf16_has_no_graph_of_its_own(
    precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("x.pth", "-o", tmp_path / "a.samedge", "--precision", precision) == 4
    assert "run the bundle with --precision bf16" in capsys.readouterr().err


def test_half_precision_from_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as on a machine without it
    out = tmp_path / "half.samedge"
    assert export(DEMO, "-o", out, "--precision", "fp16", "--json", "-q") == 0
    manifest = json.loads(capsys.readouterr().out)
    assert {name: list(entry) for name, entry in manifest["graphs"].items()} == {
        "encoder": ["fp16"],
        "decoder": ["fp16"],
    }
    assert sorted(p.name for p in out.glob("*.onnx")) == ["decoder.fp16.onnx", "encoder.fp16.onnx"]
    assert manifest["overflow"]["frames"] >= 1
    assert {row["backend"] for row in manifest["parity"]} == {"openvino", "emulation"}


def test_a_refused_precision_is_exit_code_5_and_the_rest_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "parity failed in INT8: masks overlap by 0.5"

    def refusing(source: Bundle, path: Path, _precisions: Any, **options: Any) -> ExportResult:
        made = exporting.export(source, path, ("fp32",), overwrite=options["overwrite"])
        return ExportResult(made.bundle, made.precisions, {"int8": reason})

    monkeypatch.setattr(sys.modules["samedge.export"], "export", refusing)
    out = tmp_path / "a.samedge"
    assert export(DEMO, "-o", out, "--precision", "fp32,int8", "--json", "-q") == 5
    captured = capsys.readouterr()
    assert reason in captured.err
    assert json.loads(captured.out)["refused"] == {"int8": reason}
    assert run(["verify", str(out), "--precision", "fp32", "--quiet"]) == 0


@pytest.mark.parametrize(
    "option", [("--half-weights",), ("--dry-run",), ("--family", "sam"), ("--classes", "2")]
)
def test_a_bundle_is_a_finished_model(
    option: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(DEMO, "-o", tmp_path / "a.samedge", *option) == 2
    assert f"{option[0]} cannot be said of a bundle" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_float32_graphs_is_no_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half.samedge"
    assert export(DEMO, "-o", half, "--precision", "fp16", "-q") == 0
    assert export(half, "-o", tmp_path / "b.samedge", "--precision", "fp32") == 3
    assert "has no float32 encoder and decoder graph to start from" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["fp64", "", ",", "fp32 fp16"])
def test_unknown_precisions_are_usage_errors(precision: str, tmp_path: Path) -> None:
    assert export("x.pth", "-o", tmp_path / "a.samedge", "--precision", precision) == 2


class RunsCode:
    """A pickle of this would create a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.mark, "w")


def bad_file(kind: str, folder: Path, checkpoint: Path) -> Path:
    """A file that is no usable checkpoint."""
    import torch

    path = folder / f"{kind}.pth"
    if kind == "truncated":
        path.write_bytes(checkpoint.read_bytes()[:-5000])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("Not a checkpoint.\n" * 100)
    elif kind == "code":
        path.write_bytes(pickle.dumps({"model": RunsCode(folder / "it-ran")}))
    elif kind == "nan":
        tensors = torch.load(checkpoint, weights_only=True)
        next(iter(tensors.values())).view(-1)[0] = float("nan")
        torch.save(tensors, path)
    elif kind == "incomplete":
        tensors = torch.load(checkpoint, weights_only=True)
        tensors.pop("mask_decoder.iou_token.weight")
        torch.save(tensors, path)
    elif kind == "numbers":
        torch.save({"a": torch.zeros(3)}, path)
    return path  # "missing" is not written at all


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "text", "code", "nan", "incomplete", "numbers", "missing"]
)
def test_bad_checkpoints(
    kind: str, tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad_file(kind, tmp_path, tiny_checkpoint)
    out = tmp_path / "out"
    out.mkdir()
    assert export(path, "-o", out / "a.samedge") == 3
    text = capsys.readouterr().err
    assert "error: " in text
    assert path.name in text
    assert "Traceback" not in text
    assert list(out.iterdir()) == []
    assert not (tmp_path / "it-ran").exists()


def test_a_checkpoint_of_another_family(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tiny_checkpoint, "-o", tmp_path / "a.samedge", "--family", "sam") == 3
    assert "SAMUS" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["new_file", "commit"])
def test_ctrl_c_leaves_nothing(
    step: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_args: object, **_kwargs: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(BundleWriter, step, interrupted)
    assert export(tiny_checkpoint, "-o", tmp_path / "a.samedge", "--quiet") == 130
    assert capsys.readouterr().err == "error: cancelled\n"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_6_and_leaves_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-m", "samedge", "export", str(tiny_checkpoint), "-q",
         "-o", str(tmp_path / "a.samedge")],
        cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=small_files_only,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
