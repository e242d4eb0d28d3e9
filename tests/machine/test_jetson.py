"""A Jetson out of files and scripts: JetPack, power mode, clocks, and what to set."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samedge.errors import NotSupportedError
from samedge.machine import jetson as module
from samedge.machine.jetson import advice, how_to_install, jetpack, jetson, major
from samedge.runtime.gpu import driver as cuda
from samedge.runtime.tensorrt import library as tensorrt_library
from tests.packaging.tree import ROOT

RELEASE = "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64\n"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that is read, and no tools yet."""
    (tmp_path / "release").write_text(RELEASE)
    clock = tmp_path / "devfreq" / "17000000.gpu"
    clock.mkdir(parents=True)
    for name, value in {"cur": 306000000, "min": 306000000, "max": 918000000}.items():
        (clock / f"{name}_freq").write_text(f"{value}\n")
    (tmp_path / "devfreq" / "0.nvdec").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(module, "_RELEASE", tmp_path / "release")
    monkeypatch.setattr(module, "_DEVFREQ", tmp_path / "devfreq")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def tool(board: Path, name: str, script: str) -> None:
    path = board / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_other_machines_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RELEASE", tmp_path / "nothing")
    assert jetson() is None
    assert advice(None) == []


def test_everything_is_read(board: Path) -> None:
    tool(board, "nvpmodel", "echo 'NV Power Mode: MODE_15W_6CORE'; echo 2")
    tool(
        board,
        "dpkg-query",
        'for last; do :; done; case "$last" in nvidia-jetpack) '
        "printf 'install ok installed 6.2.1+b38';; python3-libnvinfer) "
        "printf 'install ok installed 10.3.0.30-1+cuda12.5';; *) exit 1;; esac",
    )
    assert jetson() == {
        "l4t": "36.4.7",
        "jetpack": "6.2.1",
        "power_mode": "MODE_15W_6CORE",
        "power_mode_id": 2,
        "gpu_mhz": {"now": 306, "least": 306, "most": 918},
        "tensorrt": "10.3.0.30",
    }


def test_without_tools_what_files_tell(board: Path) -> None:
    found = jetson()
    assert found is not None
    assert (found["l4t"], found["jetpack"]) == ("36.4.7", "6")
    assert found["power_mode"] is None
    assert found["tensorrt"] is None


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo 'NV Power Mode:'"])
def test_tools_that_fail(board: Path, script: str) -> None:
    tool(board, "nvpmodel", script)
    tool(board, "dpkg-query", script)
    found = jetson()
    assert found is not None
    assert found["power_mode"] is None
    assert found["jetpack"] == "6"


@pytest.mark.parametrize("text", ["", "nonsense", "# R36 (release)"])
def test_a_release_file_of_another_kind(board: Path, text: str) -> None:
    (board / "release").write_text(text)
    found = jetson()
    assert found is not None
    assert found["l4t"] is None
    assert found["jetpack"] is None


def test_a_removed_package_does_not_count(board: Path) -> None:
    tool(board, "dpkg-query", "printf 'deinstall ok config-files 6.0'")
    found = jetson()
    assert found is not None
    assert found["jetpack"] == "6"


def settings(**changes: Any) -> dict[str, Any]:
    clock = {"now": 918, "least": 918, "most": 918}
    plain = {"l4t": "36.4.7", "jetpack": "6.2.1", "power_mode": "MAXN", "power_mode_id": 0,
             "gpu_mhz": clock, "tensorrt": "10.3.0"}  # fmt: skip
    return {**plain, **changes}


def test_a_jetson_at_full_speed_needs_nothing() -> None:
    assert advice(settings()) == []
    assert advice(settings(power_mode="MAXN_SUPER")) == []
    assert advice(settings(power_mode=None, gpu_mhz=None)) == []


def test_what_slows_it_down_is_told_with_the_command() -> None:
    clock = {"now": 306, "least": 306, "most": 918}
    mode, clocks = advice(settings(power_mode="15W", gpu_mhz=clock))
    assert "15W limits" in mode
    assert "nvpmodel -m 0" in mode
    assert "306 to 918 MHz" in clocks
    assert "jetson_clocks" in clocks


@pytest.mark.parametrize(
    ("release", "version"),
    [("R36 (release), REVISION: 4.7", 6), ("R38 (release), REVISION: 2.0", 7),
     ("R35 (release), REVISION: 5.0", 5), ("R99 (release), REVISION: 1", 0), ("nonsense", 0)],
)  # fmt: skip
def test_the_major_version_of_jetpack(board: Path, release: str, version: int) -> None:
    (board / "release").write_text(f"# {release}, GCID: 1\n")
    assert jetpack() == major(jetson()) == version


def test_no_jetpack_on_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RELEASE", tmp_path / "nothing")
    assert jetpack() is None
    assert major(jetson()) is None


@pytest.mark.parametrize(
    ("version", "there", "absent"),
    [
        (6, ["'cuda-bindings>=12.8,<13'"], ["'cuda-bindings>=13,<14'"]),
        (7, ["'cuda-bindings>=13,<14'"], ["'cuda-bindings>=12.8,<13'"]),
        (0, ["'cuda-bindings>=12.8,<13' (JetPack 6)", "'cuda-bindings>=13,<14' (JetPack 7)"], []),
    ],
)
def test_how_tensorrt_gets_onto_a_jetson(version: int, there: list[str], absent: list[str]) -> None:
    words = how_to_install("tensorrt", version)
    for part in ("apt install python3-libnvinfer", "--system-site-packages", *there):
        assert part in words
    for part in ("[tensorrt]", "pip install tensorrt", *absent):
        assert part not in words
    assert how_to_install("cuda-bindings", version) == words


def test_what_a_jetson_cannot_have() -> None:
    assert "update the Jetson" in how_to_install("tensorrt", 5)
    assert "use TensorRT there" in how_to_install("tensorrt_rtx", 6)


@pytest.mark.parametrize("version", [6, 7])
def test_the_page_says_the_same(version: int) -> None:
    page = (ROOT / "docs" / "jetson.md").read_text()
    commands = re.findall(
        r"(?:sudo apt|/usr/bin/python3|pip) [^;(]+", how_to_install("tensorrt", version)
    )
    assert len(commands) == 3
    for command in commands:
        assert command.strip() in page
    assert how_to_install("tensorrt_rtx", version).partition(":")[0] in page


def test_cuda_bindings_that_are_missing_on_a_jetson(
    board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "_has_driver", lambda: True)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    cuda.driver.cache_clear()
    with pytest.raises(NotSupportedError, match="cuda-bindings cannot be imported") as caught:
        cuda.driver()
    assert str(caught.value).endswith(how_to_install("cuda-bindings", 6))


@pytest.mark.parametrize(("version", "words"), [("8.6.2", "JetPack 6.1 and newer")])
def test_a_tensorrt_of_jetpack_that_is_too_old(
    board: Path, monkeypatch: pytest.MonkeyPatch, version: str, words: str
) -> None:
    old = ModuleType("tensorrt")
    old.__version__ = version
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    tensorrt_library._imported.cache_clear()
    with pytest.raises(NotSupportedError, match=words):
        _ = tensorrt_library.NVIDIA_LIBRARIES["tensorrt"].module
