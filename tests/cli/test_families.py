"""Every system the whole way on the command line: files, inspect, export, verify, segment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
import torch

import samedge
from samedge import models as m
from samedge.checkpoint.samed import lora_file_shapes
from samedge.cli import run
from samedge.models.build import model_shapes
from samedge.models.synthetic import synthetic_state_dict

SIDE = 60  # px of the test images
HEADS = {"generator_heads": 1, "generator_head_dim": 64}  # as the shapes of a checkpoint are read
LORA = {"adapter_ratio": 0.0, "lora_rank": 2, "lora_layers": ("attn.qkv",), "lora_groups": 2}
SAM = m.tiny(m.SamConfig)


@dataclass(frozen=True)
class System:
    """One system and how a user goes about it.

    Attributes:
        configs: of its files, in loading order.
        says: options of `inspect` and `export`.
        found: words in the description.
        asks: options of `segment`.
        volume: it segments a volume, not an image.
        files: patterns of the masks and label volumes that come out.
    """

    configs: tuple[m.SamConfig, ...]
    says: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    volume: bool = False
    files: dict[str, int] = field(default_factory=lambda: {"masks/*.png": 1})


NAMES = ("--classes", "liver,left kidney,spleen")
CT = ("--window", "-125,275")
SYSTEMS: dict[str, System] = {
    "sam": System((SAM,), found=("prompts    point, box, mask",), asks=("--box", "5,5,40,30")),
    "medsam": System(
        (SAM,),
        ("--family", "medsam"),
        ("MedSAM", "prompts    box"),
        ("--box", "5,5,40,30", "--box", "20,20,50,50"),
        files={"masks/*_object?.png": 2},
    ),
    "samed": System(
        (SAM, m.tiny(m.SamedConfig)),
        ("--input-size", "128", "--rank", "3", *NAMES),
        ("SAMed,", "rank: encoder 3", "3: liver, left kidney, spleen", "prompts    none"),
        CT,
        volume=True,
        files={"masks/*_left_kidney.png": 4, "masks/*_classes.png": 4, "*_labels.nii.gz": 1},
    ),
    "samed_s": System(
        (SAM, m.tiny(m.SamedConfig, decoder_rank=2)),
        ("--input-size", "128"),
        ("SAMed_s", "encoder 3, decoder 2", "3: class 1, class 2, class 3"),
        files={"masks/*.png": 4},
    ),
    "msa": System(
        (m.tiny(m.MsaConfig),),
        ("--classes", "disc,cup"),
        ("Medical SAM Adapter", "2: disc, cup", "space 8"),
        ("--point", "30,20"),
        files={"masks/*_disc.png": 1, "masks/*_cup.png": 1},
    ),
    "msa, LoRA": System(
        (m.tiny(m.MsaConfig, **LORA),),
        found=("loralib", "attn.qkv 2", "saved in eval mode"),
        asks=("--point", "center"),
    ),
    "msa_3d, chunk": System(
        (m.tiny(m.MsaConfig),),
        ("--chunk", "2"),
        ("2 slices of a volume together",),
        ("--point", "20,20", *CT),
        volume=True,
        files={"masks/*.png": 4, "*_labels.nii.gz": 1},
    ),
    "msa_3d, whole": System(
        (m.tiny(m.MsaConfig),),
        ("--slices", "4", "--family", "msa_3d"),
        ("4 slices of a volume together",),
        ("--point", "20,20", *CT),
        volume=True,
        files={"masks/*.png": 4, "*_labels.nii.gz": 1},
    ),
    "autosamus": System(
        (m.tiny(m.AutosamusConfig, **HEADS),), found=("AutoSAMUS", "finds its objects by itself")
    ),
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "case.nii.gz"
    values = np.random.default_rng(2).integers(-200, 400, (SIDE, SIDE - 10, 4)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.5, 1.5, 4, 1])), path)
    return path


Say = Callable[..., str]
Tell = Callable[..., tuple[str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command that has to succeed; returns what it printed."""

    def call(*arguments: object) -> str:
        assert run([str(a) for a in arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return call


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Runs a command that has to end with an exit code; what it printed, and its errors."""

    def call(code: int, *arguments: object) -> tuple[str, str]:
        assert run([str(a) for a in arguments]) == code, capsys.readouterr().err
        captured = capsys.readouterr()
        return captured.out, captured.err

    return call


def write(config: m.SamConfig, path: Path) -> Path:
    """The file of one config, in its official layout."""
    shapes = model_shapes(config)
    if isinstance(config, m.SamedConfig):
        shapes = lora_file_shapes(shapes)
    arrays = synthetic_state_dict(shapes, seed=1)
    torch.save({key: torch.from_numpy(value) for key, value in arrays.items()}, path)
    return path


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_the_whole_way(
    system: System, tmp_path: Path, image: Path, volume: Path, said: Say
) -> None:
    files = [write(c, tmp_path / f"file{i}.pth") for i, c in enumerate(system.configs)]
    described = said("inspect", *files, *system.says)
    assert all(words in described for words in system.found), described
    assert json.loads(said("inspect", *files, *system.says, "--json"))["kind"] == "checkpoint"
    bundle, out = tmp_path / "model.samedge", tmp_path / "out"
    assert "What was folded" in said("export", *files, *system.says, "-o", bundle)
    assert "Files, all as their hashes say" in said("inspect", bundle)
    said("verify", bundle, "--precision", "fp32")
    source = volume if system.volume else image
    said("segment", bundle, source, *system.asks, "-o", out, "--precision", "fp32")
    counted = {pattern: len(list(out.glob(pattern))) for pattern in system.files}
    assert counted == system.files
    check_report(json.loads((out / "results.json").read_text()), system)
    if system.volume:
        labels = nibabel.load(next(out.glob("*_labels.nii.gz")))
        assert labels.shape == nibabel.load(volume).shape
        assert np.array_equal(labels.affine, nibabel.load(volume).affine)


def check_report(report: dict[str, Any], system: System) -> None:
    """Every frame has its masks, and those of classes have their names."""
    (source,) = report["sources"]
    assert source["frames"] == (4 if system.volume else 1)
    for frame in source["results"]:
        assert frame["masks"]
        assert all(np.isfinite(mask["score"]) for mask in frame["masks"])


def test_the_label_volume_holds_the_class_map(tmp_path: Path, volume: Path, said: Say) -> None:
    """Against the session, on the same slices."""
    import samedge

    system = SYSTEMS["samed"]
    files = [write(c, tmp_path / f"file{i}.pth") for i, c in enumerate(system.configs)]
    bundle, out = tmp_path / "samed.samedge", tmp_path / "out"
    said("export", *files, *system.says, "-o", bundle)
    said("segment", bundle, volume, *CT, "-o", out, "--precision", "fp32")
    labels = np.asarray(nibabel.load(next(out.glob("*_labels.nii.gz"))).dataobj)
    values = np.asarray(nibabel.load(volume).dataobj, np.float64)
    levels = np.round(np.clip((values + 125) / 400, 0, 1) * 65535).astype(np.uint16)
    with samedge.load(bundle, precision="fp32") as session:
        result = session.segment_volume(levels.transpose(2, 1, 0))
    assert result.class_map is not None
    assert result.class_names == ("background", "liver", "left kidney", "spleen")
    differ = labels.transpose(2, 1, 0) != result.class_map
    assert differ.mean() <= 1e-3  # a level of 65535 may be rounded to the other side


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--classes", "a,,b"), "a name is empty"),
        (("--classes", "5"), "there are more classes than num_mask_tokens"),
        (("--chunk", "2"), "nothing to choose as 'chunk'"),
        (("--rank", "0"), "not in the range"),
        (("--family", "msa"), "is Segment Anything"),
        (("--input-size", "256"), "input of 128 px, not"),
    ],
)
def test_options_that_do_not_fit(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(SAM, tmp_path / "sam.pth")
    assert run(["export", str(path), "-o", str(tmp_path / "x.samedge"), *arguments]) in (2, 3)
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x.samedge").exists()


def test_a_question_reaches_every_answer(tmp_path: Path, image: Path, told: Tell) -> None:
    """Three mask tokens, and perhaps MedSAM: said by every command, until the user answers."""
    checkpoint = write(m.tiny(m.SamConfig, num_mask_tokens=3), tmp_path / "three.pth")
    bundle = tmp_path / "three.samedge"
    words = ("MedSAM, or trained from it?", "SAM has 4 mask tokens, and it 3")
    _, errors = told(0, "export", checkpoint, "-o", bundle, "--quiet")
    assert all(f"warning: {start}" in errors for start in ("is the checkpoint", "what are the 3"))
    shown, _ = told(0, "inspect", bundle)
    assert all(word in " ".join(shown.split()) for word in ("QUESTION", "--family medsam"))
    out = tmp_path / "out"
    shown, _ = told(0, "segment", bundle, image, "--point", "20,20", "-o", out)
    assert all(word in " ".join(shown.split()) for word in words)
    warnings = json.loads((out / "results.json").read_text())["sources"][0]["warnings"]
    with samedge.load(bundle) as session:
        result = session.segment(np.zeros((SIDE, SIDE), np.uint8), points=[(20, 20)])
        assert list(result.notes) == warnings == session.describe()["notes"]
        assert all(any(word in note for note in result.notes) for word in words)
    answers = ("--family", "sam", "--classes", "cup,disc,rim")
    _, errors = told(0, "export", checkpoint, "-o", bundle, "--quiet", "--force", *answers)
    assert "warning" not in errors
    told(0, "segment", bundle, image, "--point", "20,20", "-o", out / "2", "--quiet")
    assert len(list((out / "2").glob("masks/*_rim.png"))) == 1
    assert json.loads((out / "2" / "results.json").read_text())["sources"][0]["warnings"] == []


@pytest.mark.parametrize("command", ["segment", "verify", "bench"])
def test_a_checkpoint_in_the_place_of_a_bundle(
    command: str, tmp_path: Path, image: Path, told: Tell
) -> None:
    checkpoint = write(SAM, tmp_path / "sam.pth")
    arguments = [image, "-o", tmp_path / "out", "--point", "1,1"] if command == "segment" else []
    _, errors = told(3, command, checkpoint, *arguments)
    flat = " ".join(errors.split())
    assert f"this is a PyTorch checkpoint: samedge export {checkpoint} -o sam.samedge" in flat
