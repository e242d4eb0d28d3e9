"""`samedge inspect`: what is this file?"""

from __future__ import annotations

import gzip
import json
import math
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samedge.cli import run
from samedge.cli.filetype import BUNDLE, CHECKPOINT, kind_of, size_text
from samedge.cli.inspect import parity_rows
from samedge.errors import SourceError
from tests.bundle.manifests import parity_row


def inspect(*arguments: object) -> int:
    """Exit code of `samedge inspect ...`."""
    return run(["inspect", *map(str, arguments)])


def test_checkpoint(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(tiny_checkpoint) == 0
    text = capsys.readouterr().out
    assert "SAMUS" in text
    assert tiny_checkpoint.name in text


def test_checkpoint_json(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(tiny_checkpoint, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == CHECKPOINT
    assert report["family"] == "samus"


@pytest.fixture
def lora_files(tmp_path: Path) -> tuple[Path, Path]:
    """SAM's checkpoint and SAMed's LoRA file for it, very small."""
    import torch

    from samedge import models
    from samedge.checkpoint.samed import lora_file_shapes
    from samedge.models.build import model_shapes

    lora = lora_file_shapes(model_shapes(models.tiny(models.SamedConfig)))
    sam = model_shapes(models.tiny_sam_config())
    paths = tmp_path / "sam.pth", tmp_path / "lora.pth"
    for shapes, path in zip((sam, lora), paths, strict=True):
        torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    return paths


def test_lora_file_alone(lora_files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(lora_files[1]) == 0
    text = capsys.readouterr().out
    for words in (
        "SAMed's LoRA file",
        "rank: encoder 3",
        "3 besides the background",
        "4 blocks of width 32",
        "its SAM base as the first file",
        "samedge export SAM_CHECKPOINT.pth lora.pth -o lora.samedge",
    ):
        assert words in text


def test_lora_file_alone_json(
    lora_files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(lora_files[1], "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "lora"
    assert report["family"] == "samed"
    assert report["needs"]["family"] == "sam"
    assert report["command"].startswith("samedge export ")
    assert report["files"][0]["name"] == "lora.pth"


def test_lora_file_with_its_base(
    lora_files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(*lora_files, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["family"]) == (CHECKPOINT, "samed")
    assert [file["name"] for file in report["files"]] == ["sam.pth", "lora.pth"]
    assert inspect(*reversed(lora_files)) == 3
    assert "samedge export sam.pth lora.pth -o" in capsys.readouterr().err


def test_bundle(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(exported) == 0
    text = capsys.readouterr().out
    for word in ("SAMUS", "encoder.fp32.onnx", "frame", "image_embedding", "Parity", "sha256"):
        assert word in text
    assert "esearch use only" in text


def test_bundle_json(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(exported, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == BUNDLE
    assert report["schema"] == 1


def test_one_changed_byte(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.samedge"
    shutil.copytree(exported, copy)
    file = copy / "decoder.fp32.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    for command in ("inspect", "verify"):
        assert run([command, str(copy)]) == 3
        text = capsys.readouterr().err
        assert "decoder.fp32.onnx" in text
        assert "Traceback" not in text


def content(kind: str) -> bytes:
    """The first bytes of a file of some kind."""
    return {
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "jpeg": b"\xff\xd8\xff\xe0" + bytes(100),
        "dicom": bytes(128) + b"DICM" + bytes(100),
        "mp4": b"\0\0\0\x20ftypisom" + bytes(100),
        "nifti": gzip.compress(struct.pack("<i340x4s", 348, b"n+1")),
        "npy": b"\x93NUMPY\x01\0" + bytes(100),
        "onnx": b"\x08\x0a\x12\x07pytorch" + bytes(100),
        "engine": b"ftrt" + bytes(100),
        "empty": b"",
        "text": b"hello\n" * 30,
        "noise": np.random.RandomState(0).bytes(500),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "name", "code", "expected"),
    [
        ("png", "a.png", 0, "a PNG image"),
        ("jpeg", "a.dat", 0, "a JPEG image"),
        ("dicom", "a", 0, "a DICOM file"),
        ("mp4", "a.mp4", 0, "a video file"),
        ("nifti", "a.nii.gz", 0, "a NIfTI volume"),
        ("npy", "a.npy", 0, "a numpy array file"),
        ("onnx", "a.onnx", 0, "an ONNX file"),
        ("engine", "a.engine", 3, "has no record beside it"),
        ("empty", "a.pth", 3, "an empty file"),
        ("text", "a.png", 3, "a text file"),
        ("noise", "a.bin", 3, "of no kind that samedge knows"),
    ],
)
def test_other_files(
    kind: str, name: str, code: int, expected: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / name
    path.write_bytes(content(kind))
    assert inspect(path) == code
    captured = capsys.readouterr()
    assert expected in (captured.err if code else captured.out)


def test_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(tmp_path) == 3
    assert "an empty folder" in capsys.readouterr().err
    (tmp_path / "a.png").write_bytes(content("png"))
    assert inspect(tmp_path) == 0
    assert "folder with 1 entries" in capsys.readouterr().out


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(tmp_path / "nothing") == 3
    assert "there is no file or folder" in capsys.readouterr().err


def test_kinds_of_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for member, expected in (
        ("archive/data.pkl", CHECKPOINT),
        ("manifest.json", BUNDLE),
        ("image.npy", "an archive of numpy arrays"),
        ("photo.png", "a zip archive, neither a bundle nor a PyTorch checkpoint"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, b"")
        assert kind_of(path) == expected


def test_kinds_of_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((40).to_bytes(8, "little") + b'{"a":' + bytes(40))
    assert kind_of(path) == CHECKPOINT
    path.write_bytes(b"\x80\x02}q\x00.")
    assert kind_of(path) == CHECKPOINT


def test_a_device_is_no_file() -> None:
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        kind_of(Path("/dev/null"))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (2_340_000, "2.3 MB"),
        (10**10, "10.0 GB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text


def test_a_parity_row_without_numbers_is_shown_all_the_same() -> None:
    (row,) = parity_rows([parity_row("openvino", "bf16", False)])
    assert row == ("openvino", "bf16", "-", "-", "-", "-", "-", "-", "NO")


@pytest.mark.parametrize(
    ("margin", "text"),
    [(1e26, "> 1e6 x"), (12.3456, "12.3 x"), (0.5, "0.5 x"), (0.9999, "0.999 x"), (math.nan, "-")],
)
def test_margins(margin: float, text: str) -> None:
    row = replace(parity_row("openvino", "fp32", True), margin=margin)
    assert parity_rows([row])[0][4] == text
