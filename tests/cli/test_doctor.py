"""`samedge doctor`."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from samedge import memory
from samedge.cli import run
from samedge.cli.doctor import abilities
from samedge.runtime import machine as module
from samedge.runtime.machine import machine, nvidia


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """This machine."""
    return machine()


def test_json_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["openvino"]["devices"][0]["device"]
    assert report["cpu"]["physical_cores"] >= 1
    assert report["packages"][""]["numpy"]
    assert report["abilities"][0]["works"]


def test_text_names_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("Python", "processor", "cores", "memory", "OpenVINO CPU", "NVIDIA GPU", "export"):
        assert word in text


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_missing_extra_gets_its_command(found: dict[str, Any]) -> None:
    packages = {**found["packages"], "export": {"torch": None, "onnx": "1.0"}}
    items = abilities({**found, "packages": packages})
    item = next(i for i in items if "checkpoint" in i["what"])
    assert not item["works"]
    assert "pip install 'samedge[export]'" in item["note"]
    assert "torch" in item["note"]


def test_a_broken_openvino_is_reported(found: dict[str, Any]) -> None:
    items = abilities({**found, "openvino": {"error": "cannot be imported: no libtbb"}})
    assert not items[0]["works"]
    assert "no libtbb" in items[0]["note"]
    assert not items[1]["works"]


def test_a_cpu_without_bf16_says_so(found: dict[str, Any]) -> None:
    devices = [{"device": "CPU", "name": "x", "native": ["fp32", "int8"]}]
    bf16 = abilities({**found, "openvino": {"version": "1", "devices": devices}})[1]
    assert not bf16["works"]
    assert "fp32" in bf16["note"]


def test_nvidia_smi_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA RTX A2000, 550.54, 12282 MiB, 8.6'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (gpu,) = nvidia()["gpus"]
    assert gpu["compute_capability"] == "8.6"
    assert gpu["memory"] == "12282 MiB"


def test_an_nvidia_smi_without_a_driver_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    result = nvidia()
    assert result == {"gpus": [], "note": "NVIDIA-SMI has failed"}
    assert "has failed" in abilities({**found, "nvidia": result})[-1]["note"]


def test_an_nvidia_smi_that_hangs_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_args: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 20)

    monkeypatch.setattr(module.shutil, "which", lambda _name: "nvidia-smi")
    monkeypatch.setattr(module.subprocess, "run", hang)
    assert nvidia()["note"].startswith("nvidia-smi does not answer")


def test_arm_features_and_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp i8mm bf16\n")
    board = tmp_path / "model"
    board.write_bytes(b"NVIDIA Jetson AGX Orin\0")
    monkeypatch.setattr(module, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(module, "_BOARD", board)
    assert module.cpu()["features"] == ["neon", "neon_fp16", "neon_dotprod", "i8mm", "bf16"]
    assert module.system()["board"] == "NVIDIA Jetson AGX Orin"


def test_nothing_personal_is_read(found: dict[str, Any]) -> None:
    assert platform.node() == "" or platform.node() not in json.dumps(found)


def test_memory_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MEMINFO", "_OWN_GROUPS", "_STATM"):
        monkeypatch.setattr(memory, name, tmp_path / "nothing")
    assert module.memory() == {"total_mb": None, "available_mb": None, "limit_mb": None}
