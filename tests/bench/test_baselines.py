"""Baselines on a tiny model of every family: whole frames that give the bundle's own masks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import samedge
from samedge.bench.contenders import baselines
from samedge.bench.contenders.baselines import baseline_entries
from samedge.bench.contenders.entry import Entry
from samedge.bench.contenders.whole_frames import WholeFrames
from samedge.bench.frames import Footage, speckle
from samedge.bundle import SelfTest
from samedge.bundle.manifest import Source, Variant
from samedge.checkpoint.samed import lora_file_shapes
from samedge.errors import CheckpointError, NotSupportedError
from samedge.fold.probes import (
    eager_input,
    geometry_of,
    network_pixels,
    reference,
    selftest_prompts,
)
from samedge.models import (
    AutosamusConfig,
    MsaConfig,
    PromptableModel,
    SamConfig,
    SamedConfig,
    SamusConfig,
    tiny,
)
from samedge.models.build import model_shapes
from samedge.models.synthetic import synthetic_state_dict
from samedge.runtime.openvino.backend import OPENVINO
from tests.bundle.manifests import small_manifest
from tests.fold.oracle import random_model

SAM = tiny(SamConfig)
# The files of a checkpoint, what a user says besides them, and the frames' channels.
SYSTEMS: dict[str, tuple[tuple[SamConfig, ...], dict[str, Any], int]] = {
    "sam": ((SAM,), {}, 3),
    "medsam": ((SAM,), {"family": "medsam"}, 1),
    "samed": ((SAM, tiny(SamedConfig)), {"input_size": 128, "rank": 3}, 1),
    "msa": ((tiny(MsaConfig),), {}, 1),
    "volume": ((tiny(MsaConfig, slices=3),), {"slices": 3, "chunk": 0}, 1),
    "samus": ((tiny(SamusConfig),), {}, 3),
    "autosamus": ((tiny(AutosamusConfig, generator_heads=1, generator_head_dim=64),), {}, 1),
}
CROP = (6, 4, 86, 60)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class StandIn:
    """What baselines ask of a bundle, without the graphs."""

    def __init__(self, model: PromptableModel, path: Path) -> None:
        config = model.config
        self.family, self.path = model.family, path
        variant = Variant("vit_b", config.img_size, config.grid, config.low_res, 1)
        source = Source(tuple(model.source["sha256"]), "torch module")
        self.manifest = small_manifest(family=self.family, variant=variant, source=source)
        self._tests = list(self._answered(model))

    @staticmethod
    def _answered(model: PromptableModel) -> Iterator[SelfTest]:
        family, config = model.family, model.config
        for name, frame, prompts in selftest_prompts(family, config.img_size):
            geometry = geometry_of(family, config.img_size, config.low_res, frame)
            with torch.inference_mode():
                x = eager_input(network_pixels(frame, family, geometry), family)
                yield reference(model, model.encode(x), geometry, name, frame, prompts)

    def selftest(self) -> list[SelfTest]:
        return self._tests


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, list[Path]]]:
    """Name in `SYSTEMS` -> bundle and the files that it was made from, once for all tests."""

    @cache
    def make(name: str) -> tuple[Any, list[Path]]:
        configs, said, _ = SYSTEMS[name]
        folder, files = tmp_path_factory.mktemp(name), []
        for number, config in enumerate(configs):
            files.append(folder / f"{number}.pth")
            torch.save(weights(config), files[-1])
        model = samedge.open_checkpoint(*files, **said).build()
        return StandIn(model, folder / "tiny.samedge"), files

    return make


def weights(config: SamConfig) -> dict[str, Any]:
    """What is in a file of this system."""
    if not isinstance(config, SamedConfig):
        return random_model(config).state_dict()
    shapes = lora_file_shapes(model_shapes(config))
    return {k: torch.from_numpy(v) for k, v in synthetic_state_dict(shapes, 1).items()}


def clip(channels: int = 1) -> Footage:
    frames = [frame[:70, :90] for frame in speckle(3)]
    if channels == 3:
        frames = [np.stack([frame, frame // 2, frame // 3], axis=-1) for frame in frames]
    return Footage(frames, CROP, "speckle")


def entries(made: Any, name: str, *wanted: str) -> tuple[list[Entry], Any, Footage]:
    bundle, files = made(name)
    frames = clip(SYSTEMS[name][2])
    return list(baseline_entries(wanted, files, bundle, frames, 1)), bundle, frames


PLAIN = ("plain ONNX in ONNX Runtime", "plain ONNX in OpenVINO")


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_whole_frames_of_every_family(name: str, made: Any) -> None:
    """Self-tests pass, and nothing is outside the crop."""
    (entry,), bundle, frames = entries(made, name, "eager")
    assert entry.row.parity["passed"]
    assert entry.row.baseline
    whole = contender(entry)
    assert list(whole.frame(1)) == ["preprocess", "encode", "prompt", "decode", "post"]
    masks, _ = whole.masks(frames.pixels(0, bundle.family))
    outside = masks.copy()
    outside[..., CROP[1] : CROP[3], CROP[0] : CROP[2]] = 0
    assert masks.shape[-2:] == frames.frame(0).shape[:2]
    assert not outside[:, 1 if bundle.family.exclusive else 0 :].any()


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ("sam", "samus") else pytest.mark.slow) for n in SYSTEMS],
)
def test_plain_exports(name: str, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPENVINO, "precisions", lambda: ("fp32", "int8"))
    found, bundle, frames = entries(made, name, "eager", "onnxruntime", "openvino")
    assert [entry.row.about["engine"] for entry in found] == ["eager PyTorch", *PLAIN]
    pixels = frames.pixels(0, bundle.family)
    expected, _ = contender(found[0]).masks(pixels)
    for entry in found[1:]:
        assert entry.row.parity["passed"]
        masks, _ = contender(entry).masks(pixels)
        assert np.mean(masks != expected) <= 1e-4
        entry.close()


def contender(entry: Entry) -> WholeFrames:
    assert entry.row.refused == ""
    assert isinstance(entry.contender, WholeFrames)
    return entry.contender


def test_compiled(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both halves go through `torch.compile`, and the time that it takes is told."""
    compiled: list[str] = []

    def compile_(part: Any, **_: Any) -> Any:
        compiled.append(part.__name__)
        return part

    monkeypatch.setattr(torch, "compile", compile_)
    (entry,), _, _ = entries(made, "samus", "compile")
    assert compiled == ["encode", "decode"]
    assert entry.row.extra["compile_s"] > 0
    assert contender(entry).name == "tiny torch.compile fp32 1 thread"


def test_without_a_compiler(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(part: Any, **_: Any) -> Any:
        def broken(*_: Any) -> Any:
            raise RuntimeError("/home/somebody/no g++")

        return broken

    monkeypatch.setattr(torch, "compile", compile_)
    (entry,), _, _ = entries(made, "samus", "compile")
    assert entry.contender is None
    assert "RuntimeError; it needs a C++ compiler" in entry.row.refused
    assert "somebody" not in entry.row.refused


def test_without_onnxruntime(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (entry,), _, _ = entries(made, "samus", "onnxruntime")
    assert entry.contender is None
    assert "'onnxruntime', which is not installed" in entry.row.refused


@pytest.fixture(scope="module")
def exported(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """A SAMUS bundle with graphs, and its checkpoint."""
    (checkpoint,) = made("samus")[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMEDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(OPENVINO, "precisions", lambda: ("fp32",))
        model = samedge.open_checkpoint(checkpoint).build()
        path = tmp_path_factory.mktemp("bundle") / "samus.samedge"
        yield samedge.export(samedge.fold(model), path).bundle, checkpoint


def test_the_masks_are_those_of_a_session(exported: tuple[Any, Path]) -> None:
    bundle, checkpoint = exported
    frames = clip(3)
    (entry,) = baseline_entries(["eager"], checkpoint, bundle, frames, 1)
    whole = contender(entry)
    with samedge.load(bundle.path, "openvino", "fp32", threads=1) as session:
        prompts = frames.prompts(session.family)
        expected = session.segment(frames.frame(0), **prompts, crop=CROP).masks
    masks, _ = whole.masks(frames.frame(0))
    assert masks.any()
    assert np.mean(masks[0] != expected) <= 1e-4


def test_rows_say_what_they_are(made: Any) -> None:
    (entry,), _, _ = entries(made, "samus", "eager")
    assert entry.row.name == "tiny eager PyTorch fp32 1 thread"
    assert entry.row.about == {
        "bundle": "tiny",
        "engine": "eager PyTorch",
        "precision": "fp32",
        "threads": 1,
    }


def test_a_wrong_network_is_refused(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(checkpoint: Any, manifest: Any) -> Any:
        return random_model(tiny(SamusConfig), seed=5)

    monkeypatch.setattr(baselines, "eager_model", wrong)
    (entry,), _, _ = entries(made, "samus", "eager")
    assert entry.contender is None
    assert entry.row.refused.startswith("it fails the self-test (largest logit error")
    assert entry.row.parity["passed"] is False


def test_unknown_names_and_other_checkpoints(made: Any, tmp_path: Path) -> None:
    with pytest.raises(NotSupportedError, match="no baseline 'eagre'"):
        entries(made, "samus", "eagre")
    other = tmp_path / "other.pth"
    torch.save(random_model(tiny(SamusConfig), seed=5).state_dict(), other)
    bundle, _ = made("samus")
    with pytest.raises(CheckpointError, match="not what this bundle was made"):
        list(baseline_entries(["eager"], other, bundle, clip(), 1))
