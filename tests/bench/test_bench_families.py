"""The session benchmark on a tiny model of every family: it asks each for its own prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

import samedge
from samedge.bench import Report, layers, run, startup
from samedge.bench.contenders import eager
from samedge.bench.frames import speckle
from samedge.bench.schedule import FLAT, STREAM
from samedge.bundle.manifest import Source, Variant
from samedge.errors import CheckpointError, DeviceError
from samedge.models import (
    AutosamusConfig,
    MedsamConfig,
    MsaConfig,
    PromptableModel,
    SamConfig,
    SamedConfig,
    tiny,
)
from samedge.runtime.openvino.backend import OPENVINO
from tests.bundle.manifests import small_manifest
from tests.fold.oracle import random_model

# What a user says besides the file, and the model that it becomes.
CONFIGS: dict[str, tuple[SamConfig, dict[str, Any]]] = {
    "sam": (tiny(SamConfig), {}),
    "medsam": (tiny(MedsamConfig), {"family": "medsam"}),
    "msa": (tiny(MsaConfig), {}),
    "volume": (tiny(MsaConfig, slices=3), {"slices": 3, "chunk": 0}),
    "autosamus": (tiny(AutosamusConfig), {}),
}


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, one precision."""
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32",))


def exported(model: PromptableModel, folder: Path) -> Path:
    return samedge.export(samedge.fold(model), folder / "tiny.samedge").bundle.path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Name in `CONFIGS` -> bundle and the checkpoint that it was made from, once for all tests."""

    @cache
    def make(name: str) -> tuple[Path, Path]:
        config, said = CONFIGS[name]
        model = random_model(config)
        folder = tmp_path_factory.mktemp(name)
        torch.save(model.state_dict(), folder / "tiny.pth")
        built = samedge.open_checkpoint(folder / "tiny.pth", **said).build()
        assert built.family == model.family
        return exported(built, folder), folder / "tiny.pth"

    return make


def little(bundle: Path, **options: Any) -> Report:
    """A run of two frames, and nothing that was not asked for."""
    asked = {"threads": (1,), "frames": 2, "rounds": 2, "warmup": 0, "startup": False}
    report = run(bundle, **{**asked, **options})
    assert Report.from_json(json.loads(json.dumps(report.to_json()))).title == report.title
    return report


@pytest.mark.parametrize("name", list(CONFIGS))
def test_against_eager(name: str, made: Callable[[str], tuple[Path, Path]]) -> None:
    """The eager model is opened as what the bundle says it is."""
    bundle, checkpoint = made(name)
    report = little(bundle, checkpoint=checkpoint)
    assert len(report.rows) == 2
    assert all(row.parity["passed"] for row in report.rows)
    assert [len(row.modes[FLAT].frames) for row in report.rows] == [2, 2]
    assert ("in stacks of 3" in report.source) == (name == "volume")


def test_without_prompts(tmp_path: Path) -> None:
    bundle = exported(random_model(tiny(SamedConfig)), tmp_path)
    assert len(little(bundle).rows[0].modes[FLAT].frames) == 2


def test_a_checkpoint_the_bundle_was_not_made_from(
    made: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    bundle, checkpoint = made("sam")
    tensors = torch.load(checkpoint, weights_only=True)
    torch.save({name: tensor + 0.001 for name, tensor in tensors.items()}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not what this bundle was made"):
        little(bundle, checkpoint=tmp_path / "other.pth")


def test_stages_are_what_a_frame_takes(made: Callable[[str], tuple[Path, Path]]) -> None:
    mode = little(made("sam")[0], frames=10, rounds=1).rows[0].modes[FLAT]
    frame = [sum(stages) for stages in zip(*(b[0] for b in mode.stages_ms.values()), strict=True)]
    assert all(inside <= whole for inside, whole in zip(frame, mode.frames, strict=True))


def folder_of_frames(folder: Path) -> Path:
    """A loop of six small pictures."""
    for number, frame in enumerate(speckle(6, 48, 64)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


@pytest.mark.parametrize("name", ["medsam", "autosamus"])
def test_streams(name: str, made: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> None:
    source = folder_of_frames(tmp_path)
    report = little(made(name)[0], stream=True, fps=50.0, frames=12, rounds=3, source=source)
    (row,) = report.rows
    blocks = row.modes[STREAM].latency_ms
    assert {len(block) for block in blocks} == {len(blocks[0])}
    assert 1 <= len(blocks) <= 3
    assert {"wait", "encode", "decode", "to sink"} <= set(row.modes[STREAM].stages_ms)
    assert row.extra["stream frames"] > 15


def test_a_simulated_stream(made: Callable[[str], tuple[Path, Path]]) -> None:
    (row,) = little(made("sam")[0], stream=True).rows
    assert row.modes[STREAM].frames
    assert set(row.extra) == {"stream fps", "stream frames", "stream dropped"}


def test_a_model_of_volumes_is_not_streamed(made: Callable[[str], tuple[Path, Path]]) -> None:
    (row,) = little(made("volume")[0], stream=True).rows
    assert STREAM not in row.modes
    assert any(note.startswith("it was not streamed: ") for note in row.notes)


@pytest.mark.parametrize("name", ["medsam", "volume"])
def test_layers_of_both_graphs(name: str, made: Callable[[str], tuple[Path, Path]]) -> None:
    report = little(made(name)[0], layers=True)
    assert {layer.row for layer in report.layers} == {report.rows[0].name}
    assert {"encoder", "decoder"} <= {layer.part for layer in report.layers}
    assert all(layer.ms > 0 for layer in report.layers)


def test_layers_by_themselves(
    made: Callable[[str], tuple[Path, Path]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "layers.json"
    assert layers.main([str(made("sam")[0]), "--json", str(target)]) == 0
    assert Report.read(target).layers
    assert "Slowest layers" in capsys.readouterr().out


def test_starts_in_processes_of_their_own(made: Callable[[str], tuple[Path, Path]]) -> None:
    (row,) = little(made("sam")[0], startup=True).rows
    assert set(row.load) == {"cold", "warm"}
    for start in row.load.values():
        assert start["start_s"] > start["load_s"] > 0
        assert start["peak_mb"] >= start["resident_mb"] > 0


def test_a_start_passes_errors_on(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no bundle"):
        startup.measure_start(tmp_path / "absent.samedge", "fp32", 1)


def test_the_eager_model_has_the_bundles_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAMed's tensors leave the input size open: the manifest has it."""

    asked: list[dict[str, Any]] = []

    class Opened:
        sha256 = ("00",)

        def __init__(self, size: int) -> None:
            self.family = tiny(SamedConfig, img_size=size).family

        def build(self) -> int:
            return int(self.family.input_size)

    def opening(*_paths: Path, **said: Any) -> Opened:
        asked.append(said)
        return Opened(said.get("input_size", 512))

    monkeypatch.setattr("samedge.checkpoint.open_checkpoint", opening)
    family = tiny(SamedConfig, img_size=224).family
    manifest = small_manifest(
        family=family,
        variant=Variant("vit_b", 224, 14, 56, 3),
        source=Source(("00",), "torch module"),
    )
    assert eager.eager_model(["a.pth", "b.pth"], manifest) == 224
    assert asked == [{"family": "samed"}, {"family": "samed", "input_size": 224}]
