"""A Jetson out of files and scripts: JetPack, power mode, clocks, and what to set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samedge.machine import jetson as module
from samedge.machine.jetson import advice, jetson

RELEASE = "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64\n"
NO_TENSORRT: dict[str, Any] = {"libraries": {"tensorrt": None}}
TENSORRT: dict[str, Any] = {"libraries": {"tensorrt": {"version": "10.3.0", "cuda": None}}}


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
    assert advice(None, NO_TENSORRT) == []


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
    assert advice(settings(), TENSORRT) == []
    assert advice(settings(power_mode="MAXN_SUPER"), TENSORRT) == []
    assert advice(settings(power_mode=None, gpu_mhz=None), TENSORRT) == []


def test_what_slows_it_down_is_told_with_the_command() -> None:
    clock = {"now": 306, "least": 306, "most": 918}
    mode, clocks = advice(settings(power_mode="15W", gpu_mhz=clock), TENSORRT)
    assert "15W limits" in mode
    assert "nvpmodel -m 0" in mode
    assert "306 to 918 MHz" in clocks
    assert "jetson_clocks" in clocks


def test_tensorrt_that_this_python_does_not_see() -> None:
    (line,) = advice(settings(), NO_TENSORRT)
    assert "--system-site-packages" in line
    (line,) = advice(settings(tensorrt=None), NO_TENSORRT)
    assert "apt install nvidia-jetpack" in line
