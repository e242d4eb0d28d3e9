"""`samedge doctor`."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samedge.cli import doctor as doctor_module
from samedge.cli import run
from samedge.cli.doctor import abilities, advice, facts
from samedge.machine import facts as module
from samedge.machine import memory
from samedge.machine import nvidia as nvidia_module
from samedge.machine.jetson import how_to_install
from samedge.machine.nvidia import nvidia


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """This machine."""
    return facts()


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
    for word in ("Python", "processor", "cores", "memory", "OpenVINO CPU", "NVIDIA GPU", "export",
                 "engine cache", "int8"):  # fmt: skip
        assert word in text


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_missing_extra_gets_its_command(found: dict[str, Any]) -> None:
    packages = {**found["packages"], "export": {"torch": None, "onnx": "1.0"}}
    items = abilities({**found, "packages": packages})
    item = next(i for i in items if "checkpoint" in i["what"])
    assert not item["works"]
    assert "pip install -e '.[export]'" in item["note"]
    assert "torch" in item["note"]


def test_a_broken_openvino_is_reported(found: dict[str, Any]) -> None:
    items = abilities({**found, "openvino": {"error": "cannot be imported: no libtbb"}})
    assert not items[0]["works"]
    assert "no libtbb" in items[0]["note"]
    assert not items[1]["works"]
    assert not items[2]["works"]


def test_a_cpu_without_bf16_says_so(found: dict[str, Any]) -> None:
    devices = [{"device": "CPU", "name": "x", "native": ["fp32", "int8"]}]
    bf16 = abilities({**found, "openvino": {"version": "1", "devices": devices}})[1]
    assert not bf16["works"]
    assert "fp32" in bf16["note"]


@pytest.mark.parametrize(
    ("library", "works", "word"),
    [
        (None, False, "docs/embedding.md"),
        ({"path": "/x/libsamedge.so.1", "error": "cannot be loaded: no libzip"}, False, "libzip"),
        (
            {
                "path": "/x/libsamedge.so.1",
                "version": "0.1.0",
                "abi": "1.0",
                "backends": {"tensorrt": "not built", "openvino": None},
            },
            True,
            "openvino",
        ),
    ],
)
def test_libsamedge(found: dict[str, Any], library: Any, works: bool, word: str) -> None:
    machine = {**found, "libsamedge": library}
    item = next(item for item in abilities(machine) if "C and C++" in item["what"])
    assert item["works"] == works
    assert word in item["note"]
    rows = dict(doctor_module._machine_rows(machine))
    assert ("none" if library is None else "/x/libsamedge.so.1") in rows["libsamedge"]
    assert ("ABI 1.0" in rows["libsamedge"]) == works


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
    assert (result["gpus"], result["note"]) == ([], "NVIDIA-SMI has failed")
    assert "has failed" in abilities({**found, "nvidia": result})[-1]["note"]


def test_an_nvidia_smi_that_hangs_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_args: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 20)

    monkeypatch.setattr(nvidia_module.shutil, "which", lambda _name: "nvidia-smi")
    monkeypatch.setattr(nvidia_module.subprocess, "run", hang)
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
    words = re.findall(r"[\w.-]+", json.dumps(found))
    assert platform.node() not in words


def test_memory_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MEMINFO", "_OWN_GROUPS", "_STATM"):
        monkeypatch.setattr(memory, name, tmp_path / "nothing")
    assert module.memory() == {"total_mb": None, "available_mb": None, "limit_mb": None}


def test_an_intel_gpu_is_offered_by_its_backend(found: dict[str, Any]) -> None:
    devices = [
        {"device": "CPU", "name": "x", "native": ["fp32"]},
        {"device": "GPU", "name": "Intel Arc", "native": ["fp32", "fp16"]},
    ]
    items = abilities({**found, "openvino": {"version": "1", "devices": devices}})
    item = next(item for item in items if "Intel GPU" in item["what"])
    assert item["works"]
    assert "openvino_gpu" in item["note"]


Printed = Callable[[dict[str, Any]], str]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What `samedge doctor` prints on a machine with these facts."""

    def call(known: dict[str, Any]) -> str:
        monkeypatch.setattr(doctor_module, "facts", lambda: known)
        assert run(["doctor"]) == 0
        return capsys.readouterr().out

    return call


def with_gpu(found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A machine with an RTX A2000 and everything that it needs."""
    gpu = {"name": "RTX A2000", "driver": "580.95", "memory": "12 GiB", "compute_capability": "8.6"}
    library = {"version": "10.13.3", "cuda": 13}
    libraries = {"tensorrt": library, "tensorrt_rtx": None, "cuda-bindings": library}
    return {**found, "nvidia": {"gpus": [gpu], "cuda": "13.0", "libraries": libraries, **changes}}


def test_a_gpu_with_all_it_needs_works(found: dict[str, Any], printed: Printed) -> None:
    item = abilities(with_gpu(found))[-1]
    assert (item["what"], item["works"]) == ("run a bundle on the NVIDIA GPU", True)
    text = printed(with_gpu(found))
    assert re.search(r"TensorRT +10\.13\.3, for CUDA 13", text)
    assert re.search(r"NVIDIA driver +runs CUDA up to 13\.0", text)


def test_a_gpu_without_libraries_says_what_to_install(found: dict[str, Any]) -> None:
    nothing = dict.fromkeys(("tensorrt", "tensorrt_rtx", "cuda-bindings"))
    item = abilities(with_gpu(found, libraries=nothing))[-1]
    assert not item["works"]
    assert "'.[tensorrt]'" in item["note"]


def test_rows_of_a_jetson(found: dict[str, Any], printed: Printed) -> None:
    jetson = {
        "l4t": "36.4.3",
        "jetpack": "6.2.1",
        "power_mode": "15W",
        "power_mode_id": 1,
        "gpu_mhz": {"now": 306, "least": 306, "most": 918},
        "tensorrt": "10.3.0",
    }
    governor = {"governor": "schedutil", "driver": "tegra194"}
    cpu = {**found["cpu"], "governor": governor}
    text = printed({**found, "jetson": jetson, "cpu": cpu})
    for words in ("JetPack 6.2.1, L4T 36.4.3", "power mode 15W", "306 MHz (306 to 918)",
                  "schedutil (tegra194)"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("note", [{}, {"note": "driver loaded, nvidia-smi missing"}])
def test_a_jetson_without_tensorrt_is_told_one_way(
    monkeypatch: pytest.MonkeyPatch,
    found: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    note: dict[str, str],
) -> None:
    jetson = dict.fromkeys(("l4t", "power_mode", "power_mode_id", "gpu_mhz", "tensorrt"))
    nothing = dict.fromkeys(("tensorrt", "tensorrt_rtx", "cuda-bindings"))
    bare = {"cuda-bindings": None, "tensorrt": None}
    packages = {**found["packages"], "tensorrt": bare, "rtx": {"tensorrt-rtx": None}}
    changed = {
        **found,
        "jetson": {**jetson, "jetpack": "6.2.1"},
        "nvidia": {"gpus": [], "cuda": None, "libraries": nothing, **note},
        "packages": packages,
    }
    monkeypatch.setattr(doctor_module, "facts", lambda: changed)
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    words = how_to_install("tensorrt", 6)
    assert report["advice"][0].endswith(words)
    notes = {item["what"]: item["note"] for item in report["abilities"]}
    assert notes["engines for NVIDIA GPUs and Jetsons"] == words
    assert notes["run a bundle on the NVIDIA GPU"].endswith(words)
    assert "use TensorRT there" in notes["engines for RTX GPUs, built on any machine"]
    for wrong in ("[tensorrt]", "[rtx]", "NVIDIA driver, then restart"):
        assert wrong not in json.dumps(report)


@pytest.mark.parametrize(
    ("governor", "driver", "told"),
    [
        ("powersave", "intel_pstate", False),
        ("powersave", "amd-pstate-epp", False),
        ("powersave", "acpi-cpufreq", True),
        ("conservative", "acpi-cpufreq", True),
        ("performance", "acpi-cpufreq", False),
        ("schedutil, powersave", "acpi-cpufreq", True),
    ],
)
def test_a_slow_governor_is_told(
    found: dict[str, Any], governor: str, driver: str, told: bool
) -> None:
    cpu = {**found["cpu"], "governor": {"governor": governor, "driver": driver}}
    quiet = {"engines": 0, "mb": 0.0, "stale": []}
    lines = advice({**found, "cpu": cpu, "engine_cache": quiet})
    assert bool(lines) is told
    assert not told or "cpupower" in lines[0]


def test_advice_is_printed_and_in_the_json(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stale = [{"engine": "x", "why": "it was built by OpenVINO 1, here is 2", "mb": 12.0}]
    changed = {**found, "engine_cache": {"engines": 3, "mb": 20.0, "stale": stale}}
    monkeypatch.setattr(doctor_module, "facts", lambda: changed)
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "What to do" in text
    assert "1 of 3 cached engines" in text
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["advice"][0].startswith("1 of 3 cached engines")
    nothing = {"engines": 0, "mb": 0.0, "stale": []}
    monkeypatch.setattr(doctor_module, "facts", lambda: {**changed, "engine_cache": nothing})
    assert run(["doctor"]) == 0
    assert "Nothing to repair" in capsys.readouterr().out
