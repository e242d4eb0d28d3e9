"""The session benchmark on a tiny model of every family: it asks each for its own prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import samedge
from samedge.bench import eager, layers, render, run
from samedge.bundle.manifest import Source, Variant
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


def check(report: dict[str, Any], frames: int) -> None:
    assert json.loads(json.dumps(report)) == report
    assert report["parity"]["passed"]
    assert report["frames"] == frames
    assert len(report["samples_ms"]["samedge"]) == frames
    assert "frames per second" in render(report)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_against_eager(name: str, made: Callable[[str], tuple[Path, Path]]) -> None:
    """The eager model is opened as what the bundle says it is."""
    bundle, checkpoint = made(name)
    report = run(bundle, frames=2, warmup=0, threads=1, eager_checkpoint=checkpoint)
    check(report, 2)
    assert report["eager"]["rounds"] == 2
    assert ("in stacks of 3" in report["source"]) == (name == "volume")


def test_without_prompts(tmp_path: Path) -> None:
    report = run(exported(random_model(tiny(SamedConfig)), tmp_path), frames=2, threads=1)
    check(report, 2)


@pytest.mark.parametrize("name", ["medsam", "volume"])
def test_layers(
    name: str,
    made: Callable[[str], tuple[Path, Path]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle, _ = made(name)
    assert layers.main([str(bundle), "--precision", "fp32", "--top", "3"]) == 0
    assert "Slowest layers" in capsys.readouterr().out


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
