"""What a report says of the machine: enough to compare by, and no name of a host or a person."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path

import pytest

from samedge.machine.fingerprint import environment, fingerprint, title
from tests.machine.pretended import Machine


def test_this_machine() -> None:
    found = fingerprint()
    text = json.dumps(found)
    assert json.loads(text) == found
    assert found["libraries"]["numpy"]
    assert found["cpu"]["model"] in title(found) or found["system"]["board"] in title(found)
    assert "error" not in found["openvino"]


def test_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", "/home/somebody/cuda")
    monkeypatch.setenv("OMP_PLACES", "{0,1}@somewhere")
    text = json.dumps(fingerprint())
    for name in ("somebody", "somewhere", str(Path.home())):
        assert name not in text
    for name in (platform.node(), getpass.getuser()):
        assert f'"{name}"' not in text


def test_what_a_processor_is_set_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samedge.machine.fingerprint.usable_cpus", lambda: [2, 3])
    machine = Machine(tmp_path)
    cpus = "sys/devices/system/cpu"
    machine.write(f"{cpus}/cpu2/cpufreq/cpuinfo_min_freq", 400_000)
    machine.write(f"{cpus}/cpu2/cpufreq/cpuinfo_max_freq", 4_700_000)
    machine.write(f"{cpus}/intel_pstate/no_turbo", 1)
    machine.write(f"{cpus}/smt/active", 1)
    for name, value in (("level", 1), ("type", "Data"), ("size", "48K")):
        machine.write(f"{cpus}/cpu2/cache/index0/{name}", value)
    machine.write("proc/cpuinfo", "flags : fpu hypervisor\nmicrocode : 0xb6")
    machine.write("sys/class/dmi/id/sys_vendor", "A maker")
    machine.write("sys/class/dmi/id/product_name", "Cart 3")
    machine.write("sys/fs/cgroup/cpu.max", "150000 100000")
    found = fingerprint(tmp_path)
    processor = found["cpu"]
    assert processor["clock_mhz"] == {"least": 400, "most": 4700}
    assert (processor["turbo"], processor["smt"], processor["quota"]) == (False, True, 1.5)
    assert (processor["microcode"], processor["caches"]) == ("0xb6", {"L1d": "48K"})
    assert found["system"]["product"] == "A maker Cart 3"
    assert "in a virtual machine" in title(found)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    processor = fingerprint(tmp_path)["cpu"]
    told = ("microcode", "clock_mhz", "turbo", "smt", "quota")
    assert [processor[name] for name in told] == [None] * 5


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense"])
def test_no_quota(tmp_path: Path, text: str) -> None:
    Machine(tmp_path).write("sys/fs/cgroup/cpu.max", text)
    assert fingerprint(tmp_path)["cpu"]["quota"] is None


def test_an_older_quota(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", 50_000)
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", 100_000)
    assert fingerprint(tmp_path)["cpu"]["quota"] == 0.5


def test_variables_that_change_speed() -> None:
    given = {
        "OMP_NUM_THREADS": "2",
        "KMP_AFFINITY": "granularity=fine,compact",
        "CUDA_HOME": "/usr/local/cuda",
        "LD_PRELOAD": "/opt/somebody/libjemalloc.so.2:libtcmalloc.so",
        "PATH": "/bin",
        "SECRET": "1",
    }
    assert environment(given) == {
        "CUDA_HOME": "(set)",
        "KMP_AFFINITY": "granularity=fine,compact",
        "LD_PRELOAD": "libjemalloc.so.2, libtcmalloc.so",
        "OMP_NUM_THREADS": "2",
    }


def test_a_title_of_what_there_is() -> None:
    found = {
        "system": {"os": "Ubuntu 22.04", "board": "Jetson Orin Nano", "virtual": None},
        "cpu": {"model": "ARM", "physical_cores": 6},
        "nvidia": {"gpus": [{"name": "Orin"}]},
        "jetson": {"power_mode": "15W"},
        "libraries": {},
    }
    assert title(found) == "Jetson Orin Nano, 6 cores, power mode 15W, 1 x Orin, Ubuntu 22.04"
    assert title({}) == ""
