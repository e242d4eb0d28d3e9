"""What NVIDIA GPUs did while something was measured, through NVML, if its package is installed.

Not every GPU answers every question (a Jetson answers few): what it does not answer is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from samedge._install import install_command
from samedge.machine.energy import Counter
from samedge.machine.reading import text

SLOW = 0.75  # share of the highest clock
# Bit of NVML's "clocks event reasons" -> why a GPU runs below its clock, and what to do.
REASONS = {
    0x4: "by its power limit",
    0x8: "by its hardware (power or heat)",
    0x20: "by heat",
    0x40: "by heat (hardware)",
    0x80: "by the power supply's brake",
}


class Gpu:
    """One GPU.

    Args:
        nvml: the module pynvml; a test has its own.
        index: of the GPU.
    """

    def __init__(self, nvml: Any, index: int) -> None:
        self._nvml, self._handle = nvml, nvml.nvmlDeviceGetHandleByIndex(index)
        self.index = index
        self.name = str(self._ask("Name") or "")
        self._most = self._ask("MaxClockInfo", nvml.NVML_CLOCK_SM)
        self._samples: list[dict[str, Any]] = []

    def counter(self) -> Counter:
        """Its energy since the driver was loaded."""
        return Counter(f"GPU {self.index}", lambda: self._ask("TotalEnergyConsumption"), 1e-3)

    def look(self) -> None:
        """Take a sample."""
        rates, watts = self._ask("UtilizationRates"), self._ask("PowerUsage")
        running = self._ask("ComputeRunningProcesses")
        sample = {
            "utilisation": None if rates is None else rates.gpu / 100,
            "mhz": self._ask("ClockInfo", self._nvml.NVML_CLOCK_SM),
            "celsius": self._ask("Temperature", self._nvml.NVML_TEMPERATURE_GPU),
            "watts": None if watts is None else watts / 1000,
            "reasons": self._ask("CurrentClocksEventReasons"),
            "others": None if running is None else _others([p.pid for p in running]),
        }
        self._samples.append({name: value for name, value in sample.items() if value is not None})

    def found(self) -> dict[str, Any]:
        """Plain values, each left out where the GPU does not tell.

        Clocks and reasons are those of samples that found it at work: one that rests lowers its
        clock by itself.

        Returns:
            {"index", "name", "utilisation": the highest, "mhz", "share": medians of the clock and
            of its share of the highest, "celsius", "watts": the highest, "slowed": reason -> share
            of the samples, "others": processes besides this one, at most}
        """
        found: dict[str, Any] = {"index": self.index, "name": self.name}
        for name in ("utilisation", "celsius", "watts", "others"):
            values = [sample[name] for sample in self._samples if name in sample]
            if values:
                found[name] = max(values)
        worked = [sample for sample in self._samples if sample.get("utilisation", 0) > 0]
        clocks = [sample["mhz"] for sample in worked if "mhz" in sample]
        if clocks:
            found["mhz"] = median(clocks)
            if self._most:
                found["share"] = found["mhz"] / self._most
        masks = [sample["reasons"] for sample in worked if "reasons" in sample]
        shares = {
            why: sum(1 for mask in masks if mask & bit) / len(masks)
            for bit, why in REASONS.items()
            if masks
        }
        return found | {"slowed": {why: share for why, share in shares.items() if share}}

    def _ask(self, what: str, *arguments: Any) -> Any:
        """An answer of NVML; None where this GPU or this driver has none."""
        try:
            return getattr(self._nvml, f"nvmlDeviceGet{what}")(self._handle, *arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None


def gpus(nvml: Any = None) -> list[Gpu]:
    """All GPUs; none where there is no driver or the package is not installed.

    Args:
        nvml: the module pynvml; None imports it.
    """
    if nvml is None:
        try:
            nvml = import_module("pynvml")
        except ImportError:
            return []
    try:
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except (nvml.NVMLError, OSError):
        return []
    found = []
    for index in range(count):
        with suppress(nvml.NVMLError):  # one that is lost, or another's
            found.append(Gpu(nvml, index))
    return found


def used(root: Path) -> bool:
    """Whether this process has loaded NVIDIA's driver: only then a GPU's state is its business."""
    return "libcuda.so" in (text(root / "proc/self/maps") or "")


def hints(root: Path, seen: Iterable[Gpu]) -> list[str]:
    """How to see more."""
    if not list(seen) and used(root):
        return [
            "the GPU's clocks, heat and energy were not measured; they need NVML: "
            + install_command("nvml")
        ]
    return []


def warnings(found: Mapping[str, Any]) -> list[str]:
    """Why a run with these figures of `Gpu.found` is not clean, and what to do."""
    name = f"GPU {found['index']}"
    lines = [
        f"{name} was slowed down {why} in {share:.0%} of the samples: cool it, raise its power "
        "limit, or lock its clock at one that it can hold"
        for why, share in found["slowed"].items()
    ]
    if found.get("share", 1.0) < SLOW:
        lines.append(
            f"{name} worked at {found['mhz']:.0f} MHz, {found['share']:.0%} of its highest clock: "
            "lock its clock (sudo nvidia-smi -lgc)"
        )
    if found.get("others"):
        lines.append(f"{name} also worked for {found['others']} other processes: end them")
    return lines


def _others(running: list[int]) -> int | None:
    """Processes besides this one; None where that cannot be told, because a container gives this
    process another number."""
    own = os.getpid()
    if own in running:
        return len(running) - 1
    return None if running else 0
