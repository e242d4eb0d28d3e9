"""NVIDIA facts from pretended tools and packages, and what does not fit together."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from samedge.machine import nvidia as module
from samedge.machine.jetson import how_to_install
from samedge.machine.nvidia import libraries, nvidia, problems

XML = """<?xml version="1.0" ?>
<nvidia_smi_log>
	<driver_version>550.54.14</driver_version>
	<cuda_version>12.4</cuda_version>
	<attached_gpus>1</attached_gpus>
</nvidia_smi_log>
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts an nvidia-smi in the path that prints rows, or XML for -x."""

    def make(rows: str, xml: str = XML, code: int = 0) -> None:
        (tmp_path / "out.xml").write_text(xml)
        script = tmp_path / "nvidia-smi"
        script.write_text(
            f'#!/bin/sh\ncase "$*" in *-x*) cat {tmp_path}/out.xml;; *) echo "{rows}";; esac\n'
            f"exit {code}\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return make


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends that exactly these packages are installed."""

    def make(**versions: str) -> None:
        def version(name: str) -> str:
            if name.replace("-", "_") not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name.replace("-", "_")]

        monkeypatch.setattr(module.metadata, "version", version)

    return make


def test_driver_and_cuda_are_read(tool: Any, installed: Any) -> None:
    tool("NVIDIA RTX A2000, 550.54.14, 12282 MiB, 8.6")
    installed(tensorrt_cu12="10.9.0.34", tensorrt="10.9.0.34", cuda_bindings="12.9.4")
    found = nvidia()
    assert found["gpus"][0]["driver"] == "550.54.14"
    assert found["cuda"] == "12.4"
    assert found["libraries"]["tensorrt"] == {"version": "10.9.0.34", "cuda": 12}
    assert found["libraries"]["cuda-bindings"] == {"version": "12.9.4", "cuda": 12}
    assert found["libraries"]["tensorrt_rtx"] is None
    assert problems(found) == []


@pytest.mark.parametrize("xml", ["", "<nvidia_smi_log>", "<cuda_version>N/A</cuda_version>"])
def test_a_driver_that_does_not_tell_its_cuda(tool: Any, installed: Any, xml: str) -> None:
    tool("NVIDIA RTX A2000, 550.54.14, 12282 MiB, 8.6", xml)
    installed()
    assert nvidia()["cuda"] is None


def test_two_gpus_and_a_line_that_is_none(tool: Any, installed: Any) -> None:
    tool("A, 1, 2 MiB, 8.6\nB, 1, 2 MiB, 8.9\nsomething else")
    installed()
    assert [gpu["name"] for gpu in nvidia()["gpus"]] == ["A", "B"]


def test_a_loaded_driver_without_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda _name: None)
    monkeypatch.setattr(module, "_SIGNS", (tmp_path,))
    found = nvidia()
    assert found["note"] == "driver loaded, nvidia-smi missing"
    assert "install or repair the NVIDIA driver" in problems(found)[0]
    monkeypatch.setattr(module, "_SIGNS", (tmp_path / "nothing",))
    assert problems(nvidia()) == []


def machine(driver: str, cuda: str | None, **there: Any) -> dict[str, Any]:
    gpu = {"name": "GPU", "driver": driver, "memory": "1 MiB", "compute_capability": "8.6"}
    empty: dict[str, Any] = dict.fromkeys(module.PACKAGES_OF)
    return {"gpus": [gpu], "cuda": cuda, "libraries": {**empty, **there}}


def test_a_driver_older_than_the_library_needs() -> None:
    rtx = {"version": "1.7.1", "cuda": 13}
    bindings = {"version": "12.9", "cuda": 12}
    found = machine("570.86", "12.8", **{"tensorrt_rtx": rtx, "cuda-bindings": bindings})
    (line,) = problems(found)
    for words in ("TensorRT-RTX 1.7.1 is for CUDA 13", "driver 580 or newer", "570.86",
                  "up to 12.8", "update the driver", "for CUDA 12"):  # fmt: skip
        assert words in line


@pytest.mark.parametrize(
    ("driver", "cuda", "wanted", "fits"),
    [
        ("580.95", "13.0", 13, True),
        ("580.95", None, 13, True),
        ("579.99", None, 13, False),
        ("525.60", "12.0", 12, True),
        ("520.61", "11.8", 12, False),
        ("590.1", "13.1", 12, True),
        ("[N/A]", None, 13, True),  # nothing is known: nothing is claimed
        ("999.1", "15.0", 14, True),  # not in the table: the driver's own word counts
        ("590.1", "13.1", 14, False),
    ],
)
def test_the_table_of_drivers(driver: str, cuda: str | None, wanted: int, fits: bool) -> None:
    library = {"version": "10.13", "cuda": wanted}
    found = machine(driver, cuda, **{"tensorrt": library, "cuda-bindings": library})
    assert (problems(found) == []) is fits


def test_nothing_installed_names_both_extras() -> None:
    lines = problems(machine("580.95", "13.0"))
    assert "'.[tensorrt]'" in lines[0]
    assert "'.[rtx]'" in lines[0]
    assert "cuda-bindings" in lines[1]


def test_a_tensorrt_that_is_too_old() -> None:
    there = {"tensorrt": {"version": "8.6.2", "cuda": None},
             "cuda-bindings": {"version": "12.9", "cuda": 12}}  # fmt: skip
    (line,) = problems(machine("540.4.0", "12.6", **there))
    assert "TensorRT 8.6.2 is older than 10.3" in line
    (line,) = problems(machine("540.4.0", "12.6", **there), 6)
    assert "8.6.2 is older than 10.3" in line
    assert "JetPack 6.1 and newer have TensorRT 10.3" in line
    there["tensorrt"]["version"] = "10.3.0"
    assert problems(machine("540.4.0", "12.6", **there)) == []


def test_jetpacks_tensorrt_does_not_tell_its_cuda(installed: Any) -> None:
    installed(tensorrt="10.3.0")
    assert libraries()["tensorrt"] == {"version": "10.3.0", "cuda": None}


def test_what_is_missing_on_a_jetson_comes_from_jetpack() -> None:
    """Also where its nvidia-smi is missing, or tells nothing of use."""
    words = how_to_install("tensorrt", 6)
    found = machine("540.4.0", "12.6")
    for there in (found, {**found, "gpus": []}, {**found, "gpus": [], "note": "no nvidia-smi"}):
        assert problems(there, 6) == [f"TensorRT is missing, cuda-bindings is missing: {words}"]


@pytest.mark.parametrize(("jetpack", "cuda", "fits"), [(6, 12, True), (6, 13, False), (7, 13, True),
                                                       (7, 12, False), (0, 13, True)])  # fmt: skip
def test_cuda_bindings_of_a_jetson(jetpack: int, cuda: int, fits: bool) -> None:
    there = {"tensorrt": {"version": "10.3.0", "cuda": None},
             "cuda-bindings": {"version": f"{cuda}.1", "cuda": cuda}}  # fmt: skip
    lines = problems(machine("540.4.0", None, **there), jetpack)
    assert (lines == []) is fits
    if not fits:
        assert lines[0].startswith(
            f"cuda-bindings {cuda}.1 is for CUDA {cuda} and JetPack {jetpack}"
        )
        assert lines[0].endswith(how_to_install("cuda-bindings", jetpack))
        assert "update the driver" not in lines[0]


def test_cuda_bindings_for_an_older_driver() -> None:
    library = {"version": "10.9", "cuda": 12}
    (line,) = problems(machine("550.54", "12.4", tensorrt=library))
    assert line == "cuda-bindings is not installed: pip install 'cuda-bindings<13'"
