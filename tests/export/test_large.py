"""What large models need: weights beside the graph all the way, memory and disk looked at first.

The limit beyond which weights stand beside the graph is lowered; nothing here is large.
"""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import samedge
from samedge.bundle import Bundle
from samedge.cli import run
from samedge.errors import BundleError, NotSupportedError, OutputError
from samedge.export import exporting
from samedge.export.graphs import file as onnx_file
from samedge.machine import memory
from samedge.machine.memory import Room
from samedge.models import MsaConfig, sam_config, tiny, tiny_sam_config
from samedge.progress import Step
from tests.bundle.manifests import parity_row
from tests.export.engine import folded_model, open_graph, random_frame
from tests.fold.oracle import random_model

DATA = "encoder.fp32.onnx.data"


@pytest.fixture
def ungated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the parity gate, where it is not what is tested."""
    row = parity_row("openvino", "fp32", True)
    monkeypatch.setattr(exporting, "gate", lambda _bundle: [row])


@contextmanager
def beside() -> Iterator[None]:
    """Weights of more than 4 kB stand beside their graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "EXTERNAL_ABOVE", 0)
        patch.setattr(onnx_file, "_OUTSIDE_FROM", 4096)
        yield


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model with weights inside, beside the graph, and beside it in a zip."""
    folder = tmp_path_factory.mktemp("large")
    folded = folded_model("sam")
    made = {"inside": samedge.export(folded, folder / "inside.samedge").bundle.path}
    with beside():
        made["beside"] = samedge.export(folded, folder / "beside.samedge").bundle.path
        made["zipped"] = samedge.export(folded, folder / "zipped.samedge", zip=True).bundle.path
    return made


def test_the_files(bundles: dict[str, Path]) -> None:
    inside, outside = (Bundle.open(bundles[kind]).manifest for kind in ("inside", "beside"))
    added = set(outside.files) - set(inside.files)
    assert added == {DATA, DATA.replace("encoder", "decoder")}
    for name in ("encoder.fp32.onnx", "decoder.fp32.onnx"):
        assert outside.files[name].bytes < inside.files[name].bytes
    assert outside.parity == inside.parity
    assert all(row.passed for row in outside.parity)


@pytest.mark.parametrize("kind", ["beside", "zipped"])
def test_results_are_those_of_weights_inside(bundles: dict[str, Path], kind: str) -> None:
    frame = random_frame(90, 70, 3)
    results = []
    for path in (bundles["inside"], bundles[kind]):
        with samedge.load(path, precision="fp32", threads=1) as session:
            results.append(session.segment(frame, points=[[40, 30]], multimask=True))
    np.testing.assert_array_equal(results[0].low_res_logits, results[1].low_res_logits)
    np.testing.assert_array_equal(results[0].masks, results[1].masks)


@pytest.mark.parametrize("graph", ["encoder", "decoder"])
def test_onnx_runtime_and_onnx_read_them(bundles: dict[str, Path], graph: str) -> None:
    path = Bundle.open(bundles["beside"]).graph(graph, "fp32")
    onnx.checker.check_model(str(path), full_check=True)
    inside = Bundle.open(bundles["inside"]).graph(graph, "fp32")
    sessions = [open_graph(p) for p in (path, inside)]
    names = [[value.name for value in session.get_outputs()] for session in sessions]
    assert names[0] == names[1]
    ours, theirs = (onnx.load(p).graph for p in (path, inside))
    assert ours.node == theirs.node
    for a, b in zip(ours.initializer, theirs.initializer, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(a), onnx.numpy_helper.to_array(b))


@pytest.mark.parametrize("kind", ["beside", "zipped"])
def test_commands(
    bundles: dict[str, Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundles[kind]
    assert run(["verify", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert run(["inspect", str(path)]) == 0
    capsys.readouterr()
    np.save(tmp_path / "frame.npy", random_frame(60, 80, 1))
    out = tmp_path / "out"
    assert run(["segment", str(path), str(tmp_path / "frame.npy"), "--point", "40,30",
                "-o", str(out), "-q"]) == 0  # fmt: skip
    assert (out / "results.json").exists()


@pytest.mark.parametrize("name", [DATA, "decoder.fp32.onnx.data"])
@pytest.mark.parametrize("damage", ["one bit", "cut", "missing"])
def test_damaged_weights_are_not_loaded(
    bundles: dict[str, Path], name: str, damage: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.samedge"
    shutil.copytree(bundles["beside"], path)
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "missing":
        (path / name).unlink()
    else:
        (path / name).write_bytes(data[:-1] if damage == "cut" else data)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        samedge.load(path, precision="fp32", threads=1).close()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond `size` fails as on a full disk, for this process, meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("ungated")
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("size", [1000, 100_000, 250_000])
def test_a_disk_that_fills_up_leaves_nothing(size: int, zipped: bool, tmp_path: Path) -> None:
    """In the middle of the weights, or behind them."""
    with beside(), largest_file(size), pytest.raises(OutputError, match="no space left"):
        samedge.export(folded_model("sam"), tmp_path / "a.samedge", zip=zipped)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("ungated")
def test_no_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = []
    usage = shutil._ntuple_diskusage(10**12, 10**12 - 10**6, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(OutputError, match="no space for"):
        samedge.export(folded_model("sam"), tmp_path / "a.samedge", progress=steps.append)
    assert steps == []
    assert list(tmp_path.iterdir()) == []


def little_memory(monkeypatch: pytest.MonkeyPatch, size: int = 10**6) -> None:
    monkeypatch.setattr(memory, "room", lambda: Room(size, "free on this machine"))


def test_fold_refuses_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = []
    model = random_model(tiny_sam_config())
    little_memory(monkeypatch)
    with pytest.raises(NotSupportedError, match=r"folding Segment Anything \(a ViT of its own"):
        samedge.fold(model, progress=steps.append)
    assert steps == []
    samedge.fold(model, check_memory=False)


@pytest.mark.usefixtures("ungated")
@pytest.mark.parametrize("consume", [False, True])
def test_export_refuses_before_it_begins(
    consume: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Step] = []
    folded = deepcopy(folded_model("sam"))
    target = tmp_path / "a.samedge"
    little_memory(monkeypatch)
    with pytest.raises(NotSupportedError, match="exporting Segment Anything") as caught:
        samedge.export(folded, target, consume=consume, progress=steps.append)
    assert caught.value.exit_code == 4
    assert steps == []
    assert list(tmp_path.iterdir()) == []
    samedge.export(folded, target, consume=consume, check_memory=False)


def test_the_message_names_what_would_need_less(monkeypatch: pytest.MonkeyPatch) -> None:
    little_memory(monkeypatch)
    stack = random_model(tiny(MsaConfig, slices=4, chunk=2))
    with pytest.raises(NotSupportedError, match=r"4 slices together.*fewer slices"):
        samedge.fold(stack)
    with torch.device("meta"):
        large = samedge.models.Sam(sam_config("vit_h"))
    monkeypatch.setattr("samedge.fold.folding._on_cpu", lambda model: model)
    with pytest.raises(NotSupportedError, match=r"ViT-H, 1024 px.*a smaller ViT \(ViT-B\)"):
        samedge.fold(large)


@pytest.mark.usefixtures("ungated")
def test_a_model_that_is_consumed_keeps_what_is_known(tmp_path: Path) -> None:
    folded = deepcopy(folded_model("sam"))
    report = str(folded.report)
    bundle = samedge.export(folded, tmp_path / "a.samedge", consume=True).bundle
    kept = samedge.export(folded_model("sam"), tmp_path / "b.samedge").bundle
    assert bundle.manifest.files == kept.manifest.files
    assert str(folded.report) == report
    assert sum(p.numel() for p in folded.parameters()) == 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "sam.pth"
    torch.save(random_model(tiny_sam_config()).state_dict(), path)
    return path


def export(checkpoint: Path, tmp_path: Path, *options: str) -> int:
    return run(["export", str(checkpoint), "-o", str(tmp_path / "a.samedge"), *options])


def test_the_command_refuses_with_4(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    little_memory(monkeypatch)
    assert export(checkpoint, tmp_path) == 4
    text = capsys.readouterr().err
    for words in ("exporting Segment Anything", "0.0 GB are free", "--ignore-memory"):
        assert words in text
    assert "building the model" not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("ungated")
def test_the_command_goes_on_when_told(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    little_memory(monkeypatch)
    assert export(checkpoint, tmp_path, "--ignore-memory") == 0
    assert "Going on as asked (--ignore-memory)" in capsys.readouterr().out
    assert (tmp_path / "a.samedge").is_dir()


@pytest.mark.usefixtures("ungated")
def test_enough_memory_is_not_worth_a_word(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(checkpoint, tmp_path, "--ignore-memory") == 0
    assert "Going on" not in capsys.readouterr().out


def test_the_command_looks_at_the_disk(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - 10**6, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert export(checkpoint, tmp_path) == 6
    text = capsys.readouterr().err
    assert "no space for a.samedge" in text
    assert "building the model" not in text
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_the_memory(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(checkpoint, tmp_path, "--dry-run") == 0
    text = capsys.readouterr().out
    for words in ("Memory that it would take", "parity gate", "comparing with", "MB", "free"):
        assert words in text
    assert export(checkpoint, tmp_path, "--dry-run", "--json", "-q") == 0
    report = json.loads(capsys.readouterr().out)["memory"]
    assert len(report["needs"]) == 4
    assert min(report["needs"].values()) > 0
    assert report["available"] is None or report["available"] > 0
    assert report["bundle"] > 0
