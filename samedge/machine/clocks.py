"""How fast the processor's clocks ran, and whether heat slowed them down."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from samedge.machine.load import Ticks
from samedge.machine.reading import folders, number, text

SLOW = 0.75  # share of the highest clock
_MOST = 8  # processors whose clocks are read at a time
_EVERY_S = 1.0  # sensors answer slowly, and heat changes slowly
_SENSORS = re.compile(r"cpu|gpu|soc|tj|pkg|package|tctl|tdie", re.IGNORECASE)
_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


class Clocks:
    """Samples of clocks and temperatures, and how often heat slowed the processors.

    The clocks are those of the processors that were busy since the last look: the others rest, and
    say nothing about what is measured.

    Args:
        root: where /sys stands; a test has its own.
        clock: seconds.
        cpus: logical processors of this process.
    """

    def __init__(self, root: Path, clock: Callable[[], float], cpus: Sequence[int]) -> None:
        self._folder = root / "sys/devices/system/cpu"
        self._clock, self._cpus = clock, cpus
        self._sensors = _sensors(root)
        self._mhz: list[float] = []
        self._shares: list[float] = []
        self._celsius: dict[str, float] = {}
        self._busy: Mapping[int, int] = {}
        self._throttled: dict[str, int] | None = None
        self._sensed = -float("inf")

    def look(self, now: Ticks | None) -> None:
        """Take a sample."""
        if self._throttled is None:
            self._throttled = self._throttle_counts()
        if now is not None:
            for cpu in self._busiest(now.each):
                self._sample(cpu)
            self._busy = now.each
        if self._clock() - self._sensed >= _EVERY_S:
            self._sensed = self._clock()
            for name, path in self._sensors.items():
                if value := number(path):
                    self._celsius[name] = max(value / 1000, self._celsius.get(name, -273.0))

    def found(self) -> dict[str, Any]:
        """Plain values, each left out where the system does not tell:

        Returns:
            {"clocks": {"least_mhz", "median_mhz", "share" of the highest clock, as a median},
            "throttled": {"core", "package"} times, "celsius": sensor -> highest temperature}
        """
        found: dict[str, Any] = {}
        if self._mhz:
            found["clocks"] = {"least_mhz": min(self._mhz), "median_mhz": median(self._mhz)}
        if self._shares:
            found["clocks"]["share"] = median(self._shares)
        if self._throttled:
            now = self._throttle_counts()
            found["throttled"] = {
                kind: sum(n - self._throttled.get(name, n) for name, n in now.items()
                          if name.endswith(f"{kind}_throttle_count"))
                for kind in ("core", "package")
            }  # fmt: skip
        if self._celsius:
            found["celsius"] = dict(self._celsius)
        return found

    def _busiest(self, each: Mapping[int, int]) -> list[int]:
        """Processors that worked at least half as much as the one that worked most."""
        worked = {n: each[n] - self._busy[n] for n in self._cpus if n in each and n in self._busy}
        most = max(worked.values(), default=0)
        busy = [n for n, count in worked.items() if count > 0 and 2 * count >= most]
        return sorted(busy, key=lambda n: -worked[n])[:_MOST]

    def _sample(self, cpu: int) -> None:
        folder = self._folder / f"cpu{cpu}/cpufreq"
        now = number(folder / "scaling_cur_freq")
        if now:
            self._mhz.append(now / 1000)
            if most := number(folder / "cpuinfo_max_freq"):
                self._shares.append(now / most)

    def _throttle_counts(self) -> dict[str, int]:
        paths = folders(self._folder, "cpu[0-9]*/thermal_throttle/*_throttle_count")
        counts = {str(path): number(path) for path in paths}
        return {name: count for name, count in counts.items() if count is not None}


def warnings(found: Mapping[str, Any]) -> list[str]:
    """Why a run with these figures of `Clocks.found` is not clean, and what to do."""
    lines = []
    share = found.get("clocks", {}).get("share", 1.0)
    if share < SLOW:
        clocks = found["clocks"]
        lines.append(
            f"busy processors ran at {clocks['median_mhz']:.0f} MHz, {share:.0%} of their highest "
            "clock: set the governor to performance, cool the machine, or raise its power limit"
        )
    times = max(found.get("throttled", {}).values(), default=0)
    if times:
        lines.append(
            f"the processor was slowed down by heat {times} times: cool the machine, let it rest, "
            "and measure again"
        )
    return lines


def _sensors(root: Path) -> dict[str, Path]:
    """Name -> file with a temperature in 1/1000 of a degree, of processors alone."""
    found = {}
    for zone in folders(root / "sys/class/thermal", "thermal_zone*"):
        name = (text(zone / "type") or "").strip()
        if _SENSORS.search(name):
            found[name] = zone / "temp"
    for chip in folders(root / "sys/class/hwmon", "hwmon*"):
        name = (text(chip / "name") or "").strip()
        if name in _CHIPS and (chip / "temp1_input").exists():
            found[name] = chip / "temp1_input"
    return found
