"""What a watch says of machines that are pretended: who else ran, clocks, heat, energy, GPUs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from samedge.machine import condition as module
from samedge.machine import nvml
from samedge.machine.condition import Watch
from tests.machine.pretended import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(module, "governor", lambda: None)
    return Machine(tmp_path)


def test_a_quiet_run_is_clean(machine: Machine) -> None:
    watch = machine.watch()
    for _ in range(5):
        machine.spend(1.0, own=(1.0, 0.5), others=(0.0, 0.01))
        watch.look()
    found = watch.condition()
    assert found["clean"]
    assert found["warnings"] == []
    assert found["others"] == pytest.approx(0.005, abs=1e-3)
    assert (found["stolen"], found["seconds"], found["samples"]) == (0.0, 5.0, 6)
    assert json.loads(json.dumps(found)) == found


def test_neighbours_are_told_from_own_work(machine: Machine) -> None:
    watch = machine.watch()
    machine.spend(10.0, own=(1.0, 0.0), others=(0.0, 0.4))
    found = watch.condition()
    assert found["others"] == pytest.approx(0.2)
    assert not found["clean"]
    assert "other processes took 20.0%" in found["warnings"][0]


def test_stolen_time(machine: Machine) -> None:
    watch = machine.watch()
    machine.spend(10.0, own=(0.9, 0.9), stolen=0.05)
    assert watch.condition()["stolen"] == pytest.approx(0.05)
    assert "hypervisor gave 5.0%" in watch.condition()["warnings"][0]


def test_a_short_run_is_not_judged_by_shares(machine: Machine) -> None:
    watch = machine.watch()
    machine.spend(0.1, others=(1.0, 1.0))
    assert watch.condition()["clean"]


def test_a_full_run_queue(machine: Machine) -> None:
    watch = machine.watch()
    machine.runnable = 5
    machine.spend(2.0, own=(1.0, 1.0))
    watch.look()
    found = watch.condition()
    assert found["runnable"] == {"median": 5, "most": 5}
    assert "5 threads wanted to run on 2 processors" in found["warnings"][0]


def test_waiting_for_a_processor(machine: Machine) -> None:
    machine.write("proc/self/task/1/schedstat", "5000000000 100000000 7")
    watch = machine.watch()
    machine.spend(2.0, own=(0.9, 0.0))
    machine.write("proc/self/task/1/schedstat", "6800000000 300000000 9")
    found = watch.condition()
    assert found["waited"] == pytest.approx(0.1)
    assert "waited for a processor in 10.0%" in found["warnings"][0]


def test_faults_switches_pressure_and_quota(machine: Machine) -> None:
    for name, total in (("cpu", 5), ("memory", 1_000_000)):
        machine.write(f"proc/pressure/{name}", f"some avg10=0.00 total={total}\nfull total=0")
    machine.write("proc/self/cgroup", "0::/pod/box")
    machine.write("sys/fs/cgroup/pod/cpu.stat", "usage_usec 5\nnr_throttled 3\nthrottled_usec 100")
    machine.write("sys/fs/cgroup/cpu.stat", "usage_usec 9")
    watch = machine.watch()
    machine.spend(10.0)
    machine.faults, machine.switches = 50, 20
    machine.write("proc/pressure/memory", "some avg10=0.00 total=1500000\nfull total=0")
    machine.write(
        "sys/fs/cgroup/pod/cpu.stat", "usage_usec 5\nnr_throttled 7\nthrottled_usec 2000100"
    )
    found = watch.condition()
    assert (found["major_faults"], found["switches_per_s"]) == (50, 2.0)
    assert found["pressure"] == {"cpu": 0.0, "memory": pytest.approx(0.05)}
    assert found["quota"] == {"times": 4, "seconds": pytest.approx(2.0)}
    assert len(found["warnings"]) == 3


def test_the_clock_of_the_processor_that_works(machine: Machine) -> None:
    """The other one rests at its lowest clock, which says nothing."""
    for cpu, khz in ((0, 2_000_000), (1, 400_000)):
        machine.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", khz)
        machine.write(f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", 4_000_000)
    watch = machine.watch()
    machine.spend(1.0, own=(1.0, 0.1))
    watch.look()
    found = watch.condition()
    assert found["clocks"] == {"least_mhz": 2000, "median_mhz": 2000, "share": 0.5}
    assert "2000 MHz, 50% of their highest clock" in found["warnings"][0]
    machine.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 3_200_000)
    watch = machine.watch()
    machine.spend(1.0, own=(1.0, 0.1))
    watch.look()
    assert watch.condition()["clean"]


def test_heat(machine: Machine) -> None:
    counts = "sys/devices/system/cpu/cpu0/thermal_throttle"
    machine.write(f"{counts}/core_throttle_count", 7)
    machine.write(f"{counts}/package_throttle_count", 7)
    machine.write("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp")
    machine.write("sys/class/thermal/thermal_zone0/temp", 61_000)
    machine.write("sys/class/thermal/thermal_zone1/type", "iwlwifi_1")
    machine.write("sys/class/thermal/thermal_zone1/temp", 99_000)
    watch = machine.watch()
    machine.spend(1.0)
    machine.write("sys/class/thermal/thermal_zone0/temp", 97_000)
    watch.look()
    machine.spend(1.0)
    machine.write("sys/class/thermal/thermal_zone0/temp", 70_000)
    machine.write(f"{counts}/core_throttle_count", 9)
    watch.look()
    found = watch.condition()
    assert found["celsius"] == {"x86_pkg_temp": 97.0}
    assert found["throttled"] == {"core": 2, "package": 0}
    assert "heat 2 times" in found["warnings"][0]


RAPL = "sys/class/powercap"


def domain(machine: Machine, zone: str, name: str, microjoules: int) -> None:
    machine.write(f"{RAPL}/{zone}/name", name)
    machine.write(f"{RAPL}/{zone}/energy_uj", microjoules)
    machine.write(f"{RAPL}/{zone}/max_energy_range_uj", 100_000_000)


def test_energy_adds_packages_and_memory_and_begins_again_at_its_end(machine: Machine) -> None:
    domain(machine, "intel-rapl:0", "package-0", 99_000_000)
    domain(machine, "intel-rapl:0:0", "core", 5)
    domain(machine, "intel-rapl:0:1", "dram", 1_000_000)
    domain(machine, "intel-rapl:1", "psys", 7)
    watch = machine.watch()
    assert watch.joules() == 0.0
    domain(machine, "intel-rapl:0", "package-0", 2_000_000)  # 3 J further
    domain(machine, "intel-rapl:0:1", "dram", 1_500_000)
    domain(machine, "intel-rapl:1", "psys", 90_000_000)
    assert watch.joules() == pytest.approx(3.5)
    domain(machine, "intel-rapl:0", "package-0", 3_000_000)
    assert watch.joules() == pytest.approx(4.5)
    assert watch.condition()["energy"] == ["package-0", "dram of 0"]


def test_a_counter_that_falls_silent_ends_the_sum(machine: Machine) -> None:
    domain(machine, "intel-rapl:0", "package-0", 1)
    domain(machine, "intel-rapl:1", "package-1", 1)
    watch = machine.watch()
    (machine.root / RAPL / "intel-rapl:1/energy_uj").unlink()
    assert watch.joules() is None
    domain(machine, "intel-rapl:1", "package-1", 5)
    assert watch.joules() is None


def test_without_counters_there_is_no_energy(machine: Machine) -> None:
    assert machine.watch().joules() is None


class Nvml:
    """A pretended pynvml with one GPU."""

    class NVMLError(Exception):
        """What it raises."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "Name": "Pretended GPU",
            "MaxClockInfo": 2000,
            "ClockInfo": 1900,
            "UtilizationRates": SimpleNamespace(gpu=80),
            "PowerUsage": 70_000,
            "Temperature": 60,
            "CurrentClocksEventReasons": 0,
            "ComputeRunningProcesses": [SimpleNamespace(pid=os.getpid())],
            "TotalEnergyConsumption": 5000,
            "HandleByIndex": "handle",
            **answers,
        }

    def nvmlInit(self) -> None:  # noqa: N802
        """As NVML's."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        """As NVML's."""
        return 1

    def __getattr__(self, name: str) -> Any:
        answer = self.answers.get(name.removeprefix("nvmlDeviceGet"))
        if answer is None:
            raise AttributeError(name)

        def ask(*_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask


def at_work(machine: Machine, gpu: Nvml, cuda: bool = True) -> dict[str, Any]:
    machine.write("proc/self/maps", "7f00 r-xp /usr/lib/libcuda.so.1" if cuda else "")
    watch = machine.watch(gpu)
    machine.spend(1.0)
    watch.look()
    return watch.condition()


def test_a_gpu_at_its_clock_is_clean(machine: Machine) -> None:
    found = at_work(machine, Nvml())
    gpu = found["gpus"][0]
    assert found["clean"]
    assert gpu == {
        "index": 0,
        "name": "Pretended GPU",
        "utilisation": 0.8,
        "celsius": 60,
        "watts": 70.0,
        "others": 0,
        "mhz": 1900,
        "share": 0.95,
        "slowed": {},
    }
    assert found["energy"] == ["GPU 0"]


def test_a_gpu_that_is_slow_hot_and_shared(machine: Machine) -> None:
    processes = [SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=1)]
    hot = Nvml(ClockInfo=900, CurrentClocksEventReasons=0x21, ComputeRunningProcesses=processes)
    found = at_work(machine, hot)
    slowed, clock, others = found["warnings"]
    assert "by heat in 100%" in slowed
    assert "900 MHz, 45%" in clock
    assert "1 other" in others
    assert at_work(machine, hot, cuda=False)["clean"]


def test_a_gpu_that_rests_is_not_judged(machine: Machine) -> None:
    found = at_work(machine, Nvml(ClockInfo=210, UtilizationRates=SimpleNamespace(gpu=0)))
    assert found["clean"]
    assert "mhz" not in found["gpus"][0]


def test_what_a_gpu_does_not_answer_is_left_out(machine: Machine) -> None:
    poor = Nvml(
        PowerUsage=Nvml.NVMLError("not supported"),
        TotalEnergyConsumption=Nvml.NVMLError("not supported"),
        CurrentClocksEventReasons=None,
        ComputeRunningProcesses=[SimpleNamespace(pid=1)],  # of a container's host
    )
    found = at_work(machine, poor)
    assert found["clean"]
    assert found["energy"] == []
    assert not {"watts", "others"} & set(found["gpus"][0])


def test_energy_of_a_gpu_is_counted(machine: Machine) -> None:
    gpu = Nvml()
    watch = machine.watch(gpu)
    gpu.answers["TotalEnergyConsumption"] = 7500
    assert watch.joules() == pytest.approx(2.5)


def test_gpus_are_found_through_nvml() -> None:
    assert [gpu.name for gpu in nvml.gpus(Nvml())] == ["Pretended GPU"]
    lost = Nvml(HandleByIndex=Nvml.NVMLError("GPU is lost"))
    assert nvml.gpus(lost) == []


def test_without_its_package_there_is_a_hint(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write("proc/self/maps", "7f00 r-xp /usr/lib/libcuda.so.1")
    assert "[nvml]" in machine.watch().condition()["hints"][0]

    def missing(_: str) -> None:
        raise ModuleNotFoundError(name="pynvml")

    monkeypatch.setattr(nvml, "import_module", missing)
    assert nvml.gpus() == []


def test_a_governor_is_a_hint_and_no_warning(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"governor": "powersave", "driver": "intel_pstate"}
    monkeypatch.setattr(module, "governor", lambda: found)
    seen = machine.watch().condition()
    assert "governor is powersave" in seen["hints"][0]
    assert seen["clean"]
    found["governor"] = "performance"
    assert machine.watch().condition()["hints"] == []


def test_a_jetson(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 918, "least": 306, "most": 1020}
    set_to = {"power_mode": "15W", "gpu_mhz": clock}
    monkeypatch.setattr(module, "jetson", lambda: set_to)
    monkeypatch.setattr(module, "gpu_clock", lambda: clock)
    machine.write("sys/class/hwmon/hwmon1/name", "ina3221")
    for name, value in (("in1_label", "VDD_IN"), ("in1_input", 5000), ("curr1_input", 2000)):
        machine.write(f"sys/class/hwmon/hwmon1/{name}", value)
    watch = machine.watch()
    found = watch.condition()
    assert found["jetson"] == {
        "power_mode": "15W",
        "watts": {"VDD_IN": pytest.approx(10.0)},
        "gpu_mhz": {"least": 918, "most": 918},
    }
    assert "nvpmodel" in found["hints"][0]
    assert watch.joules() is None  # a few moments are no integral


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "absent", gpus=[])
    watch.look()
    found = watch.condition()
    assert found["clean"]
    assert found["energy"] == []
    assert "others" not in found


def test_this_machine_is_looked_at() -> None:
    watch = Watch()
    watch.look()
    watch.look()
    assert watch.condition()["samples"] == 2
