"""`samedge inspect ENGINE`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from samedge.cli import run
from tests.export.rtx import DEMO, engines_of, needs_rtx

pytestmark = needs_rtx


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return engines_of(DEMO, tmp_path_factory.mktemp("engines"), ("fp32",), (86,))


def inspect(*arguments: object) -> int:
    """Exit code of `samedge inspect ...`."""
    return run(["inspect", *map(str, arguments)])


def encoder(folder: Path) -> Path:
    return next(folder.glob("encoder.*.engine"))


def test_what_an_engine_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(encoder(folder), "--layers") == 0
    text = capsys.readouterr().out
    for words in (
        "a TensorRT engine",
        "encoder, fp32",
        "any GPU of sm_86",
        "as in its record",
        "never checked on a GPU",
        "fused attentions",
        "working memory",
        "encoder.blocks.0.attn.qkv/MatMul",
    ):
        assert words in text


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(encoder(folder), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kind"] == "engine"
    summary = said["summary"]
    assert summary["network_kernels"] < summary["kernels"] == len(said["report"]["layers"])
    assert summary["attentions"]["all"] == 8  # five blocks and three of the CNN branch
    assert set(summary["products"]) == {"float32"}


def test_a_tampered_engine(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = encoder(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert inspect(path) == 3
    assert "is not the file that was built" in capsys.readouterr().err


def test_a_damaged_record(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / encoder(folder).name
    path.write_bytes(encoder(folder).read_bytes())
    path.with_suffix(".json").write_text("{")
    assert inspect(path) == 3
    assert "is damaged" in capsys.readouterr().err


def test_without_a_record(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "foreign.engine"
    path.write_bytes(encoder(folder).read_bytes())
    assert inspect(path) == 3
    assert "has no record beside it" in capsys.readouterr().err
