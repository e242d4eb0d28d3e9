"""`samedge build --target openvino`, and what other commands say of what it builds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samedge.cli import run


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def engines(tiny_bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "e"
    command = ["build", str(tiny_bundle), "--target", "openvino", "--precision", "fp32"]
    assert run([*command, "-o", str(folder), "--quiet"]) == 0
    return folder


def test_build_says_what_it_built(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the bundle's own folder, where sessions of libsamedge find it."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "own.samedge"))
    command = ["build", str(bundle), "--target", "openvino", "--precision", "fp32"]
    assert run(command) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "openvino.fp32.engine any CPU" in text
    assert "Parity with the float32 reference, on this CPU" in text
    names = sorted(path.name for path in (bundle / "engines").iterdir())
    assert names == ["openvino.fp32.engine", "openvino.fp32.json"]
    assert run([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in said["engines"]] == ["kept"]
    assert said["passed"] is True


def test_sessions_take_it(
    tiny_bundle: Path, engines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.full((60, 80), 90, np.uint8)).save(tmp_path / "a.png")
    point = ["--point", "40,30", "-o", str(tmp_path / "out"), "--engines", str(engines), "--json"]
    assert run(["segment", str(tiny_bundle), str(tmp_path / "a.png"), *point]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["session"]["backend"] == "openvino"


def test_inspect(engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = str(engines / "openvino.fp32.engine")
    assert run(["inspect", engine]) == 0
    text = capsys.readouterr().out
    assert "graphs for the CPU (OpenVINO)" in text
    assert "passed, margin" in text
    assert run(["inspect", engine, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["engine"]) == ("engine", "openvino")
    (engines / "openvino.fp32.json").unlink()
    assert run(["inspect", engine]) == 3
    assert "no record" in capsys.readouterr().err


def test_a_zipped_bundle_keeps_it_in_the_cache(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped = shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_bundle)
    assert run(["build", zipped, "--target", "openvino", "--precision", "fp32", "--quiet"]) == 0
    assert run(["cache", "--json"]) == 0
    things = json.loads(capsys.readouterr().out)["items"]
    assert ("engine", "OpenVINO") in {(thing["kind"], thing["library"]) for thing in things}
    assert run(["cache", "clear", "--yes", "--quiet"]) == 0
    assert not list((tmp_path / "cache").rglob("*.engine"))


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (["--sm", "87"], "--sm"),
        (["--workspace", "9"], "--workspace"),
        (["--max-side", "512"], "--max-side"),
    ],
)
def test_options_of_other_targets(
    option: list[str], name: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", str(tiny_bundle), "--target", "openvino", *option]) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert name in text
    assert "not of openvino" in text
