"""The benchmarks on a tiny exported model: they run, and their reports are complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import samedge
from samedge.bench import encoder, layers, render, run, startup, svg
from samedge.bench.eager import synthetic_samus
from samedge.errors import CheckpointError, DeviceError
from samedge.progress import Step


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("tiny") / "tiny.pth"
    torch.save(synthetic_samus("tiny").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Path:
    opened = samedge.open_checkpoint(checkpoint)
    model = opened.build()
    exported = samedge.export(samedge.fold(model), checkpoint.parent / "tiny.samedge")
    return Path(exported.bundle.path)


def test_session_benchmark(bundle: Path) -> None:
    report = run(bundle, precision="fp32", frames=3, warmup=1, threads=1)
    assert json.loads(json.dumps(report)) == report
    assert report["fps"] > 0
    assert report["parity"]["passed"]
    assert "frames per second" in render(report)


def test_session_benchmark_against_eager(bundle: Path, checkpoint: Path) -> None:
    report = run(bundle, precision="fp32", frames=2, threads=1, eager_checkpoint=checkpoint)
    assert report["eager"]["rounds"] == 2
    assert report["eager"]["times_as_fast"]["median"] > 0
    assert "times as fast as eager PyTorch" in render(report)


def test_a_checkpoint_the_bundle_was_not_made_from(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save(synthetic_samus("tiny", seed=7).state_dict(), other)
    with pytest.raises(CheckpointError, match="not what this bundle was made"):
        run(bundle, frames=1, threads=1, eager_checkpoint=other)


def test_encoder_benchmark(tmp_path: Path) -> None:
    said: list[Step] = []
    report = encoder.measure(tmp_path, 1, rounds=2, vit="tiny", startup=False, progress=said.append)
    assert json.loads(json.dumps(report)) == report
    names = [row["name"] for row in report["rows"]]
    assert names[0] == encoder.EAGER
    assert "samedge, OpenVINO fp32" in names
    assert all(len(values) == 2 for values in report["samples_ms"].values())
    fp32 = next(row for row in report["rows"] if row["name"] == "samedge, OpenVINO fp32")
    assert fp32["times_plain"] is not None
    assert fp32["max_error"] < 1e-4
    text = render(report)
    assert all(name in text for name in names)
    assert svg(report).count("<circle") == 2 * len(names)


def test_startup_in_processes_of_their_own(bundle: Path) -> None:
    report = startup.measure_startup(bundle, "fp32", 1)
    for start in (report["cold"], report["warm"]):
        assert start["start_s"] > start["load_s"] > 0
        assert start["notes"] == []


def test_startup_passes_errors_on(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no bundle"):
        startup.measure_startup(tmp_path / "absent.samedge", "fp32", 1)


def test_layers(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert layers.main([str(bundle), "--precision", "fp32", "--top", "3"]) == 0
    text = capsys.readouterr().out
    assert "Slowest layers" in text
    assert "preprocess" in text
