"""What else a machine did while something was measured, and whether that spoils the figures.

A benchmark calls `Watch.look` between its blocks and reads `Watch.condition` at the end. What a
system does not tell is left out, and nothing is ever an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from samedge.machine import clocks, energy, load, nvml
from samedge.machine.cpu import governor, usable_cpus
from samedge.machine.jetson import advice, gpu_clock, jetson


class Watch:
    """Looks at the machine now and then.

    Args:
        root: where /proc and /sys stand; a test has its own.
        clock: seconds.
        usage: of this process.
        cpus: logical processors of this process; None: those that it may run on.
        gpus: to look at; None: all that NVML shows.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.perf_counter,
        usage: Callable[[], load.Usage] = load.own_usage,
        cpus: Sequence[int] | None = None,
        gpus: Sequence[nvml.Gpu] | None = None,
    ) -> None:
        self._root = root
        self._load = load.Load(root, clock, usage)
        self._clocks = clocks.Clocks(root, clock, usable_cpus() if cpus is None else cpus)
        self._gpus = nvml.gpus() if gpus is None else list(gpus)
        counters = [*energy.rapl(root), *(gpu.counter() for gpu in self._gpus)]
        self._energy = energy.Energy(counters)
        self._gpu_mhz: list[int] = []
        self._watts: dict[str, float] = {}
        self._samples = 0

    def look(self) -> None:
        """Take a sample. The first one is what counters are counted from."""
        now = load.ticks(self._root)
        self._load.look(now)
        self._clocks.look(now)
        for gpu in self._gpus:
            gpu.look()
        if clock := gpu_clock():
            self._gpu_mhz.append(clock["now"])
        self._watts = energy.most_watts([self._watts, energy.rails(self._root)])
        self._samples += 1

    def joules(self) -> float | None:
        """A counter of energy that only grows: packages and memory of processors, and GPUs, as far
        as they have counters. None where there is none."""
        return self._energy.joules()

    def condition(self) -> dict[str, Any]:
        """What was seen since the first look.

        Returns:
            "samples", the figures of `Load.found` and `Clocks.found`, "gpus": of `Gpu.found`,
            "jetson": {"power_mode", "gpu_mhz": {"least", "most"}, "watts": rail -> highest},
            "energy": what `joules` counts, "hints": settings that would give steadier figures,
            "warnings": sentences on why the run is not clean, "clean": there are none.
        """
        found: dict[str, Any] = {"samples": self._samples}
        found |= self._load.found() | self._clocks.found()
        found["gpus"] = [gpu.found() for gpu in self._gpus]
        found["jetson"], hints = self._jetson()
        found["energy"] = self._energy.names
        found["hints"] = [
            *_governor_hint(),
            *hints,
            *energy.hint(self._root, self._energy),
            *nvml.hints(self._root, self._gpus),
        ]
        found["warnings"] = [*load.warnings(found), *clocks.warnings(found)]
        if nvml.used(self._root):
            worked = [gpu for gpu in found["gpus"] if gpu.get("utilisation")]
            found["warnings"] += [line for gpu in worked for line in nvml.warnings(gpu)]
        return {**found, "clean": not found["warnings"]}

    def _jetson(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Of a Jetson, and what to set there; (None, []) on other machines."""
        here = jetson()
        if here is None:
            return None, []
        found: dict[str, Any] = {"power_mode": here["power_mode"], "watts": self._watts}
        if self._gpu_mhz:
            found["gpu_mhz"] = {"least": min(self._gpu_mhz), "most": max(self._gpu_mhz)}
        return found, advice(here)


def _governor_hint() -> list[str]:
    found = governor()
    if found is None or found["governor"] == "performance":
        return []
    return [
        f"the clocks' governor is {found['governor']}, which follows the load: for steady figures "
        "sudo cpupower frequency-set -g performance"
    ]
