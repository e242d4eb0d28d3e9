"""Counting cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from samedge.machine import cpu


def fake_topology(root: Path, cores: list[tuple[int, int]]) -> None:
    for number, (package, core) in enumerate(cores):
        folder = root / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "core_id").write_text(f"{core}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four logical processors on two cores of one package."""
    fake_topology(tmp_path, [(0, 0), (0, 1), (0, 0), (0, 1)])
    monkeypatch.setattr(cpu, "_CPUS", tmp_path)
    monkeypatch.setattr(cpu, "_CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(cpu, "usable_cpus", lambda: [0, 1, 2, 3])
    return tmp_path


@pytest.mark.usefixtures("machine")
def test_hyper_threads_count_once() -> None:
    assert cpu.physical_cores() == 2


@pytest.mark.usefixtures("machine")
def test_only_usable_processors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "usable_cpus", lambda: [0, 2])
    assert cpu.physical_cores() == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("nonsense", 2)],
)
def test_a_container_quota_is_respected(machine: Path, text: str, expected: int) -> None:
    (machine / "cpu.max").write_text(text)
    assert cpu.physical_cores() == expected


def test_without_topology_processors_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPUS", machine / "absent")
    assert cpu.physical_cores() == 4


def test_usable_processors() -> None:
    assert cpu.usable_cpus()


def test_what_sets_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_CPUS", tmp_path)
    monkeypatch.setattr(cpu, "usable_cpus", lambda: [0, 1])
    assert cpu.governor() is None
    for number, name in enumerate(("powersave", "performance")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
        (folder / "scaling_driver").write_text("acpi-cpufreq\n")
    assert cpu.governor() == {"governor": "powersave, performance", "driver": "acpi-cpufreq"}
